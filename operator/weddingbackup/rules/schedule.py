"""When a policy's next backup is due.

Time is cut into slots, each named by its moment: the first is the policy's own creation (a new
policy has nothing to recover from yet), the others come from a cron expression or an interval. Slots
missed while the operator was away, or while the policy was suspended, run once: only the newest counts.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MINUTE = timedelta(minutes=1)


class ScheduleError(ValueError):
    """A schedule that nobody can follow; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One policy's schedule; exactly one of `cron` and `every` is set.

    Attributes:
        anchor: the policy's creation, from which intervals are counted.
        every: at least a minute: a slot's name is exact to the minute.
        jitter: how much later than its slot a backup may start, so that a fleet's don't all start at once.
        seed: makes the jitter this policy's own, and the same at every restart.
    """

    anchor: datetime
    cron: str | None = None
    every: timedelta | None = None
    zone: str = "UTC"
    jitter: timedelta = timedelta()
    seed: str = ""


def due(schedule: Schedule, *, last: datetime | None, now: datetime) -> datetime | None:
    """The newest slot that should have started by now and has not (its moment in UTC).

    Args:
        schedule: the policy's.
        last: the slot that was served last; None if none ever was.
        now: the moment to decide for.

    Raises:
        ScheduleError: the cron expression or the time zone means nothing.
    """
    newest = _newest(schedule, now - _delay(schedule))
    if last is None:
        return newest or _first(schedule)
    return newest if newest is not None and newest > last else None


def upcoming(schedule: Schedule, *, now: datetime) -> datetime:
    """When the first backup after `now` will start, jitter included.

    Raises:
        ScheduleError: the cron expression or the time zone means nothing.
    """
    delay = _delay(schedule)
    earliest = max(now - delay, _first(schedule))
    if schedule.cron is not None:
        slot: datetime = next(_cron(schedule, schedule.cron, earliest)).astimezone(UTC)
        return slot + delay
    interval = _interval(schedule)
    first = _first(schedule)
    return first + ((earliest - first) // interval + 1) * interval + delay


def name(policy: str, slot: datetime) -> str:
    """The BackupJob's name for a slot: made twice, it is the same object."""
    return f"{policy}-{slot.astimezone(UTC):%Y%m%d%H%M}"


def period(schedule: Schedule, *, now: datetime) -> timedelta:
    """How far apart two backups are, around this moment.

    Raises:
        ScheduleError: the cron expression or the time zone means nothing.
    """
    if schedule.cron is None:
        return _interval(schedule)
    ahead = _cron(schedule, schedule.cron, now)
    first: datetime = next(ahead).astimezone(UTC)
    second: datetime = next(ahead).astimezone(UTC)
    return second - first


def _first(schedule: Schedule) -> datetime:
    return schedule.anchor.astimezone(UTC).replace(second=0, microsecond=0)


def _newest(schedule: Schedule, moment: datetime) -> datetime | None:
    first = _first(schedule)
    if moment < first:
        return None
    if schedule.cron is None:
        interval = _interval(schedule)
        return first + ((moment - first) // interval) * interval
    # Searching backwards is exclusive of where it starts: a slot belongs to its own moment.
    backwards = _cron(schedule, schedule.cron, moment + MINUTE / 60, reverse=True)
    slot: datetime = next(backwards).astimezone(UTC)
    return max(slot, first)


def _interval(schedule: Schedule) -> timedelta:
    if schedule.every is None or schedule.every < MINUTE:
        raise ScheduleError("spec.schedule.every: write a duration of at least 1m, for example 24h")
    return schedule.every


def _cron(
    schedule: Schedule, expression: str, start: datetime, *, reverse: bool = False
) -> CronSim:
    try:
        zone = ZoneInfo(schedule.zone)
    except (KeyError, ValueError) as error:
        raise ScheduleError(
            f"spec.schedule.timeZone: {schedule.zone!r} is no time zone; "
            "write a name like Europe/London"
        ) from error
    try:
        return CronSim(expression, start.astimezone(zone), reverse=reverse)
    except CronSimError as error:
        raise ScheduleError(
            f"spec.schedule.cron: {expression!r}: {error}; "
            "write five fields like '0 3 * * *' (minute, hour, day, month, weekday)"
        ) from error


def _delay(schedule: Schedule) -> timedelta:
    """This policy's share of the jitter, always the same one."""
    fraction = int.from_bytes(hashlib.sha256(schedule.seed.encode()).digest()[:4]) / 2**32
    return schedule.jitter * fraction
