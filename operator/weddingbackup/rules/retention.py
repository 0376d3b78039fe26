"""Which recovery points are kept, and why: a policy's wish, and what is kept whatever it says.

Only committed points count towards the wish, so a point of which it cannot be told just now never
pushes out one that is certain. One that is seen at fewer locations than its quorum may have been
committed and lost a manifest since: it stays for as long as it would, were it committed. Hours,
days, weeks (ISO 8601), months and years are those of UTC.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from weddingbackup.resources.tasks import Kept
from weddingbackup.rules.points import Standing, is_ahead


class RecoveryPoint(Protocol):
    """What is asked of a point."""

    @property
    def manifest(self) -> str:
        """Its manifest's name."""

    @property
    def time(self) -> datetime:
        """The moment that it stands for."""

    @property
    def standing(self) -> Standing:
        """What is known of its commit."""


P = TypeVar("P", bound=RecoveryPoint)


class Reason(StrEnum):
    """Why a point is kept."""

    NEWEST = "newest"
    NEWEST_WHOLE = "newest whole"
    """The newest committed point lost something, and this is the newest that did not."""
    LAST = "last"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    WINDOW = "point-in-time window"
    PINNED = "pinned"
    UNSURE = "perhaps committed"
    YOUNG = "perhaps being committed"
    FEWER = "seen at fewer locations than its quorum"
    AHEAD = "dated in the future"
    """A clock was wrong, perhaps the one that tells what is now: it stays, and pushes out nothing."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[P]):
    """What becomes of one point: it is kept where there is a reason to, else it has expired."""

    point: P
    reasons: tuple[Reason, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def keep(
    points: Iterable[P],
    kept: Kept,
    *,
    now: datetime,
    grace: timedelta,
    pins: Collection[str] = (),
    lossy: Collection[str] = (),
) -> list[Decision[P]]:
    """Decide about each point, the newest first.

    A larger wish keeps all that a smaller one keeps, and asked once more about what is left, with
    the same `now`, all of it is kept.

    Args:
        points: all that are seen.
        kept: the policy's wish.
        now: the moment of the decision.
        grace: for so long a point that is not committed may still be on its way.
        pins: manifests of points to keep whatever else is said.
        lossy: manifests of points that are known to have lost something.
    """
    ordered = sorted(points, key=lambda p: (p.time, p.manifest), reverse=True)
    reasons: dict[str, list[Reason]] = {point.manifest: [] for point in ordered}

    def note(reason: Reason, chosen: Iterable[P]) -> None:
        for point in chosen:
            reasons[point.manifest].append(reason)

    ahead = [point for point in ordered if is_ahead(point.time, now)]
    note(Reason.AHEAD, ahead)
    past = [point for point in ordered if point not in ahead]
    committed = [point for point in past if point.standing is Standing.COMMITTED]
    for reason, chosen in _wished(committed, kept, now, lossy):
        note(reason, chosen)
    note(Reason.PINNED, [p for p in ordered if p.manifest in pins])
    note(Reason.UNSURE, [p for p in ordered if p.standing is Standing.POSSIBLE])
    uncommitted = [p for p in past if p.standing is Standing.UNCOMMITTED]
    note(Reason.YOUNG, [p for p in uncommitted if p.time > now - grace])
    certain = {point.manifest for point in committed}
    for point in uncommitted:
        among = [p for p in past if p.manifest in certain or p is point]
        if any(point in chosen for _, chosen in _wished(among, kept, now, lossy)):
            note(Reason.FEWER, [point])
    return [Decision(point, tuple(reasons[point.manifest])) for point in ordered]


def _wished(
    points: Sequence[P], kept: Kept, now: datetime, lossy: Collection[str]
) -> Iterator[tuple[Reason, Sequence[P]]]:
    """Choose by the wish alone; the points come newest first."""
    yield Reason.NEWEST, points[:1]
    if points and points[0].manifest in lossy:
        yield Reason.NEWEST_WHOLE, [p for p in points if p.manifest not in lossy][:1]
    yield Reason.LAST, points[: kept.keep_last]
    for reason, count, period in (
        (Reason.HOURLY, kept.hourly, _hour),
        (Reason.DAILY, kept.daily, _day),
        (Reason.WEEKLY, kept.weekly, _week),
        (Reason.MONTHLY, kept.monthly, _month),
        (Reason.YEARLY, kept.yearly, _year),
    ):
        yield reason, _newest_of_each(points, period)[:count]
    if kept.point_in_time_seconds:
        start = now - timedelta(seconds=kept.point_in_time_seconds)
        yield Reason.WINDOW, [p for p in points if p.time >= start]
        # A moment early in the window lies behind a point that is older than the window.
        yield Reason.WINDOW, [p for p in points if p.time < start][:1]


def _newest_of_each(points: Sequence[P], period: Callable[[datetime], tuple[int, ...]]) -> list[P]:
    """The newest point of each period that has one; the points come newest first."""
    found: dict[tuple[int, ...], P] = {}
    for point in points:
        found.setdefault(period(point.time.astimezone(UTC)), point)
    return list(found.values())


def _hour(time: datetime) -> tuple[int, ...]:
    return time.year, time.month, time.day, time.hour


def _day(time: datetime) -> tuple[int, ...]:
    return time.year, time.month, time.day


def _week(time: datetime) -> tuple[int, ...]:
    year, week, _ = time.isocalendar()
    return year, week


def _month(time: datetime) -> tuple[int, ...]:
    return time.year, time.month


def _year(time: datetime) -> tuple[int, ...]:
    return (time.year,)
