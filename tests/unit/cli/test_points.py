"""Which point a person means."""

import itertools
import threading
from datetime import UTC, datetime

import msgspec
import pytest

from tests.unit.vault.fakes import MemorySource, World, some_files
from tests.unit.vault.test_codecs import PLAIN
from weddingbackup.cli.vault import points
from weddingbackup.cli.vault.points import find, select
from weddingbackup.vault.catalog import Point
from weddingbackup.vault.parallel import Patience


def point(year: int, *held_by: str) -> Point:
    plain = msgspec.structs.replace(PLAIN, point_time=datetime(year, 1, 1, tzinfo=UTC))
    lacking = frozenset(plain.locations).difference(held_by)
    return Point(f"snapshots/{year}", b"", b"", plain, held_by, lacking)


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        ([point(2999, *PLAIN.locations), point(2025, *PLAIN.locations)], 1),
        ([point(2999, *PLAIN.locations), point(2026), point(2025, *PLAIN.locations)], 2),
        ([point(2999, *PLAIN.locations), point(2025)], 0),
        ([point(2999), point(2026), point(2025)], 1),
    ],
)
def test_latest_is_none_of_the_future_where_there_is_another(
    known: list[Point], chosen: int
) -> None:
    assert select(known, "latest") is known[chosen]


def test_latest_is_not_chosen_before_all_are_heard_that_may_have_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three, one is lost for good, one misses the newest point, and the one that has it is slow."""
    monkeypatch.setattr(points, "choosing", lambda _: Patience(1, 0))
    world = World.of("a", "b", "c")
    world.backup(MemorySource(some_files()), "older")
    before = dict(world.stores[0].objects)
    world.backup(MemorySource({b"new": b"more"}), "newer")
    a, b, _ = world.stores
    a.objects.clear()
    a.objects.update(before)
    again = threading.Event()
    lists = itertools.count()

    def slow(operation: str, name: str) -> None:
        if (operation, name) == ("list", "snapshots/"):
            if next(lists):
                again.set()
            assert again.wait(60)  # the first is answered when the second is

    b.fault = slow
    assert find([a, b], "latest").plain.job_uid == "newer"
    assert "waiting for b" in capsys.readouterr().err


def test_where_a_newer_point_may_be_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    world = World.of("a", "b", "c")
    world.backup(MemorySource(some_files()))
    find(world.stores[:2], "latest")
    assert "newer" not in capsys.readouterr().err
    find(world.stores[:1], "latest")
    assert "committed where nothing was heard: b, c" in capsys.readouterr().err
