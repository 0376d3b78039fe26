"""A writer that is killed at any store operation leaves nothing false, and nothing wasted."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, World, bring_back, some_files
from weddingbackup.resources.common import LocationPhase
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import check
from weddingbackup.vault.commit import Commit, Needed, closure
from weddingbackup.vault.errors import QuorumError
from weddingbackup.vault.fanout import Fanout
from weddingbackup.vault.holdings import Holdings
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.progress import Progress


class Killed(BaseException):
    """The process is gone: nothing that it would have done next happens."""


class Killer:
    """Kills at the operation with this number, counted over all locations, and ever after."""

    def __init__(self, after: int) -> None:
        self.left = after
        self._lock = threading.Lock()

    def __call__(self, _operation: str, _name: str) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise Killed


def files(number: int) -> dict[bytes, bytes]:
    return some_files(seed=number, directories=2, files=3)


def sound(stores: list[MemoryStore]) -> None:
    """No location holds a manifest and lacks something that it needs."""
    for point in points(stores):
        refs = {ref for source in point.sources for ref in source.indexes}
        needed = closure(stores, refs)
        for store in stores:
            if point.manifest in store.objects:
                assert not [x.name for x in needed if x.name not in store.objects]


def operations() -> int:
    world = World.of("a", "b", "c")
    killer = Killer(10**9)
    world.backup(MemorySource(files(1)), "old")
    for store in world.stores:
        store.fault = killer
    world.backup(MemorySource(files(2)), "job")
    return 10**9 - killer.left


OPERATIONS = operations()


@pytest.mark.parametrize("first", [False, True])
def test_killed_at_every_operation(first: bool) -> None:
    """`first`: also the vault's first backup, whose founding may be cut short."""
    for number in range(OPERATIONS + 2):
        world = World.of("a", "b", "c")
        if not first:
            world.backup(MemorySource(files(1)), "old")
        killer = Killer(number)
        for store in world.stores:
            store.fault = killer
        source = MemorySource(files(2))
        with suppress(Killed):
            world.backup(source, "job")
        # Threads that the killed writer left keep the old stores.
        world.stores = [store.copy() for store in world.stores]
        sound(world.stores)
        before = [p for p in points(world.stores) if p.plain.job_uid == "job"]
        if not first:
            assert bring_back(world, -1).files == files(1)
        result = world.backup(source, "job")
        assert result.adopted == bool(before)
        mine = [p for p in points(world.stores) if p.plain.job_uid == "job"]
        assert [p.manifest for p in mine] == [result.manifest]
        assert mine[0].committed
        sound(world.stores)
        assert bring_back(world).files == source.data
        behind = {row.name for row in result.locations if row.phase is not LocationPhase.COMMITTED}
        findings = check(world.stores, level="full", kit=world.kit)
        assert {finding.location for finding in findings} <= behind


def killed_before_the_index() -> tuple[World, MemorySource, dict[str, bytes]]:
    """A job of which packs are left and no index: the world, what it read, the packs set aside."""
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())

    def no_index(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("index/"):
            raise Killed

    for store in world.stores:
        store.fault = no_index
    with pytest.raises(Killed):
        world.backup(source, "job")
    return world, source, gather_packs(world)


def gather_packs(world: World) -> dict[str, bytes]:
    """Take all packs away, and all faults. Threads that the killed writer left keep the old stores."""
    packs: dict[str, bytes] = {}
    fresh = [MemoryStore(store.location) for store in world.stores]
    for old, new in zip(world.stores, fresh, strict=True):
        objects = dict(old.objects)
        packs |= {name: data for name, data in objects.items() if name.startswith("packs/")}
        new.objects = {n: d for n, d in objects.items() if n not in packs}
    world.stores = fresh
    assert packs
    return packs


def test_packs_of_a_killed_writer_are_used() -> None:
    world, source, packs = killed_before_the_index()
    for store in world.stores:
        store.objects |= packs
    result = world.backup(source, "job")
    assert result.sources[0].new_bytes == 0
    assert {name for name in world.stores[0].objects if name.startswith("packs/")} == set(packs)
    assert bring_back(world).files == source.data


def test_packs_that_reached_one_location_are_spread_before_the_commit() -> None:
    world, source, packs = killed_before_the_index()
    world.stores[0].objects |= packs
    result = world.backup(source, "job")
    assert result.sources[0].new_bytes == 0
    assert sum(row.phase == "Committed" for row in result.locations) >= 2
    sound(world.stores)
    assert bring_back(world).files == source.data
    assert points(world.stores)[0].committed


def test_a_damaged_pack_of_a_killed_writer_is_stored_anew() -> None:
    """Held at one location, and its head and tail are good: only its bytes as a whole tell."""
    world, source, left = killed_before_the_index()
    for number, bad in enumerate(sorted(left)):
        for store in world.stores:
            store.objects = {n: d for n, d in store.objects.items() if n.startswith(("keys", "fo"))}
        world.stores[0].objects |= left
        flip(world.stores[0], bad)
        result = world.backup(source, f"job-{number}")
        assert sum(row.phase == "Committed" for row in result.locations) >= 2
        refs = {ref for each in points(world.stores)[0].sources for ref in each.indexes}
        assert bad not in {x.name for x in closure(world.stores, refs)}
        assert result.sources[0].new_bytes < sum(map(len, source.data.values()))
        assert bring_back(world).files == source.data


def flip(store: MemoryStore, name: str) -> None:
    """Change a byte behind the header."""
    data = bytearray(store.objects[name])
    data[80] ^= 1
    store.objects[name] = bytes(data)


def test_a_pack_that_rotted_at_its_only_location_is_stored_anew() -> None:
    """It is listed there, but cannot be copied to the others, which lost it."""
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    world.backup(source)
    bad = next(name for name in world.stores[0].objects if name.startswith("packs/"))
    flip(world.stores[0], bad)
    del world.stores[1].objects[bad], world.stores[2].objects[bad]
    result = world.backup(source)
    assert {row.phase for row in result.locations} == {"Committed"}
    assert bring_back(world).files == source.data


def test_what_cannot_be_copied_is_no_fault_of_who_lacks_it() -> None:
    """A pack that rotted behind its listing: the commit fails for its sake, and says so."""
    stores = [MemoryStore("a"), MemoryStore("b")]
    name = f"packs/{'0' * 64}"
    stores[0].objects[name] = b"rotten"
    needed = Needed(name, bytes(32), len(b"rotten"))
    fanout = Fanout(stores, 2, Progress(), failed={}, incomplete=(), limits=Limits())
    try:
        with pytest.raises(QuorumError, match=f"{name} cannot be copied to b"):
            Commit(fanout, Holdings(stores), [needed]).run("snapshots/x", b"", 0)
        assert {lane.result.phase for lane in fanout.lanes} == {"Uploading"}
    finally:
        fanout.close()
