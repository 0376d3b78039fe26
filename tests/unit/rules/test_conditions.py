from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.resources.base import ConditionStatus
from weddingbackup.rules.conditions import State, Verdict, find, merge, summary

NOON = datetime(2026, 12, 5, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


@given(st.sampled_from(State))
def test_exactly_one_of_the_three_is_true(state: State) -> None:
    conditions = merge([], summary(state, "Why", "because"), generation=1, now=NOON)
    assert [c.type for c in conditions] == ["Ready", "Reconciling", "Stalled"]
    assert [c.type for c in conditions if c.status is ConditionStatus.TRUE] == [state.value]


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merge([], [Verdict("Placed", status=True, reason="A")], generation=1, now=NOON)
    same = merge(first, [Verdict("Placed", status=True, reason="B")], generation=2, now=LATER)
    other = merge(same, [Verdict("Placed", status=None, reason="C")], generation=2, now=LATER)
    assert same[0].last_transition_time == NOON
    assert (same[0].reason, same[0].observed_generation) == ("B", 2)
    assert other[0].last_transition_time == LATER
    assert other[0].status is ConditionStatus.UNKNOWN


def test_deciding_the_same_again_changes_nothing() -> None:
    verdicts = summary(State.STALLED, "Broken", "mend it")
    first = merge([], verdicts, generation=3, now=NOON)
    assert merge(first, verdicts, generation=3, now=LATER) == first


def test_what_no_verdict_speaks_of_is_dropped() -> None:
    first = merge([], [Verdict("Failed", status=True, reason="A")], generation=1, now=NOON)
    after = merge(first, [Verdict("Ready", status=True, reason="B")], generation=1, now=NOON)
    assert find(after, "Failed") is None
    assert find(after, "Ready") is not None


def test_the_reason_is_said_where_people_look_first() -> None:
    conditions = merge([], summary(State.STALLED, "Broken", "mend it"), generation=1, now=NOON)
    ready, stalled = find(conditions, "Ready"), find(conditions, "Stalled")
    assert ready is not None
    assert stalled is not None
    assert ready.message == stalled.message == "mend it"
