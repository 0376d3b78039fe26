from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON
from weddingbackup.rules.protection import CHECK_PERIOD, Copy, Facts, protected

DAY = timedelta(hours=24)
GOOD = Facts(
    newest=NOON - timedelta(hours=3),
    period=DAY,
    left_out=(),
    held=[Copy("S3", "eu"), Copy("GCS", "us"), Copy("S3", "us")],
    unreachable=(),
    copies=3,
    min_providers=2,
    min_regions=2,
    lost=False,
    verified_since=NOON - timedelta(days=2),
)


def test_all_conditions_met() -> None:
    verdict = protected(GOOD, now=NOON)
    assert (verdict.status, verdict.reason) == (True, "AllConditionsMet")


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        (replace(GOOD, newest=None), False, "NoRecoveryPoint"),
        (replace(GOOD, newest=NOON - 2 * DAY - timedelta(seconds=1)), False, "PointTooOld"),
        (replace(GOOD, left_out=["guests"]), False, "SourcesNotInPoint"),
        (replace(GOOD, held=None), None, "CopiesUnknown"),
        (replace(GOOD, copies=4), False, "TooFewCopies"),
        (replace(GOOD, min_providers=3), False, "TooFewProviders"),
        (replace(GOOD, min_regions=3), False, "TooFewRegions"),
        (replace(GOOD, lost=True), False, "DataLost"),
        (replace(GOOD, verified_since=NOON - CHECK_PERIOD - DAY), None, "ChecksDue"),
    ],
)
def test_each_condition_counts(facts: Facts, status: bool | None, reason: str) -> None:
    verdict = protected(facts, now=NOON)
    assert (verdict.status, verdict.reason) == (status, reason)
    assert verdict.message


@given(
    st.none() | st.timedeltas(timedelta(), timedelta(days=30)),
    st.none() | st.lists(st.builds(Copy, st.sampled_from("ab"), st.sampled_from("xy")), max_size=4),
    st.integers(2, 4),
    st.timedeltas(timedelta(), timedelta(days=30)),
)
def test_never_true_for_what_was_not_checked(
    age: timedelta | None, held: list[Copy] | None, copies: int, unread: timedelta
) -> None:
    facts = replace(
        GOOD,
        newest=None if age is None else NOON - age,
        held=held,
        copies=copies,
        min_providers=1,
        min_regions=1,
        verified_since=NOON - unread,
    )
    if protected(facts, now=NOON).status:
        assert age is not None
        assert age <= 2 * DAY
        assert held is not None
        assert len(held) >= copies
        assert unread <= CHECK_PERIOD
