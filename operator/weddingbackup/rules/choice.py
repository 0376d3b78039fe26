"""Which point a recovery brings back: never an older one while a newer one may be committed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weddingbackup.resources.common import DataClass
from weddingbackup.rules.points import Standing, is_ahead
from weddingbackup.rules.times import rfc3339
from weddingbackup.rules.workload import Problem


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """One recovery point, as the stores' manifests tell it.

    Attributes:
        job_name: the BackupJob that made it.
        time: the moment that it stands for.
        sources: name and data class of each.
        standing: what can be told of its commit by what is visible now.
        unsure: its locations that may hold more of it: silent, not registered, or with a damaged copy.
    """

    manifest: str
    sha256: str
    job_name: str
    time: datetime
    sources: Mapping[str, DataClass]
    standing: Standing
    unsure: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pin:
    """A point that a completed BackupJob's status names: it is committed, whatever is visible now.

    Attributes:
        unsure: as a point's, where the point was not found.
    """

    manifest: str
    sha256: str
    job_name: str
    time: datetime
    unsure: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which point is asked for: at most one of the members is set; none asks for the newest."""

    moment: datetime | None = None
    manifest: str | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """It cannot be told yet which point it is; asking again may."""

    problem: Problem


def choose(
    points: Sequence[RecoveryPoint],
    wanted: Wanted,
    *,
    pins: Sequence[Pin] = (),
    silent: Collection[str],
    now: datetime,
) -> RecoveryPoint | Unsettled | Problem:
    """The newest point, committed or pinned, that is not later than asked for, nor of the future.

    Never an older one while a newer one may be committed: that is left to a person, who names the
    point. A named point is safe to bring back where it is only possible, see `rules.points`.

    Args:
        points: all that were found, in any order.
        wanted: which.
        pins: what completed BackupJobs say.
        silent: locations that did not answer; they may hold what was not found.
        now: the moment of the choice.
    """
    pinned = {(pin.manifest, pin.sha256) for pin in pins}
    sure = [
        point
        for point in points
        if point.standing is Standing.COMMITTED or (point.manifest, point.sha256) in pinned
    ]
    if wanted.manifest is not None:
        return _named(points, sure, wanted.manifest, silent)
    found = {point.manifest for point in points}
    doubts: list[RecoveryPoint | Pin] = [
        point for point in points if point.standing is Standing.POSSIBLE and point not in sure
    ]
    doubts += [pin for pin in pins if pin.manifest not in found and pin.unsure]

    def newest(those: Sequence[RecoveryPoint | Pin]) -> RecoveryPoint | Pin | None:
        past = [x for x in those if not is_ahead(x.time, now)]
        early = [x for x in past if wanted.moment is None or x.time <= wanted.moment]
        return max(early, key=lambda x: x.time, default=None)

    best, doubt = newest(sure), newest(doubts)
    if doubt is not None and (best is None or doubt.time > best.time):
        return Unsettled(_doubtful(doubt, best))
    if isinstance(best, RecoveryPoint):
        return best
    if not sure:
        problem = Problem(
            "NoRecoveryPoint",
            "No committed recovery point was found: no backup of this policy has completed yet."
            + _unheard(silent),
        )
    else:
        problem = Problem(
            "NoPointThatEarly",
            f"The earliest recovery point is of {rfc3339(min(point.time for point in sure))}, "
            f"later than {'the pointInTime that is asked for' if wanted.moment else 'now'}. "
            f"A backupJobRef takes a point whatever its time.{_unheard(silent)}",
        )
    # What was not found may lie where nobody answers.
    return Unsettled(problem) if silent else problem


def _named(
    points: Sequence[RecoveryPoint],
    sure: Collection[RecoveryPoint],
    manifest: str,
    silent: Collection[str],
) -> RecoveryPoint | Unsettled | Problem:
    for point in points:
        possible = point.standing is Standing.POSSIBLE
        if point.manifest == manifest and (possible or point in sure):
            return point
    problem = Problem(
        "PointNotFound",
        f"The locations that answer do not hold {manifest}.{_unheard(silent)}",
    )
    return Unsettled(problem) if silent else problem


def _doubtful(doubt: RecoveryPoint | Pin, best: RecoveryPoint | Pin | None) -> Problem:
    found = isinstance(doubt, RecoveryPoint)
    ways = [f"backupJobRef {doubt.job_name} takes this very point"] if found else []
    if best is not None:
        # Written to the second, as moments are, yet not before the point.
        moment = rfc3339(best.time + timedelta(microseconds=999_999))
        ways.append(
            f"backupJobRef {best.job_name} or pointInTime {moment} takes the one before that is certain"
        )
    return Problem(
        "NewestPointUncertain",
        f"The newest recovery point is of {rfc3339(doubt.time)} (BackupJob {doubt.job_name}), but "
        + ("whether it is committed cannot be told" if found else "it was not found")
        + f": {', '.join(sorted(doubt.unsure))} did not answer, or are not registered, or hold a "
        "damaged copy. They are asked again."
        + (f" To go on now, make a new request: {'; '.join(ways)}." if ways else ""),
    )


def _unheard(silent: Collection[str]) -> str:
    if not silent:
        return ""
    return f" These locations did not answer and may hold more: {', '.join(sorted(silent))}."
