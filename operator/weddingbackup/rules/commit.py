"""Whether a backup is committed: decided by what the operator sees at the locations, not by a worker's word.

The broker stores a manifest only where all that it needs is listed. Where the location itself has checked
on arrival that bytes are those that were signed for, the manifest there says that everything is. Elsewhere
its presence says nothing of the bytes: a copy counts once a Job that holds no keys has read and verified it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from weddingbackup.resources.backup_job import BackupJob, LocationStatus, Status
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import LocationPhase
from weddingbackup.rules import backup as backups
from weddingbackup.rules.workload import Problem

BRIEF, LONG = timedelta(seconds=15), timedelta(minutes=2)
"""For a location that is silent when the worker has ended: with a quorum seen elsewhere, and without."""


VERIFIED = timedelta(hours=24)
"""For copies that are being verified, after which the backup fails: later ones wait for it."""


class Sight(Enum):
    """What one location showed when it was asked for the announced manifest."""

    THERE = "there"
    ABSENT = "absent"
    SILENT = "silent"


def binds_checksums(location: BackupLocation) -> bool:
    """Whether the location has been found to refuse bytes other than those that were signed for."""
    found = location.status.capabilities
    return found is not None and found.bound_checksums


def rows(
    before: Sequence[LocationStatus],
    sights: Mapping[str, Sight],
    locations: Mapping[str, BackupLocation],
) -> list[LocationStatus]:
    """The rows after a look: what is there and vouched for is Committed, and stays so."""
    return [_row(row, sights.get(row.name), locations.get(row.name)) for row in before]


def _row(
    row: LocationStatus, sight: Sight | None, location: BackupLocation | None
) -> LocationStatus:
    if row.phase is LocationPhase.COMMITTED:
        return row
    if location is None:
        message = "It is registered no longer."
        return row.model_copy(update={"phase": LocationPhase.FAILED, "message": message})
    match sight:
        case Sight.THERE if binds_checksums(location):
            return row.model_copy(update={"phase": LocationPhase.COMMITTED, "message": None})
        case Sight.THERE:
            return row.model_copy(update={"phase": LocationPhase.LAGGING, "message": UNVERIFIED})
        case Sight.ABSENT:
            message = row.message or "It did not get all of the backup."
            return row.model_copy(update={"phase": LocationPhase.LAGGING, "message": message})
        case _:
            return row


def waits(rows: Sequence[LocationStatus], quorum: int) -> bool:
    """Whether a commit still waits for what is verified; what lacks beyond its quorum is caught up at leisure."""
    return sum(row.phase is LocationPhase.COMMITTED for row in rows) < quorum


UNVERIFIED = (
    "All is there, and is being read and verified: this location does not do so on arrival."
)


def judge(
    backup: BackupJob,
    found: Sequence[LocationStatus],
    sights: Mapping[str, Sight],
    point_time: datetime | None,
    *,
    now: datetime,
) -> Status:
    """What becomes of a backup whose worker has ended.

    Args:
        backup: in phase Running, with the word on its worker's end.
        found: its rows after this look.
        sights: what locations showed.
        point_time: the moment that the manifest stands for; None where no location showed it.
        now: the moment to decide for.
    """
    end = backups.worked(backup.status)
    assert end is not None
    quorum = backup.status.quorum or 0
    waited = now - end.last_transition_time
    open_rows = [row for row in found if row.phase is not LocationPhase.COMMITTED]
    held = len(found) - len(open_rows)
    silent = [row.name for row in open_rows if sights.get(row.name) is Sight.SILENT]
    unverified = [row.name for row in open_rows if sights.get(row.name) is Sight.THERE]
    moment = point_time or backup.status.point_time
    seen = {"locations": list(found), "point_time": moment}
    current = backup.model_copy(update={"status": backup.status.model_copy(update=seen)})
    if held >= quorum and moment is not None and not (silent and waited < BRIEF):
        return backups.committed(current, [_behind(row, silent) for row in found], now=now)
    if silent and waited < LONG:
        problem = Problem(
            backups.CONFIRMING,
            f"The worker has ended, and {held} of {len(found)} locations are seen to hold the backup. "
            f"{', '.join(silent)} did not answer and are asked again.",
        )
        return backups.delayed(current, problem, now=now)
    if held < quorum and backup.spec.cancel:
        return backups.waiting(current, Problem("Cancelled", ""), now=now)
    if held + len(unverified) >= quorum and waited < VERIFIED:
        problem = Problem(
            "Verifying",
            f"The worker has ended. What lies at {', '.join(unverified)} is read and verified before it "
            "counts: these locations do not check on arrival what they are sent.",
        )
        return backups.delayed(current, problem, now=now)
    if unverified and held + len(unverified) >= quorum:
        # Whatever became of the worker: all that it had to store is there.
        problem = _unverified([row for row in open_rows if row.name in unverified], held, quorum)
    elif end.reason != backups.WORKER_ENDED:
        problem = Problem(end.reason, end.message)
    else:
        unheard = f" {', '.join(silent)} did not answer." if silent else ""
        problem = Problem(
            "NoQuorum",
            f"{held} of {len(found)} locations are seen to hold the backup; the quorum is {quorum}.{unheard}",
        )
    return backups.failed(current, problem, now=now)


def _unverified(late: Sequence[LocationStatus], held: int, quorum: int) -> Problem:
    """What a backup lacks where only a verification is missing, and what kept each of them."""
    where = ", ".join(row.name for row in late)
    why = " ".join(f"{row.name}: {row.message}" for row in late)
    return Problem(
        "NoQuorum",
        f"What lies at {where} was not verified in time, within {VERIFIED // timedelta(hours=1)} hours. "
        f"{held} other locations hold the backup; the quorum is {quorum}. {why}",
    )


def _behind(row: LocationStatus, silent: Sequence[str]) -> LocationStatus:
    if row.phase in {LocationPhase.COMMITTED, LocationPhase.FAILED}:
        return row
    message = "It did not answer when the backup ended." if row.name in silent else row.message
    return row.model_copy(update={"phase": LocationPhase.LAGGING, "message": message})
