"""Ranges come from whoever is good and in time; who is late is left behind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, MemoryTarget, World, bring_back, rng
from weddingbackup.stores.errors import StoreError, TransientError
from weddingbackup.vault import fetch, lanes
from weddingbackup.vault.catalog import points
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.fetch import Fetcher
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "packs/" + "a" * 64
DATA = rng(1)(100_000)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set behind the test, so that who was held up ends; nothing is patient before."""
    monkeypatch.setattr(lanes, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(lanes, "LEAST_SECONDS", 0.02)
    monkeypatch.setattr(fetch, "_LOOK_SECONDS", 0.02)
    released = threading.Event()
    yield released
    released.set()


def store(location: str, data: bytes = DATA) -> MemoryStore:
    made = MemoryStore(location)
    made.objects[NAME] = data
    return made


def holding(location: str, until: threading.Event) -> MemoryStore:
    """A store that says nothing before that, and an error then."""
    made = store(location)

    def wait(_operation: str, name: str) -> None:
        assert until.wait(60)
        raise TransientError("it fell silent", location=location, name=name)

    made.fault = wait
    return made


def good(data: bytes) -> bytes:
    if data != DATA[: len(data)]:
        raise VaultDamageError(NAME, "other bytes")
    return data


def test_a_stalled_location_is_left_behind(hold: threading.Event) -> None:
    fetcher = Fetcher([holding("a", hold), store("b")])
    assert fetcher.read(NAME, 0, 1000, good) == DATA[:1000]
    assert fetcher.extra == 1000
    assert fetcher.read(NAME, 0, 500, good) == DATA[:500]
    assert fetcher.extra == 1000  # nobody asks it again while it is late


def test_what_did_not_come_twice_is_not_counted(hold: threading.Event) -> None:
    failing = holding("a", hold)
    fetcher = Fetcher([failing, store("b")])
    fetcher.read(NAME, 0, 1000, good)
    hold.set()
    until = time.monotonic() + 60
    while fetcher.extra and time.monotonic() < until:
        time.sleep(0.01)
    assert fetcher.extra == 0


def test_the_first_good_answer_wins_and_not_the_first(hold: threading.Event) -> None:
    damaged = store("b", bytes(len(DATA)))
    fetcher = Fetcher([holding("a", hold), damaged, store("c")])
    assert fetcher.read(NAME, 0, 1000, good) == DATA[:1000]
    assert fetcher.damaged == [("b", NAME)]


def test_no_more_than_so_many_are_left_behind(
    hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then one waits for the location's own timeout."""
    monkeypatch.setattr(fetch, "_MOST_LOST", 0)
    fetcher = Fetcher([holding("a", hold), store("b")])
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fetcher.read(NAME, 0, 1000, good)))
    reader.start()
    reader.join(0.3)
    assert read == []
    hold.set()
    reader.join(60)
    assert read == [DATA[:1000]]
    assert fetcher.extra == 0


def test_who_waits_hears_what_is_no_fault_of_a_store() -> None:
    broken = store("a")

    def fail(_operation: str, _name: str) -> None:
        raise ZeroDivisionError

    broken.fault = fail
    with pytest.raises(ZeroDivisionError):
        Fetcher([broken, store("b")]).read(NAME, 0, 10, good)


def test_where_nobody_answers_the_error_says_so() -> None:
    gone = threading.Event()
    gone.set()
    with pytest.raises(StoreError, match="it fell silent"):
        Fetcher([holding("a", gone), holding("b", gone)]).read(NAME, 0, 10, good)


def test_no_more_streams_than_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FIRST_SECONDS", 1000.0)  # nothing is late
    lock, full, go_on = threading.Lock(), threading.Event(), threading.Event()
    now = most = 0

    def count(_operation: str, _name: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 3:
                full.set()
        assert go_on.wait(60)
        with lock:
            now -= 1

    places = [store(name) for name in "abcdefg"]
    for place in places:
        place.fault = count
    fetcher = Fetcher(places, streams=3)
    readers = [
        threading.Thread(target=fetcher.read, args=(NAME, 0, 10, good), daemon=True)
        for _ in range(12)
    ]
    for reader in readers:
        reader.start()
    assert full.wait(60)
    readers[-1].join(0.1)  # so that one too many would be seen
    go_on.set()
    for reader in readers:
        reader.join(60)
    assert most == 3


def test_a_restore_with_one_dead_one_stalled_and_one_damaged_of_seven_is_whole(
    hold: threading.Event,
) -> None:
    world = World.of(*"abcdefg", quorum=7)
    world.limits = Limits(pack_bytes=2 << 20, streams=2, grace_seconds=30.0)
    source = MemorySource({b"f%d" % n: rng(n)(200_000) for n in range(20)})
    world.backup(source)
    vault = world.vault()
    point = points(vault.stores)[0]
    dead, stalled, damaged = world.stores[:3]

    def refuse(_operation: str, name: str) -> None:
        raise TransientError("no route", location="a", name=name)

    def stall(_operation: str, name: str) -> None:
        if name.startswith(("index/", "packs/")):
            assert hold.wait(60)
            raise TransientError("it fell silent", location="b", name=name)

    dead.fault, stalled.fault = refuse, stall
    for name, data in damaged.objects.items():
        if name.startswith("packs/"):
            damaged.objects[name] = bytes(byte ^ 1 for byte in data)
    target = MemoryTarget()
    result = restore(vault, point, "photos", target, progress=Progress())
    assert target.files == source.data
    assert not target.unfinished
    assert {location for location, _ in result.damaged} <= {"c"}
    assert set(result.locations) <= set("cdefg")


def test_an_index_is_fetched_elsewhere_where_it_is_late(hold: threading.Event) -> None:
    """By a restore, and by the backup that goes on from its point."""
    world = World.of("a", "b", "c")
    source = MemorySource({b"x": b"1"})
    world.backup(source)

    def stall(operation: str, name: str) -> None:
        if operation == "get" and name.startswith("index/"):
            assert hold.wait(60)
            raise TransientError("it fell silent", location="a", name=name)

    world.stores[0].fault = stall
    assert bring_back(world).files == source.data
    result = world.backup(source, "second")
    assert source.reads == [b"x"]  # the parent's indexes were read
    assert [row.phase for row in result.locations] == ["Committed"] * 3
    assert not hold.is_set()
