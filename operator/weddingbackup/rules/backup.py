"""What becomes of a BackupJob: whether it may start, how far it is, and what to do about its Job.

What a worker says is a claim: it runs where others may change what it says. So its end is written down,
and then the operator looks for itself (rules/commit.py). A BackupJob that has been told Completed stays
so: from then on only the locations that it missed are caught up (rules/replication.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pydantic import ValidationError

from weddingbackup.resources.backup_job import (
    BackupJob,
    LocationStatus,
    ManifestStatus,
    Phase,
    Progress,
    SourceStatus,
    Status,
)
from weddingbackup.resources.base import Condition
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.reports import (
    BackupReport,
    LocationReport,
    SourceReport,
)
from weddingbackup.resources.wedding_backup_policy import Phase as PolicyPhase
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules.conditions import State, Verdict, find, merge, summary
from weddingbackup.rules.quotas import EXCEEDED as QUOTA_EXCEEDED
from weddingbackup.rules.workload import Problem, Workload

ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})


class Action(Enum):
    """What to do about the worker's Job."""

    NOTHING = "nothing"
    CREATE = "create"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Decision:
    """A BackupJob's next status, and what to do about its Job."""

    status: Status
    action: Action = Action.NOTHING


def admit(
    backup: BackupJob,
    policy: WeddingBackupPolicy | None,
    rivals: Sequence[BackupJob],
    *,
    now: datetime,
) -> Status | Problem:
    """Whether a pending backup may start: the status that plans it, or what it waits for.

    Args:
        backup: the one to decide on, in phase Pending.
        policy: None where there is none.
        rivals: all BackupJobs of the same policy.
        now: the moment to decide for.
    """
    if problem := _obstacle(backup, policy, rivals):
        return problem
    assert policy is not None
    rows = [LocationStatus(name=location.name) for location in policy.status.locations]
    sources = [
        SourceStatus(name=source.name, data_class=source.data_class)
        for source in policy.spec.sources
    ]
    planned = {
        "sources": sources,
        "quorum": policy.spec.redundancy.quorum,
        "locations": rows,
        "committed_copies": f"0/{len(rows)}",
        "started_at": now.replace(microsecond=0),
    }
    status = backup.status.model_copy(update=planned)
    return _running(backup.model_copy(update={"status": status}), None, now)


def _obstacle(
    backup: BackupJob,
    policy: WeddingBackupPolicy | None,
    rivals: Sequence[BackupJob],
) -> Problem | None:
    name = backup.spec.policy_ref.name
    if policy is None:
        return Problem(
            "PolicyNotFound",
            f"There is no WeddingBackupPolicy {name} in this namespace; make it, and this backup starts.",
        )
    if policy.metadata.deletion_timestamp is not None:
        return Problem("PolicyDeleted", f"WeddingBackupPolicy {name} is being deleted.")
    if policy.status.phase not in {PolicyPhase.ACTIVE, PolicyPhase.SUSPENDED}:
        return Problem(
            "PolicyNotReady",
            f"WeddingBackupPolicy {name} is {policy.status.phase}: "
            f"{policy.status.message or 'it has not been looked at yet'}",
        )
    if policy.status.observed_generation != policy.metadata.generation:
        # Its status still says where copies went before the edit, which may have excluded those places.
        return Problem(
            "PolicyNotReady",
            f"WeddingBackupPolicy {name} was edited; this backup starts once its status says where to.",
        )
    running = next((rival for rival in rivals if _goes_first(rival, backup)), None)
    if running is not None:
        return Problem(
            "WaitingForEarlierBackup",
            f"BackupJob {running.metadata.name} of the same policy goes first.",
        )
    return None


def _goes_first(rival: BackupJob, backup: BackupJob) -> bool:
    """One backup of a policy runs at a time: who runs already, then who was made first."""
    if rival.metadata.uid == backup.metadata.uid or rival.status.phase in ENDED:
        return False
    if rival.status.phase is Phase.RUNNING:
        return True
    return _age(rival) < _age(backup)


def _age(backup: BackupJob) -> tuple[str, str]:
    created = backup.metadata.creation_timestamp
    return (created.isoformat() if created else "", backup.metadata.name)


def waiting(backup: BackupJob, problem: Problem, *, now: datetime) -> Status:
    """The status of a backup that cannot start yet. A cancelled one never will."""
    if backup.spec.cancel:
        return _cancelled(backup, now)
    # Waiting for an earlier one passes by itself; everything else wants a person.
    state = State.RECONCILING if problem.reason in _PASSING else State.STALLED
    return _status(backup, Phase.PENDING, state, problem, now)


_PASSING = frozenset({"WaitingForEarlierBackup", "PolicyNotReady", QUOTA_EXCEEDED})


def assess(backup: BackupJob, workload: Workload | None, *, now: datetime) -> Decision:
    """How far a running backup's worker is. `workload` is None where its Job does not exist."""
    if workload is None:
        if backup.spec.cancel:
            return Decision(_cancelled(backup, now))
        # Planned but not made (the operator was killed in between), or gone with its report (somebody
        # deleted it, or it was cleaned away): made again. A worker finds what its predecessor stored.
        return Decision(_running(backup, None, now), Action.CREATE)
    if workload.finished:
        return Decision(_worked(backup, workload, now))
    if backup.spec.cancel:
        return Decision(_running(backup, workload, now), Action.DELETE)
    return Decision(_running(backup, workload, now))


def delayed(backup: BackupJob, problem: Problem, *, now: datetime) -> Status:
    """The status of a running backup whose next step has to wait for something that comes by itself."""
    return _status(backup, Phase.RUNNING, State.RECONCILING, problem, now)


def outdated(status: Status) -> Problem | None:
    """Why a running backup cannot go on: its status is of a release that wrote down less than is needed now.

    What it lacks decides what its worker may do, so nothing of it is guessed.
    """
    planned = status.vault and status.job and status.quorum and status.locations and status.sources
    if planned and (worked(status) is None or status.announced):
        return None
    return Problem(
        "MadeBeforeUpgrade",
        "It was under way when the operator was upgraded, and its status lacks what this release goes by. "
        "Make a new BackupJob, or wait for the schedule's next one: it finds what this one stored.",
    )


def held_up(backup: BackupJob, problem: Problem, *, now: datetime) -> Status | None:
    """The status of a backup that something keeps from its next step; None where it is committed."""
    match backup.status.phase:
        case Phase.PENDING:
            return waiting(backup, problem, now=now)
        case Phase.RUNNING:
            return failed(backup, problem, now=now)
        case _:
            return None


def failed(backup: BackupJob, problem: Problem, *, now: datetime) -> Status:
    """The status of a backup that will not happen."""
    return _closed(_status(backup, Phase.FAILED, State.STALLED, problem, now), now)


def _closed(status: Status, now: datetime) -> Status:
    """The status of a backup that ends without a commit: nothing is on its way to any location."""
    rows = [
        row.model_copy(update={"phase": LocationPhase.FAILED})
        if row.phase is not LocationPhase.COMMITTED
        else row
        for row in status.locations
    ]
    return status.model_copy(update={"locations": rows, "completed_at": now.replace(microsecond=0)})


def _worked(backup: BackupJob, workload: Workload, now: datetime) -> Status:
    """The status once the worker has ended: with its numbers, and whether there is a manifest to look for.

    The Job may be cleaned away from here on: nothing asks for it again.
    """
    report = parse_report(workload.message)
    end = Problem(WORKER_ENDED, "The worker has ended well.")
    if not workload.succeeded:
        if report is not None and report.error is not None:
            end = Problem(report.error.code, report.error.message)
        else:
            end = workload.problem or Problem("WorkerFailed", _last_words(workload))
    if backup.status.announced is None:
        # Nothing of it is at any location: the broker writes the announcement before it stores a byte.
        if workload.succeeded:
            end = Problem("NothingAnnounced", "The worker ended without handing in a manifest.")
        return failed(backup, end, now=now)
    status = _with_claims(backup.status, report) if report is not None else backup.status
    verdict = Verdict(WORKED, status=True, reason=end.reason, message=end.message)
    conditions = [*status.conditions, *merge((), [verdict], generation=0, now=now)]
    told = status.model_copy(update={"conditions": conditions})
    look = Problem(CONFIRMING, "The worker has ended; its manifest is looked for.")
    return delayed(backup.model_copy(update={"status": told}), look, now=now)


WORKED = "Worked"
"""Condition of a running backup whose worker has ended: since when, and how. It holds no longer than that."""
WORKER_ENDED = "WorkerEnded"
CONFIRMING = "Confirming"


def _with_claims(status: Status, report: BackupReport) -> Status:
    """The worker's own numbers: of the sources and locations that it was given, and of no others."""
    told = {source.name: source for source in report.sources}
    sources = [_source(row, told[row.name]) if row.name in told else row for row in status.sources]
    sent = {location.name: location for location in report.locations}
    rows = [_sent(row, sent[row.name]) if row.name in sent else row for row in status.locations]
    return status.model_copy(
        update={
            "sources": sources,
            "locations": rows,
            "progress": _all_done(sum(source.bytes for source in report.sources)),
        }
    )


def _all_done(done: int) -> Progress:
    return Progress(bytes_done=min(done, MOST), bytes_total=min(done, MOST), percent=100)


MOST = 2**63 - 1
"""What a number in a status can say at most."""


def _sent(row: LocationStatus, told: LocationReport) -> LocationStatus:
    return row.model_copy(
        update={
            "bytes": told.bytes,
            "duration_seconds": round(told.seconds, 1),
            "message": told.message and told.message[:1024],
        }
    )


def worked(status: Status) -> Condition | None:
    """How the worker of a running backup ended; None where it has not, or there is nothing to look for."""
    return find(status.conditions, WORKED)


def committed(backup: BackupJob, rows: Sequence[LocationStatus], *, now: datetime) -> Status:
    """The status of a backup that a quorum was seen to hold."""
    announced = backup.status.announced
    assert announced is not None
    status = backup.status.model_copy(
        update={
            "phase": Phase.COMPLETED,
            "manifest": ManifestStatus(name=announced.name, sha256=announced.sha256),
            "completed_at": now.replace(microsecond=0),
        }
    )
    return complete(backup.model_copy(update={"status": status}), rows, now=now)


LOCATION_GONE = "LocationGone"
"""Why a backup is not replicated and will not be, unless somebody registers the location again."""


def complete(backup: BackupJob, rows: Sequence[LocationStatus], *, now: datetime) -> Status:
    """The status of a committed backup whose locations are as `rows` say."""
    missing = [row.name for row in rows if row.phase is not LocationPhase.COMMITTED]
    copies = f"{len(rows) - len(missing)}/{len(rows)}"
    gone = [row.name for row in rows if row.phase is LocationPhase.FAILED]
    behind = [name for name in missing if name not in gone]
    catching_up = f"; catching up: {', '.join(behind)}" if behind else ""
    given_up = f"; registered no longer: {', '.join(gone)}" if gone else ""
    message = f"{copies} locations hold every byte{catching_up}{given_up}."
    reason = "CatchingUp" if behind else LOCATION_GONE if gone else "AllLocationsCommitted"
    verdicts = [
        *summary(State.READY, "Completed", message),
        Verdict("Complete", status=True, reason="QuorumCommitted", message=message),
        Verdict(
            "Replicated",
            status=not missing,
            reason=reason,
            message=message,
        ),
    ]
    return backup.status.model_copy(
        update={
            "locations": list(rows),
            "committed_copies": copies,
            "message": message[:4096],
            "observed_generation": backup.metadata.generation,
            "conditions": _merge(backup, verdicts, now),
        }
    )


def _running(backup: BackupJob, workload: Workload | None, now: datetime) -> Status:
    problem = (workload and (workload.problem or _last_attempt(workload))) or Problem(
        "Running", "The backup is under way."
    )
    status = _status(backup, Phase.RUNNING, State.RECONCILING, problem, now)
    told = backup.status.reported
    if told is None:
        return status
    rows = [
        row.model_copy(update={"phase": LocationPhase.UPLOADING, "bytes": told.locations[row.name]})
        if row.name in told.locations
        else row
        for row in backup.status.locations
    ]
    return status.model_copy(
        update={
            "locations": rows,
            "progress": Progress(
                bytes_done=told.bytes_done,
                bytes_total=told.bytes_total,
                percent=percent(told.bytes_done, told.bytes_total),
            ),
        }
    )


def _last_attempt(workload: Workload) -> Problem | None:
    """What the newest attempt said when it failed; its Job tries again."""
    report = parse_report(workload.message)
    if report is None or report.error is None:
        return None
    message = f"The last attempt failed, and it is tried again: {report.error.message}"
    return Problem(report.error.code, message)


def percent(done: int, total: int | None) -> int | None:
    """How much is done; None where nobody knows how much there is."""
    return min(100, done * 100 // total) if total else None


def parse_report(message: str | None) -> BackupReport | None:
    """The worker's report; None where it left none."""
    try:
        return BackupReport.model_validate_json(message or "")
    except ValidationError:
        return None


def _last_words(workload: Workload) -> str:
    last = (workload.message or "").strip()
    return (
        f"The worker ended without a report. Its last words: {last[-500:]}"
        if last
        else ("The worker failed and left no report.")
    )


def _cancelled(backup: BackupJob, now: datetime) -> Status:
    problem = Problem("Cancelled", "It was cancelled by spec.cancel.")
    return _closed(_status(backup, Phase.CANCELLED, State.STALLED, problem, now), now)


def _status(
    backup: BackupJob, phase: Phase, state: State, problem: Problem, now: datetime
) -> Status:
    verdicts = [
        *summary(state, problem.reason, problem.message),
        Verdict("Complete", status=False, reason=problem.reason),
        Verdict("Replicated", status=False, reason=problem.reason),
    ]
    if phase is Phase.FAILED:
        verdicts.append(Verdict("Failed", True, problem.reason, problem.message))
    end = worked(backup.status) if phase is Phase.RUNNING else None
    if end is not None:
        verdicts.append(Verdict(WORKED, status=True, reason=end.reason, message=end.message))
    return backup.status.model_copy(
        update={
            "phase": phase,
            "message": problem.message[:4096],
            "observed_generation": backup.metadata.generation,
            "conditions": _merge(backup, verdicts, now),
        }
    )


def _merge(backup: BackupJob, verdicts: Sequence[Verdict], now: datetime) -> list[object]:
    return list(
        merge(backup.status.conditions, verdicts, generation=backup.metadata.generation, now=now)
    )


def _source(row: SourceStatus, told: SourceReport) -> SourceStatus:
    return row.model_copy(
        update={
            "files": told.files,
            "rows": told.rows,
            "bytes": told.bytes,
            "new_bytes": told.new_bytes,
            "message": "; ".join(told.warnings)[:1024] or None,
        }
    )


def committed_rows(status: Status) -> Mapping[str, LocationStatus]:
    """The locations that hold a backup, by name."""
    return {row.name: row for row in status.locations if row.phase is LocationPhase.COMMITTED}
