"""A writer that is killed at any store operation leaves nothing false, and nothing wasted."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, World, bring_back, some_files
from weddingbackup.resources.common import LocationPhase
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import check
from weddingbackup.vault.commit import closure


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
        for store in world.stores:
            store.fault = None
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


def gather_packs(world: World) -> dict[str, bytes]:
    """Take all packs away, and all faults."""
    packs: dict[str, bytes] = {}
    for store in world.stores:
        store.fault = None
        packs |= {name: data for name, data in store.objects.items() if name.startswith("packs/")}
        store.objects = {n: d for n, d in store.objects.items() if n not in packs}
    assert packs
    return packs


def test_packs_of_a_killed_writer_are_used() -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())

    def no_index(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("index/"):
            raise Killed

    for store in world.stores:
        store.fault = no_index
    with pytest.raises(Killed):
        world.backup(source, "job")
    packs = gather_packs(world)
    for store in world.stores:
        store.objects |= packs
    result = world.backup(source, "job")
    assert result.sources[0].new_bytes == 0
    assert {name for name in world.stores[0].objects if name.startswith("packs/")} == set(packs)
    assert bring_back(world).files == source.data


def test_packs_that_reached_one_location_are_spread_before_the_commit() -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())

    def no_index(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("index/"):
            raise Killed

    for store in world.stores:
        store.fault = no_index
    with pytest.raises(Killed):
        world.backup(source, "job")
    packs = gather_packs(world)
    world.stores[0].objects |= packs
    result = world.backup(source, "job")
    assert result.sources[0].new_bytes == 0
    assert sum(row.phase == "Committed" for row in result.locations) >= 2
    sound(world.stores)
    assert bring_back(world).files == source.data
    assert points(world.stores)[0].committed
