"""Catching up the locations that a committed backup has missed: which copy Jobs to make, which to drop."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from weddingbackup.resources.backup_job import LocationStatus
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.backup_location import Phase as Health
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.reports import CopyReport
from weddingbackup.rules.commit import UNVERIFIED
from weddingbackup.rules.workload import Workload

PAUSE = timedelta(seconds=60)
"""Between a copy that failed, after all its own retries, and the next one."""


_COPYING = "Is being copied from the other locations."
_NOT_YET = "All is there, and is not verified yet."
"""Where `UNVERIFIED` would say that it is being verified."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What to do about one location.

    Attributes:
        row: its row from now on.
        create: make its copy Job.
        delete: remove its copy Job, to make a new one later.
    """

    row: LocationStatus
    create: bool = False
    delete: bool = False


def catch_up(
    row: LocationStatus,
    location: BackupLocation | None,
    workload: Workload | None,
    *,
    now: datetime,
) -> CatchUp:
    """Decide on one location that is not Committed.

    Args:
        row: how the backup stands there.
        location: None where it is registered no longer.
        workload: its copy Job; None where there is none.
        now: the moment to decide for.
    """
    if workload is not None and workload.finished and workload.succeeded:
        report = _report(workload)
        done: dict[str, object] = {"phase": LocationPhase.COMMITTED, "message": None}
        if report is not None:
            done |= {
                "bytes": row.bytes + report.bytes,
                "duration_seconds": round((row.duration_seconds or 0) + report.seconds, 1),
            }
        return CatchUp(row.model_copy(update=done))
    if location is None:
        message = "It is registered no longer, so this backup will not be copied to it."
        return CatchUp(_row(row, LocationPhase.FAILED, message), delete=workload is not None)
    if location.status.phase is not Health.HEALTHY:
        # A copy that waits for a dead location backs off for minutes; a new one starts when it is back.
        message = f"Waits until the location is Healthy; it is {location.status.phase}."
        return CatchUp(_row(row, LocationPhase.LAGGING, message), delete=workload is not None)
    if workload is None:
        return CatchUp(_row(row, LocationPhase.LAGGING, _going(row)), create=True)
    if not workload.finished:
        message = workload.problem.message if workload.problem else _going(row)
        return CatchUp(_row(row, LocationPhase.LAGGING, message))
    report = _report(workload)
    message = report.error.message if report and report.error else "The copy failed; see its log."
    over = workload.finished_at is None or now - workload.finished_at >= PAUSE
    return CatchUp(_row(row, LocationPhase.LAGGING, message), delete=over)


def held(row: LocationStatus, reason: str) -> LocationStatus:
    """The row whose copy Job is not made yet, and why: it is looked at again as any that lags."""
    message = f"{_NOT_YET} {reason}" if _going(row) == UNVERIFIED else reason
    return _row(row, LocationPhase.LAGGING, message)


def _going(row: LocationStatus) -> str:
    """What a row says while its copy Job runs."""
    told = row.message or ""
    return UNVERIFIED if told == UNVERIFIED or told.startswith(_NOT_YET) else _COPYING


def _row(row: LocationStatus, phase: LocationPhase, message: str | None) -> LocationStatus:
    return row.model_copy(update={"phase": phase, "message": message and message[:1024]})


def _report(workload: Workload) -> CopyReport | None:
    try:
        return CopyReport.model_validate_json(workload.message or "")
    except ValidationError:
        return None
