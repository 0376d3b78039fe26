"""A vault counts as what it takes where it takes the most, and no trick makes that less."""

from datetime import timedelta

import pytest

from tests.unit.rules.facts import NOON
from weddingbackup.rules.measures import AGAIN, Measured, due, seen

ALL = ("a", "b", "c")
SEEN = Measured(at={"a": 5, "b": 9, "c": 9}, state="x", looked_at=NOON)


def test_the_largest_counts() -> None:
    assert SEEN.bytes == 9
    assert Measured().bytes is None


def look(
    known: Measured, *, began: bool = False, unfinished: str = "", **found: int | None
) -> Measured:
    heard = {name: size for name, size in found.items() if size is not None}
    failed = found.keys() - heard.keys()
    given = {"failed": failed, "unfinished": unfinished, "state": "y", "began": began}
    return seen(known, heard, ALL, now=NOON, **given)  # type: ignore[arg-type]


def test_a_listing_that_did_not_end_makes_nothing_less() -> None:
    after = look(SEEN, a=6, b=None, c=2)
    assert after.at == {"a": 6, "b": 9, "c": 2}
    assert (after.bytes, after.unlisted, after.settled) == (9, ["b"], False)
    assert look(after, b=1).bytes == 6


def test_a_look_that_goes_on_tells_what_it_has_and_is_asked_for_again() -> None:
    after = look(SEEN, a=12, unfinished="bc")
    assert (after.at, after.unlisted) == ({"a": 12, "b": 9, "c": 9}, ["b", "c"])
    assert not after.settled
    assert due(after, "y", ALL, began=False, now=NOON) == list(ALL)  # the state is not reached


def test_a_location_that_is_registered_no_more_counts_no_more() -> None:
    assert look(Measured(at={"gone": 99, "a": 1}), b=2).at == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("known", "state", "began", "minutes", "asked"),
    [
        (Measured(), "", False, 0, "abc"),
        (SEEN, "x", False, 1000, ""),
        (SEEN, "y", False, 0, "abc"),
        (SEEN, "x", True, 0, "abc"),  # no new point, and nobody knows what else
        (SEEN.model_copy(update={"unlisted": ["b", "gone"]}), "x", False, 9, ""),
        (SEEN.model_copy(update={"unlisted": ["b", "gone"]}), "x", False, 10, "b"),
        (SEEN.model_copy(update={"late": True}), "x", False, 9, ""),
        (SEEN.model_copy(update={"late": True}), "x", False, 10, "abc"),
    ],
)
def test_when_it_is_listed_and_where(
    known: Measured, state: str, began: bool, minutes: int, asked: str
) -> None:
    now = NOON + timedelta(minutes=minutes)
    assert due(known, state, ALL, began=began, now=now) == list(asked)


def test_what_was_signed_for_a_backup_that_has_ended_is_looked_for_once_it_can_come_no_more() -> (
    None
):
    first = look(SEEN, began=True, a=1, b=1, c=1)
    assert (first.late, first.settled) == (True, False)
    assert due(first, "y", ALL, began=False, now=NOON + AGAIN) == list(ALL)
    assert look(first, a=1, b=1, c=1).settled


def test_a_location_lacks_what_the_fullest_has_beyond_it() -> None:
    assert [SEEN.lacks(name) for name in ("a", "b", "new")] == [4, 0, 9]
    assert look(SEEN, a=None).lacks("a") == 0  # nobody knows
    assert Measured().lacks("a") == 0
