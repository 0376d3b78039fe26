"""What is kept: examples a person can follow, and what holds of every wish and every history."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.resources.tasks import Kept
from weddingbackup.rules.points import Standing
from weddingbackup.rules.retention import Decision, Reason, keep

NOW = datetime(2026, 12, 7, 9, tzinfo=UTC)
DAY = timedelta(days=1)
COMMITTED, POSSIBLE, UNCOMMITTED = Standing


@dataclass(frozen=True)
class Point:
    manifest: str
    time: datetime
    standing: Standing = COMMITTED


def at(*times: str, standing: Standing = COMMITTED) -> list[Point]:
    """Points named after their times."""
    return [Point(t, datetime.fromisoformat(t + "+00:00"), standing) for t in times]


def kept(decisions: list[Decision[Point]]) -> list[str]:
    return [decision.point.manifest for decision in decisions if decision.kept]


def decide(points: list[Point], wish: Kept, **facts: set[str]) -> list[Decision[Point]]:
    return keep(points, wish, now=NOW, grace=DAY, **facts)


def test_the_last_points_are_kept_whenever_they_were_made() -> None:
    points = at("2020-01-01T00:00", "2026-12-01T00:00", "2026-12-01T00:01")
    assert kept(decide(points, Kept(keep_last=2))) == ["2026-12-01T00:01", "2026-12-01T00:00"]


def test_of_each_period_the_newest_is_kept_and_empty_ones_do_not_count() -> None:
    hours = at("2026-12-05T10:59", "2026-12-05T10:01", "2026-12-05T08:30", "2026-12-05T07:30")
    wish = Kept(keep_last=1, hourly=2)
    assert kept(decide(hours, wish)) == ["2026-12-05T10:59", "2026-12-05T08:30"]
    days = at("2026-12-05T23:59", "2026-12-05T00:00", "2026-12-04T23:59", "2026-11-01T12:00")
    wish = Kept(keep_last=1, daily=3)
    assert kept(decide(days, wish)) == ["2026-12-05T23:59", "2026-12-04T23:59", "2026-11-01T12:00"]
    months = at("2026-12-01T00:00", "2026-11-30T23:59", "2026-11-01T00:00", "2025-12-31T00:00")
    wish = Kept(keep_last=1, monthly=2, yearly=2)
    assert kept(decide(months, wish)) == [
        "2026-12-01T00:00",
        "2026-11-30T23:59",
        "2025-12-31T00:00",
    ]


def test_weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday() -> None:
    """2026-12-28 to 2027-01-03 is one week: 2026-W53."""
    points = at("2027-01-04T00:00", "2027-01-03T23:59", "2026-12-28T00:00", "2026-12-27T23:59")
    wish = Kept(keep_last=1, weekly=3)
    assert kept(keep(points, wish, now=points[0].time, grace=DAY)) == [
        "2027-01-04T00:00",
        "2027-01-03T23:59",
        "2026-12-27T23:59",
    ]


def test_what_is_dated_in_the_future_stays_and_pushes_out_nothing() -> None:
    past = at("2026-12-07T09:05", "2026-12-07T08:00", "2026-12-06T08:00", "2026-12-05T08:00")
    ahead = at("2999-01-01T00:00", "2026-12-07T09:06")
    wish = Kept(keep_last=1, daily=2, point_in_time_seconds=60)
    decisions = decide([*past, *ahead], wish)
    assert decisions[2:] == decide(past, wish)
    assert [decision.reasons for decision in decisions[:2]] == [(Reason.AHEAD,)] * 2


def test_days_are_those_of_utc() -> None:
    east = timezone(timedelta(hours=13))
    late = Point("late", datetime(2026, 12, 6, 0, 30, tzinfo=east))  # the 5th in UTC
    early = Point("early", datetime(2026, 12, 5, 10, 0, tzinfo=UTC))
    assert kept(decide([late, early], Kept(keep_last=1, daily=2))) == ["late"]


def test_the_window_keeps_every_point_and_the_one_before_it() -> None:
    points = at("2026-12-07T08:59", "2026-12-06T09:00", "2026-12-06T08:59", "2026-12-06T08:58")
    wish = Kept(keep_last=1, point_in_time_seconds=86400)
    assert kept(decide(points, wish)) == [p.manifest for p in points[:3]]


def test_the_reasons_are_told() -> None:
    points = at("2026-12-05T10:00", "2026-12-04T10:00")
    first, second = decide(points, Kept(keep_last=1, daily=1), pins={points[1].manifest})
    assert first.reasons == (Reason.NEWEST, Reason.LAST, Reason.DAILY)
    assert second.reasons == (Reason.PINNED,)


def test_where_the_newest_lost_something_the_newest_whole_one_stays() -> None:
    points = at("2026-12-05T10:00", "2026-12-04T10:00", "2026-12-03T10:00", "2026-12-02T10:00")
    names = [p.manifest for p in points]
    decisions = decide(points, Kept(keep_last=1), lossy={names[0], names[1]})
    assert kept(decisions) == [names[0], names[2]]
    assert decisions[2].reasons == (Reason.NEWEST_WHOLE,)
    assert kept(decide(points, Kept(keep_last=1), lossy={names[2]})) == names[:1]


def test_what_is_not_committed_stays_while_it_may_be() -> None:
    [unsure] = at("2020-01-01T00:00", standing=POSSIBLE)
    young, old = at("2026-12-06T09:01", "2026-12-06T09:00", standing=UNCOMMITTED)
    [certain] = at("2026-11-01T00:00")
    decisions = {
        d.point: d.reasons for d in decide([unsure, young, old, certain], Kept(keep_last=1))
    }
    assert decisions[unsure] == (Reason.UNSURE,)
    assert decisions[young] == (Reason.YOUNG, Reason.FEWER)
    assert decisions[old] == (Reason.FEWER,)
    assert decisions[certain]  # the others do not count as the newest


def test_what_is_not_committed_goes_when_it_would_if_it_were() -> None:
    [newest] = at("2026-12-05T09:00")
    young, old = at("2026-12-06T09:01", "2026-12-05T08:00", standing=UNCOMMITTED)
    decisions = {d.point: d.reasons for d in decide([newest, young, old], Kept(keep_last=1))}
    assert decisions[young] == (Reason.YOUNG, Reason.FEWER)
    assert decisions[old] == ()


wishes = st.builds(
    Kept,
    keep_last=st.integers(1, 5),
    hourly=st.integers(0, 4),
    daily=st.integers(0, 4),
    weekly=st.integers(0, 4),
    monthly=st.integers(0, 4),
    yearly=st.integers(0, 3),
    point_in_time_seconds=st.sampled_from([0, 3600, 86400, 30 * 86400]),
)
times = st.integers(-3 * 365 * 24 * 60, 60).map(lambda minutes: NOW + timedelta(minutes=minutes))
histories = st.lists(
    st.tuples(times, st.sampled_from([COMMITTED, COMMITTED, COMMITTED, POSSIBLE, UNCOMMITTED])),
    max_size=25,
).map(lambda found: [Point(f"m{n}", *facts) for n, facts in enumerate(found)])
names = st.sets(st.integers(0, 24).map(lambda n: f"m{n}"), max_size=4)


@given(histories, wishes, names, names)
def test_the_newest_certain_points_and_the_pinned_ones_are_kept(
    points: list[Point], wish: Kept, pins: set[str], lossy: set[str]
) -> None:
    left = set(kept(decide(points, wish, pins=pins, lossy=lossy)))
    committed = sorted(
        (p for p in points if p.standing is COMMITTED), key=lambda p: (p.time, p.manifest)
    )
    assert {p.manifest for p in committed[-1:]} <= left
    assert {p.manifest for p in committed if p.manifest not in lossy} & left or all(
        p.manifest in lossy for p in committed
    )
    assert pins & {p.manifest for p in points} <= left
    assert len(left & {p.manifest for p in committed}) >= min(wish.keep_last, len(committed))
    assert {p.manifest for p in points if p.standing is POSSIBLE} <= left


@given(histories, wishes, st.integers(0, 24))
def test_who_loses_a_manifest_loses_no_point(points: list[Point], wish: Kept, number: int) -> None:
    """A committed point that is suddenly seen at fewer locations is kept as it was."""
    lessened = [
        replace(p, standing=UNCOMMITTED) if n == number else p for n, p in enumerate(points)
    ]
    assert {
        p.manifest
        for p in points
        if p.standing is COMMITTED and p.manifest in set(kept(decide(points, wish)))
    } <= set(kept(decide(lessened, wish)))


@given(histories, wishes, wishes)
def test_a_larger_wish_keeps_all_that_a_smaller_one_does(
    points: list[Point], one: Kept, other: Kept
) -> None:
    both = Kept(
        **{name: max(getattr(one, name), getattr(other, name)) for name in Kept.model_fields}
    )
    assert set(kept(decide(points, one))) <= set(kept(decide(points, both)))


@given(histories, wishes, names, names)
def test_what_was_kept_is_kept_again(
    points: list[Point], wish: Kept, pins: set[str], lossy: set[str]
) -> None:
    first = decide(points, wish, pins=pins, lossy=lossy)
    left = [decision.point for decision in first if decision.kept]
    again = decide(left, wish, pins=pins, lossy=lossy)
    assert [d.point for d in again if d.kept] == left


@given(histories, wishes, times)
def test_what_has_expired_is_not_wanted_again_later(
    points: list[Point], wish: Kept, later: datetime
) -> None:
    points = [p for p in points if p.standing is COMMITTED]
    gone = {d.point for d in decide(points, wish) if not d.kept}
    then = keep(points, wish, now=NOW + abs(later - NOW), grace=DAY)
    assert not gone & {d.point for d in then if d.kept}
