"""What a collection removes and what it leaves: by the clock, by the locations, by what is needed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.vault.collecting import GRACE, HOUR, Vault
from tests.unit.vault.fakes import some_files
from weddingbackup.resources.tasks import Kept
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.collect import Told, UnknownNeedsError, Wish
from weddingbackup.vault.errors import QuorumError

DATA = ("index/", "packs/", "snapshots/")


def files(number: int) -> dict[bytes, bytes]:
    return some_files(seed=number, directories=2, files=3)


def three_points() -> Vault:
    """Three points of different files, at three locations."""
    vault = Vault.at("a", "b", "c")
    for number in range(3):
        vault.store(files(number))
    return vault


def test_what_no_kept_point_needs_goes_a_grace_after_it_was_marked() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    before = vault.names(*DATA)
    first = vault.collect()
    assert (first.points, first.objects, first.kept) == (0, 0, 1)
    assert vault.names(*DATA) == before
    assert first.marked
    vault.pass_(GRACE - timedelta(seconds=1))
    assert vault.collect().objects == 0
    vault.pass_(timedelta(seconds=2))
    held = sum(len(data) for store in vault.stores for data in store.objects.values())
    second = vault.collect()
    assert second.points == 2
    assert second.objects == 3 * first.marked
    assert not second.failed
    assert vault.names(*DATA) == vault.needed()
    assert vault.names("marks/") == set()
    left = sum(len(data) for store in vault.stores for data in store.objects.values())
    assert second.bytes > 0
    assert abs(held - left - second.bytes) < 10_000  # marks went, fences came
    assert vault.back(points(vault.stores)[0]) == files(2)


def test_what_is_shared_stays() -> None:
    vault = Vault.at("a", "b", "c")
    vault.store(files(1))
    kept = files(1) | {b"new": b"new"}
    vault.store(kept)
    vault.collect_twice()
    assert vault.back(points(vault.stores)[0]) == kept
    assert vault.names(*DATA) == vault.needed()


def test_collecting_again_removes_nothing_more() -> None:
    vault = three_points()
    vault.collect_twice(keep_last=2)
    left = vault.names(*DATA)
    assert vault.collect_twice(keep_last=2).objects == 0
    assert vault.names(*DATA) == left
    assert vault.names("marks/") == set()


def test_what_is_young_is_not_marked() -> None:
    """A writer that is at work has stored it, and no point names it yet."""
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    young = f"packs/{'1' * 64}"
    vault.dated[0].objects[young], vault.dated[0].stored[young] = b"x", vault.now
    vault.collect()
    vault.pass_(GRACE)
    vault.collect()
    assert young in vault.names("packs/")
    vault.collect_twice()
    assert young not in vault.names("packs/")


def test_what_has_no_age_is_young() -> None:
    vault = three_points()
    ageless = f"packs/{'1' * 64}"
    vault.dated[0].objects[ageless] = b"x"
    vault.collect_twice()
    assert ageless in vault.names("packs/")


def test_pinned_points_stay_and_so_does_the_newest_whole_one() -> None:
    vault = three_points()
    newest, middle, oldest = vault.seen()
    wish = Wish(Kept(keep_last=1), 2, GRACE, pins={oldest}, lossy={newest})
    for _ in range(2):
        vault.pass_(GRACE + HOUR)
        vault.collect(wish)
    assert vault.seen() == [newest, middle, oldest]
    vault.collect_twice()
    assert vault.seen() == [newest]


def test_a_pin_that_comes_between_mark_and_sweep_counts() -> None:
    vault = three_points()
    oldest = vault.seen()[-1]
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)
    vault.collect(Wish(Kept(keep_last=1), 2, GRACE, pins={oldest}))
    assert oldest in vault.seen()
    assert vault.back(points(vault.stores)[-1]) == files(0)


def test_nothing_else_is_ever_touched() -> None:
    vault = three_points()
    others = {
        "format": vault.dated[0].objects["format"],
        "journal/one/2/3": b"x",
        "packs/readme": b"x",
        f"packs/{'0' * 64}.tmp": b"x",
        "index/0123": b"x",
        f"keys/old-{'0' * 32}-{'1' * 64}": b"x",
        f"snapshots/{'2' * 64}": b"x",
        "marks/20260231t000000z-" + "3" * 64: b"x",
        "marks/readme": b"x",
    }
    for store in vault.dated:
        store.objects |= others
        store.stored |= dict.fromkeys(others, vault.now - 100 * GRACE)
    keys = vault.names("keys/")
    vault.collect_twice()
    assert len(vault.seen()) == 1
    for store in vault.dated:
        assert {name: store.objects[name] for name in others} == others
    assert vault.names("keys/") == keys


def test_replacements_go_with_their_object() -> None:
    vault = three_points()
    doomed = points(vault.stores)[-1].manifest
    first = vault.dated[0]
    pack = next(n for n in first.objects if n.startswith("packs/"))
    for name in (doomed, pack):
        first.objects[f"{name}.r1"] = first.objects[name]
        first.stored[f"{name}.r1"] = first.stored[name]
    vault.collect_twice()
    assert not [n for n in vault.names(*DATA) if n.endswith(".r1") and n[:-3] not in vault.needed()]
    assert f"{doomed}.r1" not in first.objects


def away(_: str, name: str) -> None:
    raise TransientError(f"no answer about {name}", location="away")


def test_too_few_answers_remove_nothing() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)
    for store in vault.dated[:2]:
        store.fault = away
    with pytest.raises(QuorumError, match="1 of 3 locations answer, 2 have to"):
        vault.collect()
    for store in vault.dated:
        store.fault = None
    assert len(vault.seen()) == 3


def test_a_point_that_one_location_may_have_alone_needs_all_to_answer() -> None:
    vault = Vault.at("a", "b", "c", quorum=1)
    for number in range(3):
        vault.store(files(number))
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)
    vault.dated[2].fault = away
    with pytest.raises(QuorumError, match="2 of 3 locations answer, and 3 have to"):
        vault.collect()
    vault.dated[2].fault = None
    assert len(vault.seen()) == 3


def test_a_location_that_was_away_is_swept_when_it_is_back() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)
    vault.dated[2].fault = away
    result = vault.collect()
    assert result.objects
    vault.dated[2].fault = None
    vault.sound()
    assert len(vault.seen()) == 1
    vault.collect_twice()
    assert vault.names(*DATA) == vault.needed()
    assert vault.names("marks/") == set()


def test_a_mark_that_too_few_have_counts_for_nothing() -> None:
    """A writer whose quorum avoids them has not seen it."""
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.dated[2].fault = away
    vault.collect()
    vault.dated[2].fault = None
    vault.pass_(GRACE)
    vault.dated[0].fault = away
    assert vault.collect().objects == 0
    vault.dated[0].fault = None
    assert len(vault.seen()) == 3
    vault.pass_(GRACE)
    assert vault.collect().objects


def test_a_committed_point_that_is_half_out_of_sight_stays() -> None:
    vault = Vault.at("a", "b", "c")
    vault.dated[2].fault = away
    vault.store(files(0))
    vault.dated[2].fault = None
    vault.store(files(1))
    vault.dated[0].fault = away  # of the first point, only one copy is in sight
    vault.collect_twice()
    vault.dated[0].fault = None
    assert len(vault.seen()) == 2


def test_what_a_lock_holds_stays_whole_where_it_is() -> None:
    vault = three_points()
    doomed = points(vault.stores)[-1]
    first = vault.dated[0]
    first.locked = {doomed.manifest}
    result = vault.collect_twice()
    assert result.locked == 1
    assert result.points == 1
    vault.sound()
    assert vault.back(doomed, [first]) == files(0)
    assert doomed.manifest not in vault.dated[1].objects
    first.locked = set()
    vault.collect_twice()
    assert vault.names(*DATA) == vault.needed()


def test_a_locked_pack_is_tried_again() -> None:
    vault = three_points()
    unneeded = sorted(vault.names("packs/"))
    vault.dated[0].locked = set(unneeded)
    result = vault.collect_twice()
    assert result.points == 2
    assert result.locked
    vault.dated[0].locked = set()
    vault.collect_twice()
    assert vault.names(*DATA) == vault.needed()


def test_an_unreadable_need_of_a_kept_point_stops_everything() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)
    before = vault.names(*DATA)
    newest = points(vault.stores)[0]
    index = newest.sources[0].indexes[0].name
    for store in vault.dated:
        store.objects[index] = b"rotten"
    with pytest.raises(UnknownNeedsError, match="nothing is removed"):
        vault.collect()
    for store in vault.dated:
        store.objects[newest.manifest] = b"rotten"
    with pytest.raises(UnknownNeedsError, match="nothing is removed"):
        vault.collect()
    assert vault.names(*DATA) == before


def test_an_unreadable_need_of_an_expired_point_stops_nothing_for_good() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect(keep_last=2)
    vault.pass_(GRACE)
    index = points(vault.stores)[1].sources[0].indexes[0].name
    for store in vault.dated:
        store.objects[index] = b"rotten"
    with pytest.raises(UnknownNeedsError):
        vault.collect()  # the second point has expired by this wish, and no mark names it yet
    vault.pass_(GRACE)
    vault.collect()
    assert len(vault.seen()) == 1
    assert vault.names(*DATA) == vault.needed()


def test_one_location_that_fails_in_the_middle_holds_up_no_other() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE)

    def no_deletes(operation: str, name: str) -> None:
        if operation == "delete" and name.startswith("packs/"):
            raise TransientError("went away", location="c")

    vault.dated[2].fault = no_deletes
    result = vault.collect()
    assert list(result.failed) == ["c"]
    vault.sound()
    one = {n for n in vault.dated[0].objects if n.startswith(DATA)}
    assert one == vault.needed()
    vault.dated[2].fault = None
    vault.collect_twice()
    assert vault.names(*DATA) == vault.needed()


def test_a_rotten_mark_goes_when_it_is_old() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    vault.collect()
    for store in vault.dated:
        for name in [n for n in store.objects if n.startswith("marks/")]:
            store.objects[name] = b"rotten"
    vault.pass_(GRACE)
    assert vault.collect().objects == 0
    vault.pass_(GRACE)
    assert vault.collect().points == 2


def test_a_dry_run_tells_all_and_changes_nothing() -> None:
    vault = three_points()
    vault.pass_(GRACE + HOUR)
    before = [dict(store.objects) for store in vault.dated]
    told: list[Told] = []
    first = vault.collect(dry_run=True, tell=told.append)
    assert [dict(store.objects) for store in vault.dated] == before
    marked = {x.name for x in told if x.location and x.why.startswith("mark")}
    assert len(marked) == first.marked
    assert [x.name for x in told if not x.location] == vault.seen()[:1]
    assert vault.collect().marked == first.marked
    vault.pass_(GRACE)
    before = [dict(store.objects) for store in vault.dated]
    told.clear()
    second = vault.collect(dry_run=True, tell=told.append)
    assert [dict(store.objects) for store in vault.dated] == before
    assert (second.points, second.marked) == (2, 0)
    assert {x.name for x in told if x.location} == marked
    real = vault.collect()
    assert (real.points, real.objects, real.bytes) == (second.points, second.objects, second.bytes)


def test_a_manifest_that_a_location_loses_costs_no_point() -> None:
    """A location lagged, and another one of the quorum lost the manifest: one location has it still."""
    vault = Vault.at("a", "b", "c")
    vault.store(files(0))
    [point] = points(vault.stores)
    for store in vault.dated[1:]:
        del store.objects[point.manifest]
    vault.store(files(1))
    vault.collect_twice(keep_last=5)
    vault.collect_twice(keep_last=5)
    assert [vault.back(each) for each in points(vault.stores)] == [files(1), files(0)]
