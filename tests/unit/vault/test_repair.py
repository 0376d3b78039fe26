"""What is damaged is replaced from any good copy; what is good nowhere is named; nothing good goes."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, World, bring_back
from tests.unit.vault.test_crash import Killed, Killer
from tests.unit.vault.test_damage import DAMAGES, NAMES, NEW, OLD, WORLD, Damage
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import DeniedError, TransientError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import Problem, accept, check, examine
from weddingbackup.vault.commit import closure
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.names import base_name
from weddingbackup.vault.objects import reachable
from weddingbackup.vault.repair import Repaired, repair

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

PACKS = [name for name in NAMES if name.startswith("packs/")]


def stores_of(world: World = WORLD) -> list[MemoryStore]:
    return [store.copy() for store in world.stores]


def mend(stores: Sequence[MemoryStore], *, locked: Collection[str] = ()) -> Repaired:
    """Check all and repair. `locked` are names that nobody may remove, wherever they are."""
    by_name = {store.location: store for store in stores}

    def remove(location: str, name: str) -> None:
        store = by_name[location]
        if store.fault:
            store.fault("remove", name)
        if name in locked:
            raise DeniedError("a lock holds it", location=location, name=name)
        store.objects.pop(name, None)

    return repair(stores, examine(stores, level="full", kit=WORLD.kit), remove=remove)


def bad_copies(store: MemoryStore) -> set[str]:
    """Names of what does not have the bytes of its name."""
    found = set()
    for name, data in store.objects.items():
        try:
            accept(base_name(name), data)
        except VaultDamageError:
            found.add(name)
    return found


def whole(stores: list[MemoryStore], originals: dict[str, bytes]) -> None:
    """Each location has all, under its own name or as a replacement that readers come to."""
    for store in stores:
        there = {base_name(name): data for name, data in store.objects.items()}
        assert there == originals, store.location
    world = World(stores, WORLD.kit)
    assert bring_back(world).files == NEW
    assert bring_back(world, -1).files == OLD


def good_copies(store: MemoryStore) -> set[str]:
    """Objects of which readers of this location find a good copy."""
    bad = bad_copies(store)
    listed = (ObjectInfo(name, 0, None) for name in store.objects)
    return {base_name(info.name) for info in reachable(listed) if info.name not in bad}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("places", [1, 2])
def test_damage_at_some_locations_is_mended_byte_for_byte(damage: Damage, places: int) -> None:
    for name in NAMES:
        stores = stores_of()
        for store in stores[:places]:
            damage(store.objects, name)
        result = mend(stores)
        assert result.replaced == {(store.location, name) for store in stores[:places]}
        assert (result.lost, result.left, result.kept) == ([], [], 0)
        assert not any(bad_copies(store) for store in stores), name
        assert check(stores, level="full", kit=WORLD.kit) == []
        assert "format" in stores[0].objects
        whole(stores, WORLD.stores[0].objects)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_good_nowhere_is_named_and_left_as_it_is(damage: Damage) -> None:
    for name in NAMES:
        stores = stores_of()
        for store in stores:
            damage(store.objects, name)
        if name not in stores[0].objects and name.startswith(("keys/", "snapshots/")):
            continue  # nothing that is left speaks of it
        before = [dict(store.objects) for store in stores]
        result = mend(stores)
        assert result.lost == [name]
        assert result.replaced == set()
        if name.startswith(("packs/", "index/")):
            assert result.lossy
        assert [store.objects for store in stores] == before  # what can be read of it stays


def test_a_backup_stores_anew_what_was_lost() -> None:
    for name in PACKS:
        world = World(stores_of(), WORLD.kit)
        for store in world.stores:
            store.objects[name] = bytes(len(store.objects[name]))
        assert mend(world.stores).lost == [name]
        source = MemorySource(NEW)
        world._jobs = 50
        world.backup(source, distrust=[name])
        refs = {ref for each in points(world.stores)[0].sources for ref in each.indexes}
        assert name not in {x.name for x in closure(world.stores, refs)}
        assert bring_back(world).files == NEW


def test_copies_that_are_bad_at_different_places_make_a_good_one() -> None:
    for name in PACKS:
        stores = stores_of()
        size = len(stores[0].objects[name])
        for number, store in enumerate(stores):
            data = bytearray(store.objects[name])
            data[number * size // 3] ^= 1
            store.objects[name] = bytes(data)
        result = mend(stores)
        assert (result.lost, len(result.replaced)) == ([], 3)
        whole(stores, WORLD.stores[0].objects)


def test_locked_bad_copies_stay_and_harm_nobody() -> None:
    for name in NAMES:
        stores = stores_of()
        for store in stores[1:]:
            store.objects[name] = b"rotten"
        result = mend(stores, locked=NAMES)
        assert (result.kept, result.removed, result.left) == (2, 0, [])
        assert [bad_copies(store) for store in stores] == [set(), {name}, {name}]
        assert check(stores, level="full", kit=WORLD.kit) == []
        again = mend(stores, locked=NAMES)
        assert (again.kept, again.replaced) == (2, set())
        if name != "format":
            whole_but_locked = [store.copy() for store in stores]
            assert bring_back(World(whole_but_locked, WORLD.kit)).files == NEW
        released = mend(stores)
        assert (released.removed, released.kept) == (2, 0)
        whole(stores, WORLD.stores[0].objects)


def test_a_bad_replacement_goes_only_when_a_good_copy_stands_before_it() -> None:
    """Or readers would stop at the gap, and not come to the good one behind it."""
    for name in NAMES:
        for locked in ((), (name,)):
            stores = stores_of()
            good = stores[0].objects[name]
            stores[0].objects |= {name: b"bad", f"{name}.r1": b"worse", f"{name}.r2": good}
            mend(stores, locked=locked)
            alone = [stores[0]]
            assert [f for f in check(alone, level="full") if f.object] == [], (name, locked)
            if not locked:
                assert bad_copies(stores[0]) == set()
                assert stores[0].objects[name] == good


def test_without_the_right_to_remove_nothing_is_removed() -> None:
    stores = stores_of()
    for name in NAMES:
        stores[0].objects[name] = b"rotten"
    result = repair(stores, examine(stores, level="full"))
    assert (result.removed, result.left) == (0, [])
    assert bad_copies(stores[0]) == set(NAMES)
    assert check(stores, level="full") == []


def test_foreign_objects_are_left_alone() -> None:
    stores = stores_of()
    extra = {"readme": b"hello", "packs/extra": b"", f"packs/{'0' * 64}": b"an upload under way"}
    stores[0].objects |= extra
    stores[0].objects[PACKS[0]] = b"rotten"
    mend(stores)
    assert extra.items() <= stores[0].objects.items()


def test_a_place_of_no_point_is_not_filled() -> None:
    """It may be a mistyped path."""
    stores = [*stores_of(), MemoryStore("mistyped")]
    result = mend(stores)
    assert stores[-1].objects == {}
    assert {finding.location for finding in result.left} == {"mistyped"}


def test_a_location_that_was_emptied_is_filled() -> None:
    stores = stores_of()
    stores[1].objects.clear()
    result = mend(stores)
    assert (result.left, result.lost) == ([], [])
    whole(stores, WORLD.stores[0].objects)


def test_nothing_is_lost_while_somebody_does_not_answer() -> None:
    stores = stores_of()

    def dead(_operation: str, name: str) -> None:
        raise TransientError("no route", location="c", name=name)

    for store in stores[:2]:
        store.objects[PACKS[0]] = b"rotten"
    stores[2].fault = dead
    result = mend(stores)
    assert (result.lost, result.removed) == ([], 0)
    assert PACKS[0] in stores[0].objects
    assert {finding.problem for finding in result.left} >= {Problem.UNREADABLE}


def damaged_world() -> list[MemoryStore]:
    """Of each kind one bad copy, one missing, and a pack that is lost."""
    stores = stores_of()
    for number, kind in enumerate(("format", "keys/", "packs/", "index/", "snapshots/")):
        names = [name for name in NAMES if name.startswith(kind)]
        stores[number % 3].objects[names[0]] = b"rotten"
        del stores[(number + 1) % 3].objects[names[-1]]
    good = stores[1].objects[PACKS[3]]
    stores[1].objects |= {PACKS[3]: b"bad", f"{PACKS[3]}.r1": b"worse", f"{PACKS[3]}.r2": good}
    for store in stores:
        store.objects[PACKS[2]] = bytes(len(store.objects[PACKS[2]]))
    return stores


def test_killed_at_every_operation_of_a_repair_and_run_again() -> None:
    end = damaged_world()
    killer = Killer(10**9)
    for store in end:
        store.fault = killer
    assert mend(end).lost == [PACKS[2]]
    operations = 10**9 - killer.left
    for number in range(operations):
        stores = damaged_world()
        good = [good_copies(store) for store in stores]
        killer = Killer(number)
        for store in stores:
            store.fault = killer
        with suppress(Killed):
            mend(stores)
        for store, before in zip(stores, good, strict=True):
            store.fault = None
            assert good_copies(store) >= before, number
        mend(stores)
        assert [store.objects for store in stores] == [store.objects for store in end], number


class Telling(MemoryStore):
    """A location whose provider tells MD5s: here of other bytes than those that it has now."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.told: dict[str, bytes] = {}

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in super().list(prefix):
            yield replace(info, md5=self.told.get(info.name))


def telling() -> list[Telling]:
    """Three locations, of which the last tells nothing."""
    stores = [Telling(location) for location in "abc"]
    for store, like in zip(stores, WORLD.stores, strict=True):
        store.objects = dict(like.objects)
        if store.location != "c":
            store.told = {name: md5(data) for name, data in store.objects.items()}
    return stores


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def test_checksums_of_providers_that_differ_are_a_reason_to_read() -> None:
    stores = telling()
    stores[1].objects[PACKS[0]] = bytes(len(stores[1].objects[PACKS[0]]))
    assert check(stores) == []  # it tells what it took
    stores[1].told[PACKS[0]] = md5(stores[1].objects[PACKS[0]])
    assert [(f.location, f.object, f.problem) for f in check(stores)] == [
        ("b", PACKS[0], Problem.DAMAGED)
    ]


def test_a_provider_that_tells_something_else_costs_one_object_and_no_more() -> None:
    """S3 does, where it encrypts with keys of KMS."""
    stores = telling()
    stores[1].told = {name: bytes(16) for name in stores[1].objects}
    for store in stores:
        store.gets.clear()
    assert check(stores) == []
    assert len({name for store in stores for name, _ in store.gets if name in PACKS}) == 1


def test_a_sample_reads_its_share_and_each_seed_another_one() -> None:
    def read(percent: float, seed: str) -> set[str]:
        stores = stores_of()
        assert check(stores, level="sample", percent=percent, seed=seed) == []
        packs = [{name for name, _ in store.gets if name in PACKS} for store in stores]
        assert packs[0] == packs[1] == packs[2]
        return packs[0]

    assert read(100, "any") == set(PACKS)
    halves = {frozenset(read(50, seed)) for seed in "abcdefgh"}
    assert len(halves) > 1
    assert read(50, "a") == read(50, "a") <= read(80, "a")
    sizes = [len(half) for half in halves]
    assert 0 < sum(sizes) < len(PACKS) * len(sizes)
