"""What is known of each point when locations are away, unknown, or hold damaged copies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, World
from weddingbackup.rules.points import Standing
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault.catalog import Plains, Point, catalog, merge, points


def silence(store: MemoryStore) -> None:
    def fail(_operation: str, name: str) -> None:
        raise TransientError("no route", location=store.location, name=name)

    store.fault = fail


def flip(store: MemoryStore, name: str) -> None:
    data = bytearray(store.objects[name])
    data[-3] ^= 1
    store.objects[name] = bytes(data)


def two_points(*locations: str, failing: str = "") -> tuple[World, str]:
    """Two points, the newer one's manifest by name; `failing` took nothing of the newer one."""
    world = World.of(*locations)
    source = MemorySource({b"x": b"1"})
    world.backup(source, "first")
    for store in world.stores:
        if store.location == failing:
            silence(store)
    source.write(b"x", b"2")
    newer = world.backup(source, "second").manifest
    for store in world.stores:
        store.fault = None
    return world, newer


def newest(world: World) -> Point:
    """The newest point, looked for at all locations at once, and one by one."""
    found = points(world.stores)[0]
    one_by_one = merge([catalog([store]) for store in world.stores]).points[0]
    assert one_by_one.standing is found.standing
    assert set(one_by_one.unsure) == set(found.unsure)
    return found


def test_a_point_whose_holder_went_silent_is_possible() -> None:
    world, newer = two_points("a", "b", "c", failing="c")
    assert newest(world).standing is Standing.COMMITTED
    silence(world.stores[0])
    point = newest(world)
    assert (point.manifest, point.standing) == (newer, Standing.POSSIBLE)
    assert point.unsure == ("a",)


def test_a_point_whose_copy_is_gone_where_there_is_an_answer_is_not_committed() -> None:
    world, newer = two_points("a", "b", "c", failing="c")
    del world.stores[0].objects[newer]
    assert newest(world).standing is Standing.UNCOMMITTED


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_copy_of_a_manifest_leaves_its_point_possible(damaged: int) -> None:
    world, newer = two_points("a", "b")
    flip(world.stores[damaged], newer)
    known = merge([catalog([store]) for store in world.stores])
    assert (known.points[0].manifest, known.points[0].standing) == (newer, Standing.POSSIBLE)
    assert (world.stores[damaged].location, newer) in known.damaged


def test_a_copy_of_another_size_is_a_damaged_one() -> None:
    world, newer = two_points("a", "b")
    world.stores[1].objects[newer] += b"more"
    point = newest(world)
    assert (point.standing, point.unsure) == (Standing.POSSIBLE, ("b",))


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_good_replacement_holds_the_point(damaged: int) -> None:
    world, newer = two_points("a", "b")
    good = world.stores[damaged].objects[newer]
    flip(world.stores[damaged], newer)
    world.stores[damaged].objects[newer + ".r1"] = good
    point = newest(world)
    assert (point.manifest, point.standing) == (newer, Standing.COMMITTED)


def test_a_damaged_replacement_does_not() -> None:
    world, newer = two_points("a", "b")
    good = world.stores[0].objects[newer]
    for store in world.stores:
        flip(store, newer)
    world.stores[0].objects[newer + ".r1"] = good[:-1] + bytes([good[-1] ^ 1])
    world.stores[1].objects[newer + ".r1"] = good
    point = newest(world)
    assert (point.held_by, point.standing) == (("b",), Standing.POSSIBLE)


def test_points_of_locations_under_other_names_are_possible() -> None:
    world, newer = two_points("a", "b", "c")
    for store in world.stores:
        store.location = f"./{store.location}"
    point = newest(world)
    assert (point.manifest, point.standing) == (newer, Standing.POSSIBLE)
    assert point.unsure == ("a", "b", "c")


def test_points_are_the_newest_first_however_they_were_found() -> None:
    world, newer = two_points("a", "b")
    apart = merge([catalog([store]) for store in world.stores])
    together = catalog(world.stores)
    assert apart.points[0].manifest == newer
    assert [replace(p, held_by=()) for p in apart.points] == [
        replace(p, held_by=()) for p in together.points
    ]


def test_brief_catalogs_hold_what_all_locations_say_once_and_no_bytes() -> None:
    world, newer = two_points("a", "b")
    flip(world.stores[1], newer)
    brief: Plains = {}
    parts = [catalog([store], brief=brief) for store in world.stores]
    assert not any(point.data for part in parts for point in part.points)
    assert len({id(point.plain) for part in parts for point in part.points}) == 2
    whole = merge([catalog([store]) for store in world.stores])
    told = merge(parts)
    assert told.points == [replace(point, data=b"") for point in whole.points]
    assert replace(told, points=[]) == replace(whole, points=[])
    assert told.damaged == [("b", newer)]
