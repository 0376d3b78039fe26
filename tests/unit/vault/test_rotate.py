"""Keys change, what is stored stays: every moment of a rotation, and any order of rotations and backups."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault.fakes import (
    Fault,
    MemorySource,
    MemoryStore,
    World,
    bring_back,
    rng,
    some_files,
)
from tests.unit.vault.test_crash import Killed, Killer
from weddingbackup.stores.errors import DeniedError, StoreError, TransientError
from weddingbackup.vault import rotate
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import check
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import QuorumError, RefusedError, VaultError, WrongKeyError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.names import data_key_name, digest_of
from weddingbackup.vault.seal import Header

BOTH = {"wrapping_keys": True, "data_keys": True}
WRAPPING = {"wrapping_keys": True, "data_keys": False}
DATA = {"wrapping_keys": False, "data_keys": True}
KINDS = (BOTH, WRAPPING, DATA)


@dataclass
class Keeper:
    """Removes objects of a store in memory."""

    store: MemoryStore

    def delete(self, name: str) -> None:
        if self.store.fault:
            self.store.fault("delete", name)
        self.store.objects.pop(name, None)


def files(number: int) -> dict[bytes, bytes]:
    return some_files(seed=number, directories=2, files=3)


def turn(world: World, *, seed: int = 5, **kinds: bool) -> dict[str, StoreError]:
    """Rotate, as the command line and the cluster do; gives where older wrappings stay."""
    keepers = {store.location: Keeper(store) for store in world.stores}
    found = rotate.find(world.kit, world.stores)
    new = rotate.renew(world.kit, random=rng(seed), **kinds)
    failed = rotate.establish(new, world.stores)
    world.kit = new
    return failed | rotate.retire(new, world.stores, keepers, found, failed=failed)


def keys_at(store: MemoryStore) -> set[str]:
    return {name for name in store.objects if name.startswith("keys/")}


def with_kit(world: World, kit: Kit) -> World:
    return replace(world, kit=kit)


def filled() -> World:
    world = World.of("a", "b", "c")
    world.backup(MemorySource(files(1)), "old")
    return world


def faulty(world: World, fault: Fault | None) -> None:
    for store in world.stores:
        store.fault = fault


def operations(kinds: dict[str, bool]) -> int:
    world = filled()
    killer = Killer(10**9)
    faulty(world, killer)
    turn(world, **kinds)
    return 10**9 - killer.left


@pytest.mark.parametrize("kinds", KINDS)
def test_killed_at_every_operation_either_kit_reads_and_the_next_run_ends_it(
    kinds: dict[str, bool],
) -> None:
    replaced = 0
    for number in range(operations(kinds) + 1):
        world = filled()
        old = world.kit
        faulty(world, Killer(number))
        with suppress(Killed):
            turn(world, **kinds)
        faulty(world, None)
        replaced += world.kit is not old
        for kit in (old, world.kit):
            assert bring_back(with_kit(world, kit)).files == files(1)
        world.backup(MemorySource(files(2)), "between")
        turn(world, seed=6, **kinds)
        world.backup(MemorySource(files(3)), "after")
        for back, wanted in enumerate((3, 2, 1)):
            assert bring_back(world, back).files == files(wanted)
        assert bring_back(with_kit(world, old), -1).files == files(1)
        for store in world.stores:
            known = {data_key_name(name) for name in world.kit.objects} - {None}
            mine = {name for name in keys_at(store) if data_key_name(name) in known}
            assert mine == world.kit.objects.keys() - {"format"}
    assert 0 < replaced < operations(kinds)


def test_a_rotation_touches_nothing_but_keys() -> None:
    world = filled()
    before = {store.location: dict(store.objects) for store in world.stores}
    for store in world.stores:
        store.gets.clear()
    assert turn(world, **BOTH) == {}
    for store in world.stores:
        assert {name for name, _ in store.gets} <= {"format"}
        changed = before[store.location].items() ^ store.objects.items()
        assert {name.partition("/")[0] for name, _ in changed} == {"keys"}
        assert keys_at(store) == world.kit.objects.keys() - {"format"}
    assert check(world.stores, level="full", kit=world.kit) == []


def test_a_new_data_key_seals_what_is_new_and_nothing_old_is_read_or_stored_again() -> None:
    world = filled()
    old_keys = {key.key_id for key in world.kit.keyring().keys}
    turn(world, **DATA)
    before = set(world.stores[0].objects)
    source = MemorySource(files(1))
    again = world.backup(source, "same")
    assert again.sources[0].new_bytes == 0
    for store in world.stores:
        store.gets.clear()
    source.write(b"d0/new", b"of the new key" * 500)
    world.backup(source, "more")
    fresh = [n for n in world.stores[0].objects.keys() - before if digest_of(n)]
    for name in fresh:
        header = Header.decode(name, world.stores[0].objects[name])
        assert header.key_id not in old_keys, name
    assert any(name.startswith("packs/") for name in fresh)
    # Trees of the parent are read, to compare with; of the data's packs nothing.
    read = {name for store in world.stores for name, _ in store.gets if name.startswith("packs/")}
    kinds = {Header.decode(n, world.stores[0].objects[n]).kind.name for n in read}
    assert "DATA" not in kinds
    assert bring_back(world).files == source.data


def test_the_chunk_keys_and_the_chunker_stay() -> None:
    kit = Kit.found(random=rng(1))
    new = rotate.renew(kit, random=rng(2), **BOTH)
    for name in kit.wrapping_keys:
        assert new.keyring().chunk_key(name) == kit.keyring().chunk_key(name)
        assert new.keyring().current(name).secret != kit.keyring().current(name).secret
    assert new.keyring().chunker_seed() == kit.keyring().chunker_seed()
    assert set(kit.keyring().keys) < set(new.keyring().keys)
    assert not new.fingerprints().items() & kit.fingerprints().items()


def test_the_newest_of_many_data_keys_seals_whatever_their_ids() -> None:
    kit = Kit.found(random=rng(1))
    for seed in range(2, 12):
        newer = rotate.renew(kit, random=rng(seed), **DATA)
        fresh = newer.objects.keys() - kit.objects.keys()
        for name in kit.wrapping_keys:
            current = newer.keyring().current(name).key_id.hex()
            assert any(f"-{current}-" in found for found in fresh)
            # In the order in which a broker hands them on, too.
            assert [k for k in newer.keyring().keys if k.class_name == name][
                -1
            ].key_id.hex() == current
        kit = rotate.renew(newer, random=rng(seed + 100), **WRAPPING)
        for name in kit.wrapping_keys:
            assert kit.keyring().current(name) == newer.keyring().current(name)
    assert len(kit.keyring().keys) == 11 * len(kit.wrapping_keys)
    assert Kit.from_json(kit.to_json()) == kit


def test_a_kit_that_lacks_the_key_that_is_to_seal_is_damaged() -> None:
    kit = rotate.renew(Kit.found(random=rng(1)), random=rng(2), **DATA)
    gone = next(n for n in kit.objects if kit.sealing["Guests"] in n)
    objects = {name: data for name, data in kit.objects.items() if name != gone}
    with pytest.raises(VaultError, match="lacks Guests key"):
        Kit.from_json(replace(kit, objects=objects).to_json())


def test_an_erased_class_stays_erased() -> None:
    kit = Kit.found(random=rng(1))
    wrapping = {name: key for name, key in kit.wrapping_keys.items() if name != "Guests"}
    erased = replace(kit, wrapping_keys=wrapping)
    new = rotate.renew(erased, random=rng(2), **BOTH)
    assert "Guests" not in new.wrapping_keys
    with pytest.raises(WrongKeyError):
        new.keyring().current("Guests")


@pytest.mark.parametrize("kinds", KINDS)
def test_who_opened_the_vault_before_goes_on_and_commits_and_brings_nothing_back(
    kinds: dict[str, bool],
) -> None:
    world = filled()
    running = world.vault()
    turn(world, **kinds)
    source = MemorySource(files(2))
    world.backup(source, "running", vault=running)
    assert points(world.stores)[0].committed
    assert bring_back(world).files == source.data
    for store in world.stores:
        assert keys_at(store) == world.kit.objects.keys() - {"format"}


def test_too_few_locations_change_nothing() -> None:
    world = filled()
    old = world.kit

    def away(operation: str, name: str) -> None:
        if operation == "put":
            raise TransientError("away", location="x", name=name)

    for store in world.stores[:2]:
        store.fault = away
    with pytest.raises(QuorumError, match="only 1 of 3 locations"):
        turn(world, **BOTH)
    assert world.kit is old
    faulty(world, None)
    assert bring_back(world).files == files(1)


def test_a_location_that_was_away_keeps_what_it_has_until_the_next_run() -> None:
    world = filled()
    before = keys_at(world.stores[2])

    def away(_operation: str, name: str) -> None:
        raise TransientError("away", location="c", name=name)

    world.stores[2].fault = away
    assert turn(world, **BOTH).keys() == {"c"}
    world.stores[2].fault = None
    assert keys_at(world.stores[2]) == before
    # Nobody is alarmed by it, and a backup gives it the new data keys.
    found = {finding.object for finding in check(world.stores)}
    assert {data_key_name(name) for name in found} <= {
        f"keys/{name.lower()}-{key_id}" for name, key_id in world.kit.sealing.items()
    }
    assert turn(world, seed=6, **BOTH) == {}
    assert keys_at(world.stores[2]) == world.kit.objects.keys() - {"format"}


def test_a_location_that_takes_no_new_keys_keeps_its_old_ones() -> None:
    world = filled()
    before = keys_at(world.stores[2])

    def full(operation: str, name: str) -> None:
        if operation == "put":
            raise TransientError("full", location="c", name=name)

    world.stores[2].fault = full
    assert turn(world, **BOTH).keys() == {"c"}
    assert keys_at(world.stores[2]) == before


def test_what_a_lock_holds_is_told_and_goes_when_it_ends() -> None:
    world = filled()
    old = keys_at(world.stores[1])

    def locked(operation: str, name: str) -> None:
        if operation == "delete":
            raise DeniedError("locked", location="b", name=name)

    world.stores[1].fault = locked
    left = turn(world, **WRAPPING)
    assert {location: type(error) for location, error in left.items()} == {"b": DeniedError}
    assert old < keys_at(world.stores[1])
    assert check(world.stores, level="full", kit=world.kit) == []
    world.stores[1].fault = None
    assert turn(world, seed=6, **WRAPPING) == {}
    assert not old & keys_at(world.stores[1])


def test_an_old_kit_is_refused_and_keys_that_a_kit_does_not_know_are_never_removed() -> None:
    world = filled()
    old = world.kit
    turn(world, **WRAPPING)
    with pytest.raises(RefusedError, match="take the newest kit"):
        rotate.find(old, world.stores)
    middle = world.kit
    turn(world, seed=6, **DATA)
    found = rotate.find(middle, world.stores)
    assert found.strangers(middle) == world.kit.objects.keys() - middle.objects.keys()
    assert not found.strangers(world.kit)
    keepers = {store.location: Keeper(store) for store in world.stores}
    rotate.retire(middle, world.stores, keepers, found, failed=())
    assert all(found.strangers(middle) <= keys_at(store) for store in world.stores)


def test_a_kit_that_could_not_take_its_place_leaves_nothing() -> None:
    world = filled()
    before = [dict(store.objects) for store in world.stores]
    new = rotate.renew(world.kit, random=rng(2), **BOTH)
    rotate.establish(new, world.stores)
    keepers = {store.location: Keeper(store) for store in world.stores}
    rotate.discard(new, world.kit, world.stores, keepers)
    assert [store.objects for store in world.stores] == before


def test_a_copy_brings_no_old_wrapping_to_who_has_the_new_one() -> None:
    world = filled()
    lagging = world.stores[2].copy()
    turn(world, **BOTH)
    stores = [lagging, *world.stores[:2]]
    newest = points(stores)[0].manifest
    copy_points(stores, world.stores[0], [newest])
    assert keys_at(world.stores[0]) == world.kit.objects.keys() - {"format"}
    copy_points(stores, lagging, [newest])
    assert {data_key_name(n) for n in world.kit.objects} <= {
        *map(data_key_name, lagging.objects),
        None,
    }


STEPS = st.lists(
    st.sampled_from(["both", "wrapping", "data", "backup", "open", "late"]), max_size=7
)


@settings(deadline=None, max_examples=25)
@given(STEPS)
def test_any_order_of_rotations_and_backups_restores(steps: list[str]) -> None:
    """Also with workers that opened the vault some rotations ago (`open`, then `late`)."""
    world = filled()
    opened = world.vault()
    wrote = [files(1)]
    kits = [(world.kit, 1)]
    for number, step in enumerate(steps):
        match step:
            case "open":
                opened = world.vault()
            case "backup" | "late":
                content = files(10 + number)
                # A worker that is late began before others' points were there.
                if step == "late" and points(world.stores)[0].manifest in unreadable(world, opened):
                    continue
                vault = opened if step == "late" else None
                world.backup(MemorySource(content), f"job-{number}", vault=vault)
                wrote.append(content)
            case _:
                kinds = {"both": BOTH, "wrapping": WRAPPING, "data": DATA}[step]
                turn(world, seed=100 + number, **kinds)
                kits.append((world.kit, len(wrote)))
    found = points(world.stores)
    assert len(found) == len(wrote)
    for back, content in enumerate(reversed(wrote)):
        assert bring_back(world, back).files == content
    for kit, until in kits:
        assert bring_back(with_kit(world, kit), len(wrote) - until).files == wrote[until - 1]


def unreadable(world: World, opened: object) -> set[str]:
    known = {key.key_id for key in opened.keyring.keys}  # type: ignore[attr-defined]
    return {
        point.manifest
        for point in points(world.stores)
        if Header.decode(point.manifest, point.data).key_id not in known
    }
