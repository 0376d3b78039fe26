from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.rules import schedule
from weddingbackup.rules.schedule import Schedule, ScheduleError

MADE = datetime(2026, 11, 23, 21, 0, 42, tzinfo=UTC)
FIRST = MADE.replace(second=0)
HOURLY = Schedule(anchor=MADE, every=timedelta(hours=1))
NIGHTLY = Schedule(anchor=MADE, cron="30 3 * * *", zone="Europe/London")

moments = st.datetimes(datetime(2026, 11, 24), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis adds the zone
intervals = st.timedeltas(timedelta(minutes=1), timedelta(days=7)).map(
    lambda interval: timedelta(seconds=int(interval.total_seconds()))
)
zones = st.sampled_from(sorted(available_timezones()))


def test_a_new_policy_is_backed_up_at_once() -> None:
    for each in (HOURLY, NIGHTLY):
        assert schedule.due(each, last=None, now=MADE) == FIRST
        assert schedule.due(each, last=FIRST, now=MADE) is None


def test_slots_that_were_missed_run_once() -> None:
    late = MADE + timedelta(days=3, minutes=10)
    slot = schedule.due(HOURLY, last=FIRST, now=late)
    assert slot == FIRST + timedelta(days=3)
    assert schedule.due(HOURLY, last=slot, now=late) is None


@given(intervals, moments)
def test_of_an_interval_the_newest_slot_is_due_once(every: timedelta, now: datetime) -> None:
    times = Schedule(anchor=MADE, every=every)
    slot = schedule.due(times, last=None, now=now)
    assert slot is not None
    assert slot <= now < slot + every
    assert schedule.due(times, last=slot, now=now) is None
    assert schedule.upcoming(times, now=now) == slot + every


@given(zones, moments)
def test_in_every_time_zone_the_newest_cron_slot_is_due_once(zone: str, now: datetime) -> None:
    times = Schedule(anchor=MADE, cron="30 3 * * *", zone=zone)
    slot = schedule.due(times, last=FIRST, now=now)
    ahead = schedule.upcoming(times, now=now)
    if slot is not None:
        assert slot <= now
        assert schedule.due(times, last=slot, now=now) is None
        # A day of the calendar, which can skip one (Samoa) or be an hour shorter or longer.
        assert ahead - slot <= timedelta(hours=49)
    assert now < ahead <= now + timedelta(hours=49)


@given(moments, moments)
def test_time_goes_on_and_slots_with_it(one: datetime, other: datetime) -> None:
    early, late = sorted((one, other))
    first = schedule.due(NIGHTLY, last=None, now=early)
    second = schedule.due(NIGHTLY, last=None, now=late)
    assert first is not None
    assert second is not None
    assert first <= second


def test_cron_is_read_in_its_zone_over_the_change_of_the_clocks() -> None:
    before = schedule.due(NIGHTLY, last=FIRST, now=datetime(2027, 3, 27, 12, tzinfo=UTC))
    after = schedule.due(NIGHTLY, last=FIRST, now=datetime(2027, 3, 28, 12, tzinfo=UTC))
    assert before == datetime(2027, 3, 27, 3, 30, tzinfo=UTC)
    assert after == datetime(2027, 3, 28, 2, 30, tzinfo=UTC)
    assert after.astimezone(ZoneInfo("Europe/London")).hour == 3


@given(st.text(max_size=20), st.integers(1, 3600))
def test_jitter_is_each_policys_own_and_bounded(seed: str, seconds: int) -> None:
    jitter = timedelta(seconds=seconds)
    times = Schedule(anchor=MADE, every=timedelta(hours=2), jitter=jitter, seed=seed)
    start = schedule.upcoming(times, now=MADE)
    assert start == schedule.upcoming(times, now=MADE)
    assert timedelta() <= start - (FIRST + timedelta(hours=2)) < jitter
    just_before = start - timedelta(microseconds=1)
    assert schedule.due(times, last=FIRST, now=just_before) is None
    assert schedule.due(times, last=FIRST, now=start) == FIRST + timedelta(hours=2)


def test_a_slots_name_is_its_moment() -> None:
    assert schedule.name("wedding", FIRST) == "wedding-202611232100"
    summer = FIRST.astimezone(ZoneInfo("Asia/Tokyo"))
    assert schedule.name("wedding", summer) == "wedding-202611232100"


def test_the_period_is_the_time_between_two_slots() -> None:
    assert schedule.period(HOURLY, now=MADE) == timedelta(hours=1)
    assert schedule.period(NIGHTLY, now=MADE) == timedelta(hours=24)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (Schedule(anchor=MADE, cron="61 3 * * *"), "five fields"),
        (Schedule(anchor=MADE, cron="0 3 * * *", zone="Mars/Base"), "Europe/London"),
        (Schedule(anchor=MADE, every=timedelta(seconds=30)), "at least 1m"),
        (Schedule(anchor=MADE), "at least 1m"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(times: Schedule, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        schedule.upcoming(times, now=MADE)
