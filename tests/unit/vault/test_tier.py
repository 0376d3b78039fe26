"""A vault's data moves to cheaper tiers and back, and whatever is archived is told from what is damaged."""

from __future__ import annotations

import threading
from datetime import timedelta

import msgspec
import pytest

from tests.unit.vault.fakes import START, MemoryStore, bring_back, rng
from tests.unit.vault.shelves import RECENT, ShelvedStore, ShelvedVault
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules.tiers import Step
from weddingbackup.stores.errors import ArchivedError, MissingError, TransientError
from weddingbackup.vault.archived import is_archiving
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import examine
from weddingbackup.vault.commit import closure, verified
from weddingbackup.vault.errors import (
    QuorumError,
    RestoreIncompleteError,
    VaultDamageError,
)
from weddingbackup.vault.fetch import Fetcher
from weddingbackup.vault.index import encode_index, open_index
from weddingbackup.vault.manifest import IndexRef, encode_manifest, open_body
from weddingbackup.vault.names import PACKS, digest_of
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.repair import repair
from weddingbackup.vault.tier import Told, UnknownDataError

SIZE = 40_000
FILES = {f"day{n}/a.raw".encode(): rng(n)(SIZE) for n in range(6)}
LATER = {f"night{n}/a.raw".encode(): rng(100 + n)(SIZE) for n in range(3)}


@pytest.fixture
def world() -> ShelvedVault:
    return ShelvedVault.on("london", "zurich", "dublin")


def _packs(world: ShelvedVault, number: int, kind: str) -> set[str]:
    """The packs of data or of trees that a point needs, 0 the newest."""
    [source] = points(world.stores)[number].sources
    refs = source.data_indexes if kind == "data" else source.tree_indexes
    return {x.name for x in closure(world.stores, refs) if x.name.startswith(PACKS)}


def test_only_data_that_no_recent_point_needs_moves(world: ShelvedVault) -> None:
    world.store(FILES)
    world.store(LATER)
    world.pass_(RECENT)
    world.store({**LATER, b"late/a.raw": rng(7)(SIZE)})
    old, shared = _packs(world, 2, "data"), _packs(world, 1, "data")
    assert shared < _packs(world, 0, "data"), "the newest point reuses the one before it"
    result = world.tier(Tier.COLD)
    for store in world.shelved:
        assert store.in_tier(Tier.COLD) == old
    assert result.moved == {Tier.COLD: 3 * len(old)}
    assert world.tier(Tier.COLD).moved == {}
    assert bring_back(world, 1).files == LATER
    assert bring_back(world, 2).files == FILES


def test_a_dry_run_moves_nothing_and_tells_all(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    told: list[Told] = []
    dry = world.tier(Tier.ARCHIVE, dry_run=True, tell=told.append)
    assert all(not store.tiers for store in world.shelved)
    assert {x.name for x in told} == _packs(world, 0, "data")
    assert dry.moved == world.tier(Tier.ARCHIVE).moved


def test_trees_indexes_keys_and_manifests_stay_at_hand(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(timedelta(days=400))
    world.tier(Tier.DEEP_ARCHIVE)
    assert {n for s in world.shelved for n in s.tiers} == _packs(world, 0, "data")
    assert points(world.stores)[0].committed
    trees = _packs(world, 0, "tree")
    assert trees
    for store in world.shelved:
        assert not any(store.is_away(name) for name in trees)


def test_a_pack_is_as_warm_as_the_newest_point_that_names_it_in_any_index(
    world: ShelvedVault,
) -> None:
    world.store(FILES)
    _older_twin(world, timedelta(days=400))
    assert len(points(world.stores)) == 2
    assert world.tier(Tier.COLD).moved == {}
    world.pass_(RECENT)
    assert world.tier(Tier.COLD).moved


def _older_twin(world: ShelvedVault, age: timedelta) -> None:
    """Store a point that is older than the only one, and has the same packs in an index of its own."""
    keyring, [point] = world.kit.keyring(), points(world.stores)
    [source] = point.sources
    [ref] = source.data_indexes
    index = open_index(keyring, ref.name, world.stores[0].get(ref.name))
    name, data = encode_index(keyring, index.kind, index.class_name, index.pack_facts(), b"1" * 32)
    twin = msgspec.structs.replace(
        source, data_indexes=(IndexRef(digest_of(name) or b"", len(data)),)
    )
    then = point.time - age
    plain = msgspec.structs.replace(
        point.plain, job_uid="twin", scheduled_at=then, point_time=then, sources=(twin,)
    )
    body = open_body(keyring, point.manifest, point.data)
    manifest, sealed = encode_manifest(keyring, plain, body, b"2" * 32)
    for store in world.stores:
        store.put(name, data, sha256=digest_of(name) or b"")
        store.put(manifest, sealed, sha256=digest_of(manifest) or b"")


def test_what_nobody_needs_stays(world: ShelvedVault) -> None:
    world.store(FILES)
    orphan = f"packs/{'0' * 64}"
    world.shelved[0].objects[orphan] = b"x" * 300_000
    world.pass_(timedelta(days=400))
    world.tier(Tier.COLD)
    assert world.shelved[0].tier(orphan) is Tier.HOT


def test_what_a_recent_point_needs_again_is_brought_back_and_warmed(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.tier(Tier.ARCHIVE)
    packs = _packs(world, 0, "data")
    world.store(FILES)  # finds all of it there
    assert _packs(world, 0, "data") & packs
    asked = world.tier(Tier.ARCHIVE)
    assert asked.asked == 3 * len(packs & _packs(world, 0, "data"))
    assert world.tier(Tier.ARCHIVE).waiting == asked.asked
    for store in world.shelved:
        store.arrive()
    assert world.tier(Tier.ARCHIVE).moved == {Tier.HOT: asked.asked}
    assert bring_back(world).files == FILES


def test_killed_after_any_step_the_next_run_goes_on(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    packs = _packs(world, 0, "data")
    whole = world.shelved
    for steps in range(3 * len(packs)):
        lock, left = threading.Lock(), [None] * steps

        def fault(
            operation: str,
            _name: str,
            lock: threading.Lock = lock,
            left: list[None] = left,
        ) -> None:
            with lock:
                if operation == "tier" and not left:
                    raise KeyboardInterrupt
                if operation == "tier":
                    left.pop()

        # Threads that are left over keep these stores, and the next run has copies of them.
        world.use([store.copy() for store in whole])
        for store in world.shelved:
            store.fault = fault
        with pytest.raises(KeyboardInterrupt):
            world.tier(Tier.COLD)
        world.survive()
        assert bring_back(world).files == FILES
        world.tier(Tier.COLD)
        assert all(store.in_tier(Tier.COLD) == packs for store in world.shelved)


def test_one_location_that_fails_holds_up_no_other(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    london, zurich, dublin = world.shelved
    zurich.locked = set(zurich.objects)

    def fault(operation: str, name: str) -> None:
        if operation == "tier":
            raise TransientError("away", location="london", name=name)

    london.fault = fault
    result = world.tier(Tier.COLD)
    packs = _packs(world, 0, "data")
    assert result.failed == {"london": "away"}
    assert result.locked == len(packs)
    assert dublin.in_tier(Tier.COLD) == packs


def test_what_a_collection_removes_meanwhile_is_passed_over(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    gone = min(_packs(world, 0, "data"))

    def fault(operation: str, name: str) -> None:
        if operation == "tier" and name == gone:
            raise MissingError("gone", location="london", name=name)

    world.shelved[0].fault = fault
    result = world.tier(Tier.COLD, at=("london",))
    assert result.failed == {}
    assert result.moved == {Tier.COLD: len(_packs(world, 0, "data")) - 1}


def test_nothing_moves_while_a_recent_point_could_be_out_of_sight(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)

    def fault(_operation: str, name: str) -> None:
        raise TransientError("away", location="dublin", name=name)

    world.shelved[2].fault = fault
    with pytest.raises(QuorumError, match="dublin"):
        world.tier(Tier.COLD)
    assert world.tier(Tier.COLD, quorum=2).moved


def test_nothing_moves_where_a_need_cannot_be_told(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    [source] = points(world.stores)[0].sources
    for store in world.shelved:
        store.objects[source.data_indexes[0].name] = b"damaged"
    with pytest.raises(UnknownDataError, match="have a check repair it"):
        world.tier(Tier.COLD)
    assert all(not store.tiers for store in world.shelved)


# What readers make of it.


def test_a_restore_takes_from_elsewhere_what_is_archived_here(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.tier(Tier.ARCHIVE, at=("london", "zurich"))
    target = bring_back(world)
    assert target.files == FILES


def test_a_location_that_archived_one_pack_is_asked_last_for_others() -> None:
    asked: list[str] = []

    class Cold(MemoryStore):
        def get(self, name: str, **_: int | None) -> bytes:
            asked.append(name)
            raise ArchivedError("archived", location=self.location, name=name)

    cold, warm = Cold("cold"), MemoryStore("warm")
    names = [f"packs/{n:064x}" for n in range(5)]
    warm.objects = dict.fromkeys(names, b"12345")
    fetcher = Fetcher([cold, warm], clock=lambda: 0.0)
    for name in names:
        assert fetcher.read(name, 0, 5, bytes) == b"12345"
    assert asked == names[:1]
    assert fetcher.damaged == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_archived_says_more_than_damaged_or_missing_elsewhere(order: tuple[int, int]) -> None:
    name = f"packs/{7:064x}"

    def refuse(data: bytes) -> bytes:
        raise VaultDamageError(name, f"no {data!r}")

    cold = ShelvedStore("cold", lambda: START)
    cold.objects[name], cold.tiers[name] = b"12345", Tier.ARCHIVE
    bad = MemoryStore("bad")
    for there in ({name: b"bad"}, {}):
        bad.objects = dict(there)
        stores = [(cold, bad)[n] for n in order]
        with pytest.raises(ArchivedError):
            Fetcher(stores, clock=lambda: 0.0).read(name, 0, 3, refuse)
        with pytest.raises(ArchivedError):
            get_object(stores, name, verified)


def test_what_is_archived_everywhere_is_named_and_comes_back_when_asked(
    world: ShelvedVault,
) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.shelved[1].provider = Provider.AZURE
    world.tier(Tier.ARCHIVE)
    with pytest.raises(RestoreIncompleteError) as caught:
        bring_back(world)
    assert isinstance(caught.value.archived, ArchivedError)
    [point] = points(world.stores)
    archived = world.archived()
    [away] = archived.of(point)
    packs = _packs(world, 0, "data")
    assert (away.source, away.packs, away.asked) == ("photos", len(packs), False)
    assert away.seconds == 5 * 3600  # Azure's takes 15 hours
    assert away.locations == ("dublin",)
    assert archived.of(point, ["other"]) == []
    movers = world.movers()
    assert archived.ask_back(point, movers) == len(packs)
    [away] = world.archived().of(point)
    assert away.asked
    assert world.archived().ask_back(point, movers) == 0
    world.shelved[2].arrive()
    assert not world.archived()
    assert bring_back(world).files == FILES


def test_what_is_at_hand_anywhere_is_not_away(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.tier(Tier.ARCHIVE, at=("london", "zurich"))
    assert not world.archived()
    assert [is_archiving(store) for store in world.shelved] == [True, True, False]


def test_a_check_neither_calls_it_damaged_nor_says_that_it_was_read(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    packs = _packs(world, 0, "data")
    for level in ("provider", "full"):
        world.tier(Tier.ARCHIVE)
        found = examine(world.stores, level=level)
        assert found.findings == []
        unread = {} if level == "provider" else dict.fromkeys(("dublin", "london", "zurich"))
        assert {n for n, tally in found.tallies.items() if tally.archived} == set(unread)
    assert found.tallies["london"].archived == len(packs)


def test_what_is_damaged_here_and_archived_elsewhere_is_not_lost(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.tier(Tier.ARCHIVE, at=("london", "zurich"))
    pack = min(_packs(world, 0, "data"))
    del world.shelved[2].objects[pack]
    found = examine(world.stores, level="full")
    assert [(x.location, x.object, str(x.problem)) for x in found.findings] == [
        ("dublin", pack, "Missing")
    ]
    mended = repair(world.stores, found)
    assert mended.lost == []
    assert [x.object for x in mended.left] == [pack]
    assert "archived" in mended.left[0].message


def test_the_steps_of_a_return_are_told(world: ShelvedVault) -> None:
    world.store(FILES)
    world.pass_(RECENT)
    world.tier(Tier.ARCHIVE)
    world.store(FILES)
    told: list[Told] = []
    world.tier(Tier.ARCHIVE, tell=told.append)
    assert {x.decision.step for x in told} == {Step.RETURN}
