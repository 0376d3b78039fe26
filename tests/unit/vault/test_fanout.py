"""Several locations at once: dead, dying, stalled, incomplete; the quorum; the order of writes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import (
    MemorySource,
    MemoryStore,
    World,
    bring_back,
    rng,
    some_files,
)
from weddingbackup.resources.common import DataClass
from weddingbackup.stores.errors import DeniedError, StoreError, TransientError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.commit import Commit, Needed, closure, verified
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import (
    QuorumError,
    RefusedError,
    RestoreIncompleteError,
    VaultDamageError,
)
from weddingbackup.vault.fanout import Fanout
from weddingbackup.vault.fetch import Fetcher
from weddingbackup.vault.holdings import Holdings
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.seal import Kind
from weddingbackup.vault.sealing import Sealers

if TYPE_CHECKING:
    from collections.abc import Callable

    from weddingbackup.vault.results import BackupResult

EIGHT_PACKS = Limits(pack_bytes=48 * 1024, packs=8, streams=2, grace_seconds=0)


def phases(result: BackupResult) -> dict[str, str]:
    return {row.name: row.phase.value for row in result.locations}


def many_packs() -> dict[bytes, bytes]:
    draw = rng(5)
    return {b"d%02d/f" % n: draw(30_000) for n in range(40)}


def dead(_operation: str, name: str) -> None:
    raise TransientError("no route to host", location="x", name=name)


def denied_after(puts: int) -> Callable[[str, str], None]:
    left = [puts]
    lock = threading.Lock()

    def fault(operation: str, name: str) -> None:
        with lock:
            left[0] -= operation == "put"
            if left[0] < 0 and operation == "put":
                raise DeniedError("the key was revoked", location="x", name=name)

    return fault


def test_a_dead_location_does_not_matter() -> None:
    world = World.of("a", "b", "c")
    world.stores[1].fault = dead
    source = MemorySource(many_packs())
    result = world.backup(source)
    assert phases(result) == {"a": "Committed", "b": "Failed", "c": "Committed"}
    assert result.locations[1].message == "no route to host"
    assert not world.stores[1].objects
    assert bring_back(world).files == source.data


@pytest.mark.parametrize("puts", [0, 1, 9, 15, 30])
def test_a_location_that_drops_out_half_way_does_not_matter(puts: int) -> None:
    world = World.of("a", "b", "c")
    world.stores[2].fault = denied_after(puts)
    source = MemorySource(many_packs())
    result = world.backup(source)
    assert phases(result) == {"a": "Committed", "b": "Committed", "c": "Failed"}
    assert result.locations[2].message == "the key was revoked"
    assert points(world.stores)[0].held_by == ("a", "b")
    assert bring_back(world).files == source.data


@pytest.mark.parametrize("puts", [0, 9, 30, 42])
def test_without_a_quorum_there_is_no_point(puts: int) -> None:
    world = World.of("a", "b", "c")
    world.stores[0].fault = dead
    world.stores[2].fault = denied_after(puts)
    with pytest.raises(QuorumError, match="1 of 3 locations are left, the quorum is 2"):
        world.backup(MemorySource(many_packs()))
    for store in world.stores:
        store.fault = None
    assert not [point for point in points(world.stores) if point.committed]
    assert not [name for store in world.stores for name in store.objects if "snapshots" in name]


def test_a_quorum_that_loses_a_location_at_the_commit_is_no_point_yet() -> None:
    world = World.of("a", "b")

    first_has_it = threading.Event()
    world.stores[0].after_put = lambda _store, name: (
        first_has_it.set() if name.startswith("snapshots/") else None
    )

    def no_manifest(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("snapshots/"):
            assert first_has_it.wait(60)
            raise DeniedError("full", location="b", name=name)

    world.stores[1].fault = no_manifest
    source = MemorySource(some_files())
    with pytest.raises(QuorumError):
        world.backup(source, "job")
    (point,) = points(world.stores)
    assert not point.committed
    world.stores[1].fault = None
    result = world.backup(source, "job")
    assert result.adopted
    assert result.manifest == point.manifest
    assert points(world.stores)[0].committed


class Stall:
    """Operations wait until they are let go."""

    def __init__(self, *operations: str) -> None:
        self.go = threading.Event()
        self._operations = operations or ("put",)

    def __call__(self, operation: str, _name: str) -> None:
        if operation in self._operations:
            assert self.go.wait(60)


def test_a_stalled_location_does_not_hold_up_the_quorum() -> None:
    """More data than fits in memory goes past it; it is dropped, and caught up by copying."""
    world = World.of("a", "b", "c")
    world.vault().init()
    stall = Stall()
    world.stores[1].fault = stall
    world.limits = EIGHT_PACKS
    source = MemorySource(many_packs())
    try:
        result = world.backup(source)
        assert phases(result) == {"a": "Committed", "b": "Lagging", "c": "Committed"}
        assert "caught up by copying" in (result.locations[1].message or "")
        assert len(source.data) > 2 * EIGHT_PACKS.packs
        assert not [n for n in world.stores[1].objects if n.startswith(("index/", "snapshots/"))]
    finally:
        stall.go.set()
    assert bring_back(world).files == source.data
    world.stores[1].fault = None
    copied = copy_points([world.stores[0], world.stores[2]], world.stores[1], [result.manifest])
    assert copied.objects
    assert points(world.stores)[0].held_by == ("a", "b", "c")
    world.stores[0].objects.clear()
    world.stores[2].objects.clear()
    assert bring_back(world).files == source.data


@pytest.mark.parametrize("prefix", ["packs/", "index/", "snapshots/"])
def test_the_commit_waits_for_no_location_that_is_behind(prefix: str) -> None:
    """One location gets on with this kind of object only once the others have the manifest."""
    world = World.of("a", "b", "c")
    world.vault().init()
    quorum = threading.Semaphore(0)
    late = threading.Event()

    def behind(operation: str, name: str) -> None:
        if operation == "put" and name.startswith(prefix) and not late.is_set():
            for _ in range(2):
                assert quorum.acquire(timeout=60)
            late.set()

    def arrived(_store: MemoryStore, name: str) -> None:
        if name.startswith("snapshots/"):
            quorum.release()

    world.stores[1].fault = behind
    world.stores[0].after_put = world.stores[2].after_put = arrived
    world.limits = Limits(pack_bytes=48 * 1024, packs=64, streams=1, grace_seconds=60)
    source = MemorySource(some_files())
    result = world.backup(source)
    assert late.is_set()
    assert phases(result) == {"a": "Committed", "b": "Committed", "c": "Committed"}


@pytest.mark.parametrize("prefix", ["packs/", "index/", "snapshots/"])
def test_the_end_waits_for_no_location_longer_than_the_grace(prefix: str) -> None:
    world = World.of("a", "b", "c")
    world.vault().init()
    go = threading.Event()

    def stalls(operation: str, name: str) -> None:
        if operation == "put" and name.startswith(prefix):
            assert go.wait(60)

    world.stores[1].fault = stalls
    world.limits = Limits(pack_bytes=48 * 1024, packs=64, grace_seconds=0)
    try:
        result = world.backup(MemorySource(some_files()))
        assert phases(result)["b"] == "Lagging"
        assert points(world.stores)[0].held_by == ("a", "c")
    finally:
        go.set()


def test_less_than_a_quorum_waits_instead_of_dropping() -> None:
    world = World.of("a", "b")
    world.vault().init()
    stall = Stall()
    world.stores[1].fault = stall
    world.limits = Limits(pack_bytes=48 * 1024, packs=8, grace_seconds=30)
    source = MemorySource(many_packs())
    done: list[BackupResult] = []
    world.stores[0].after_put = lambda store, _name: (
        stall.go.set() if sum(n.startswith("packs/") for n in list(store.objects)) >= 4 else None
    )
    thread = threading.Thread(target=lambda: done.append(world.backup(source)))
    thread.start()
    thread.join(60)
    assert phases(done[0]) == {"a": "Committed", "b": "Committed"}


def test_memory_for_packs_is_bounded() -> None:
    """While a location of the quorum stands still, nobody gets memory for another pack."""
    stall = Stall()
    stores = [MemoryStore("a"), MemoryStore("b", stall)]
    fanout = Fanout(stores, 2, Progress(), failed={}, incomplete=(), limits=EIGHT_PACKS)
    try:
        for number in range(EIGHT_PACKS.packs):
            buffer = fanout.reserve()
            data = b"%d" % number
            digest = hashlib.sha256(data).digest()
            fanout.send(f"packs/{digest.hex()}", data, digest, buffer=buffer)
        order: list[str] = []
        thread = threading.Thread(target=lambda: order.append(f"got {len(fanout.reserve())}"))
        thread.start()
        thread.join(0.1)  # gives a broken bound the time to show itself
        order.append("go")
        stall.go.set()
        thread.join(60)
        assert order == ["go", f"got {EIGHT_PACKS.pack_bytes}"]
    finally:
        stall.go.set()
        fanout.close()


def test_a_manifest_is_never_where_something_of_it_is_missing() -> None:
    world = World.of("a", "b", "c")
    wrong: list[str] = []
    lock = threading.Lock()

    def look(store: MemoryStore, name: str) -> None:
        with lock:
            if name.startswith("index/"):
                held = sum(n.startswith("packs/") for n in store.objects)
                wrong.extend([] if held else [f"{name} before its packs at {store.location}"])
            if not name.startswith("snapshots/"):
                return
            lonely = MemoryStore(store.location)
            lonely.objects = dict(store.objects)
            (point,) = [p for p in points([lonely]) if p.manifest == name]
            refs = {ref for source in point.sources for ref in source.indexes}
            wrong.extend(
                f"{x.name} is missing at {store.location}"
                for x in closure([lonely], refs)
                if x.name not in lonely.objects
            )
            whole = sum(
                all(x.name in other.objects for x in closure([lonely], refs))
                for other in world.stores
            )
            if whole < world.quorum:
                wrong.append(f"{name} while {whole} locations hold everything")

    for store in world.stores:
        store.after_put = look
    source = MemorySource(many_packs())
    world.backup(source)
    source.write(b"d01/f", b"changed")
    world.backup(source)
    assert not wrong


def test_an_index_waits_for_every_pack_of_its_location() -> None:
    """One pack takes its time at a, longer than the others take for everything."""
    world = World.of("a", "b", "c")
    world.vault().init()
    others_are_done = threading.Event()
    slow: list[str] = []
    too_early: list[str] = []

    def take_time(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("packs/") and not slow:
            slow.append(name)
            assert others_are_done.wait(60)
        if operation == "put" and name.startswith(("index/", "snapshots/")):
            too_early.extend(n for n in slow if n not in world.stores[0].objects)

    def done(_store: MemoryStore, name: str) -> None:
        if name.startswith("snapshots/"):
            others_are_done.set()

    world.stores[0].fault = take_time
    world.stores[2].after_put = done
    result = world.backup(MemorySource(many_packs()))
    assert slow
    assert not too_early
    assert phases(result) == {"a": "Committed", "b": "Committed", "c": "Committed"}


def test_a_location_that_lacks_older_data_gets_no_manifest() -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    world.backup(source)
    lost = next(name for name in world.stores[2].objects if name.startswith("packs/"))
    del world.stores[2].objects[lost]
    source.write(b"d0/f0", b"changed")
    result = world.backup(source)
    assert phases(result) == {"a": "Committed", "b": "Committed", "c": "Lagging"}
    assert "1 older objects are missing" in (result.locations[2].message or "")
    assert result.manifest not in world.stores[2].objects


def test_older_data_is_copied_where_the_quorum_needs_it() -> None:
    """c was away for the first backup, a is away for the second: c has to become whole."""
    world = World.of("a", "b", "c")
    source = MemorySource(many_packs())
    world.stores[2].fault = dead
    world.backup(source)
    world.stores[2].fault = None
    world.stores[0].fault = dead
    source.write(b"d01/f", b"changed")
    result = world.backup(source)
    assert phases(result) == {"a": "Failed", "b": "Committed", "c": "Committed"}
    world.stores[0].fault = None
    world.stores[0].objects.clear()
    world.stores[1].objects.clear()
    assert bring_back(world).files == source.data


@pytest.mark.parametrize("known", [False, True])
def test_healing_does_not_wait_for_a_dead_location_again_and_again(known: bool) -> None:
    """`known`: it failed earlier in the job; otherwise it answered until now."""
    asked: list[str] = []

    def falls_silent(operation: str, name: str) -> None:
        if operation == "get":
            asked.append(name)
            dead(operation, name)

    stores = [MemoryStore("a", falls_silent), MemoryStore("b"), MemoryStore("c")]
    needed = []
    for number in range(5):
        digest = hashlib.sha256(b"%d" % number).digest()
        needed.append(Needed(f"packs/{digest.hex()}", digest, 1))
        for store in stores[:2]:
            store.objects[needed[-1].name] = b"%d" % number
    failed = {"a": "no route to host"} if known else {}
    manifest = hashlib.sha256(b"manifest").hexdigest()
    quorum = 2 if known else 3
    fanout = Fanout(stores, quorum, Progress(), failed=failed, incomplete=(), limits=Limits())
    try:
        Commit(fanout, Holdings(stores), needed).run(f"snapshots/{manifest}", b"manifest", 0)
    finally:
        fanout.close()
    assert {x.name for x in needed} < stores[2].objects.keys()
    assert len(asked) == (0 if known else 1)


def test_copying_does_not_wait_for_a_dead_location_again_and_again() -> None:
    world = World.of("a", "b")
    result = world.backup(MemorySource(some_files()))
    asked: list[str] = []

    def falls_silent(operation: str, name: str) -> None:
        if operation == "get":
            asked.append(name)
            if not name.startswith("snapshots/"):
                dead(operation, name)

    world.stores[0].fault = falls_silent
    fresh = MemoryStore("d")
    copy_points(world.stores, fresh, [result.manifest])
    assert fresh.objects == world.stores[1].objects
    assert [name for name in asked if not name.startswith("snapshots/")] == ["format"]


def test_a_second_run_of_a_job_adopts_its_point() -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    first = world.backup(source, "job")
    world.stores[2].objects.clear()
    source.write(b"late", b"comes with the next job")
    second = world.backup(source, "job")
    assert second.adopted
    assert (second.manifest, second.sha256) == (first.manifest, first.sha256)
    assert (second.sources[0].files, second.sources[0].bytes) == (
        first.sources[0].files,
        first.sources[0].bytes,
    )
    assert len(points(world.stores)) == 1
    assert phases(second) == {"a": "Committed", "b": "Committed", "c": "Lagging"}


def test_a_location_that_holds_other_bytes_under_a_name_gets_a_replacement() -> None:
    world = World.of("a", "b")
    world.vault().init()
    key = next(name for name in world.stores[1].objects if name.startswith("keys/"))
    world.stores[1].objects[key] = b"broken"
    good = world.stores[0].objects[key]
    source = MemorySource(some_files())
    result = world.backup(source)
    copy_points([world.stores[0]], world.stores[1], [result.manifest], damaged=[key])
    assert world.stores[1].objects[key + ".r1"] == good


def test_a_replacement_behind_a_gap_counts_for_nobody() -> None:
    """Readers do not come to it, so a backup must not take it for held, nor a copy."""
    world = World.of("a", "b")
    source = MemorySource(some_files())
    result = world.backup(source)
    name = next(name for name in world.stores[0].objects if name.startswith("packs/"))
    for store in world.stores:
        store.objects[name + ".r2"] = store.objects.pop(name)
    with pytest.raises(RestoreIncompleteError):
        bring_back(world)
    world.backup(source)
    assert bring_back(world).files == source.data
    # With the gap filled, by a bad copy even, they do.
    world.stores[0].objects[name + ".r1"] = b"bad"
    copy_points(world.stores, world.stores[1], [result.manifest])
    assert world.stores[1].objects[name] == world.stores[0].objects[name + ".r2"]


@pytest.mark.parametrize(
    ("numbers", "reached"), [("", ""), ("2", ""), ("1", "1"), ("132", "123"), ("13", "1")]
)
@pytest.mark.parametrize("itself", [False, True])
def test_readers_and_writers_come_to_the_same_copies(
    numbers: str, reached: str, itself: bool
) -> None:
    store = MemoryStore("a")
    good = hashlib.sha256(b"good")
    name = f"packs/{good.hexdigest()}"
    names = [name] * itself + [f"{name}.r{number}" for number in numbers]
    for where in names:
        store.objects = dict.fromkeys(names, b"bad") | {where: b"good"}
        counts = where == name or where[-1] in reached
        assert Holdings([store]).at("a", good.digest(), 4) is counts
        with nullcontext() if counts else pytest.raises((StoreError, VaultDamageError)):
            assert get_object([store], name, verified) == b"good"
        with nullcontext() if counts else pytest.raises((StoreError, VaultDamageError)):
            assert Fetcher([store]).read(name, 0, 3, partial(_exactly, b"goo")) == b"goo"


def _exactly(wanted: bytes, data: bytes) -> bytes:
    if data != wanted:
        raise VaultDamageError("a pack", "it has other bytes")
    return data


def test_a_target_with_a_cut_pack_gets_a_replacement() -> None:
    world = World.of("a", "b")
    result = world.backup(MemorySource(some_files()))
    target = world.stores[1]
    name = next(name for name in target.objects if name.startswith("packs/"))
    target.objects[name] = target.objects[name][:-1]
    copy_points(world.stores, target, [result.manifest])
    assert target.objects[name + ".r1"] == world.stores[0].objects[name]
    again = copy_points(world.stores, target, [result.manifest])
    assert again.objects == 0


def test_copying_takes_what_verifies_and_refuses_the_rest() -> None:
    world = World.of("a", "b", "c")
    result = world.backup(MemorySource(some_files()))
    name = next(name for name in world.stores[0].objects if name.startswith("packs/"))
    world.stores[0].objects[name] = bytes(len(world.stores[0].objects[name]))
    fresh = MemoryStore("d")
    copy_points(world.stores, fresh, [result.manifest])
    assert fresh.objects == world.stores[1].objects
    strange = World.of("x", "y")
    strange.kit = type(strange.kit).found(random=rng(77))
    strange.backup(MemorySource(some_files()))
    with pytest.raises(RefusedError, match="another vault"):
        copy_points(world.stores, strange.stores[0], [result.manifest])
    with pytest.raises(RefusedError, match="no recovery point"):
        copy_points(world.stores, fresh, ["snapshots/2026/12/05/none-" + "0" * 64])


def test_senseless_input_is_refused() -> None:
    world = World.of("a", "b", quorum=3)
    with pytest.raises(RefusedError, match="the quorum is 3, but there are 2 locations"):
        world.backup(MemorySource({}))


def test_a_location_that_stands_still_from_the_start_holds_up_nobody() -> None:
    world = World.of("a", "b", "c")
    stall = Stall("put", "get", "list")
    world.stores[2].fault = stall
    world.limits = Limits(pack_bytes=48 * 1024, packs=64, patience_seconds=0, grace_seconds=30)
    source = MemorySource(some_files())
    vault = world.vault(world.stores[:2])
    vault = dataclasses.replace(vault, stores=tuple(world.stores))
    try:
        result = world.backup(source, vault=vault)
        assert phases(result)["c"] == "Failed"
        assert result.locations[2].message == "it did not answer in time"
    finally:
        stall.go.set()
    assert points(world.stores)[0].committed


def test_a_backup_that_waits_for_a_location_can_be_given_up() -> None:
    """All memory is on its way to a location that stands still, and the queue of chunks is full."""
    stall = Stall()
    stores = [MemoryStore("a"), MemoryStore("b", stall)]
    limits = Limits(pack_bytes=48 * 1024, packs=2)
    fanout = Fanout(stores, 2, Progress(), failed={}, incomplete=(), limits=limits)
    sealers = Sealers(Kit.found(random=rng(1)).keyring(), rng(2), fanout)
    draw = rng(3)
    try:
        for _ in range(11):  # two packs, one that waits for memory, eight in the queue
            sealers.submit(Kind.DATA, DataClass.OTHER, draw(32), draw(40_000))
        thread = threading.Thread(target=sealers.close)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        fanout.close()
        with pytest.raises(RuntimeError, match="closed"):
            sealers.flush()
    finally:
        stall.go.set()


def test_a_location_that_was_too_slow_is_taken_in_again_when_another_fails() -> None:
    world = World.of("a", "b", "c")
    world.vault().init()
    stall = Stall()
    world.stores[1].fault = stall
    world.limits = Limits(pack_bytes=48 * 1024, packs=8, grace_seconds=30)
    puts = itertools.count(1)

    def fails_later(operation: str, name: str) -> None:
        # Its 12th pack exists only because b, which holds up the first 8, was dropped.
        if operation == "put" and next(puts) > 12:
            stall.go.set()
            raise DeniedError("the key was revoked", location="c", name=name)

    world.stores[2].fault = fails_later
    source = MemorySource(many_packs())
    result = world.backup(source)
    assert phases(result) == {"a": "Committed", "b": "Committed", "c": "Failed"}
    world.stores[0].objects.clear()
    world.stores[2].objects.clear()
    assert bring_back(world).files == source.data
