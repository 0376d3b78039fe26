"""What becomes of a RecoveryRequest: what it puts back where, how far it is, and what to do about its Jobs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from weddingbackup.resources.common import DataClass, Reported, VaultStatus
from weddingbackup.resources.recovery_request import (
    LocationStatus,
    Phase,
    PointStatus,
    RecoveryRequest,
    SourcePhase,
    SourceStatus,
    Status,
    Target,
    Urgency,
)
from weddingbackup.resources.reports import RestoreReport
from weddingbackup.resources.wedding_backup_policy import Source, WeddingBackupPolicy
from weddingbackup.rules import stages
from weddingbackup.rules.backup import MOST, percent
from weddingbackup.rules.choice import RecoveryPoint
from weddingbackup.rules.conditions import State, Verdict, merge, summary
from weddingbackup.rules.workload import Problem, Workload

ENDED = frozenset({Phase.COMPLETED, Phase.PARTIALLY_FAILED, Phase.FAILED, Phase.CANCELLED})

OBJECTIVE_SECONDS = {Urgency.STANDARD: 300, Urgency.CRITICAL: 60, Urgency.EMERGENCY: 30}

_PATIENCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Restore:
    """One source to put back, and where: `target` is None for in place."""

    name: str
    data_class: DataClass
    source: Source | None
    target: Target | None


def is_new(request: RecoveryRequest, *, now: datetime) -> bool:
    """Whether what it refers to may have been applied together with it, and be under way."""
    created = request.metadata.creation_timestamp
    return created is not None and now - created < _PATIENCE


def plan(
    request: RecoveryRequest, policy: WeddingBackupPolicy, available: Mapping[str, DataClass]
) -> list[Restore] | Problem:
    """What to put back where, in the order of recovery.

    Args:
        request: the order.
        policy: where sources live that no target moves.
        available: the point's sources.
    """
    names = request.spec.sources or list(available)
    targets = {target.source: target for target in request.spec.targets}
    # Where another namespace's sources live is none of this one's places.
    at_home = request.metadata.namespace == policy.metadata.namespace
    known = {source.name: source for source in policy.spec.sources if at_home}
    restores = []
    for name in names:
        if name not in available:
            return Problem(
                "SourceNotInPoint",
                f"The recovery point has no source {name}; it has {', '.join(sorted(available))}.",
            )
        if name not in known and name not in targets:
            return Problem(
                "NoPlaceForSource",
                f"The policy has no source {name} in this namespace: name a place for it in spec.targets, "
                "or leave it out by naming the others in spec.sources.",
            )
        restores.append(Restore(name, available[name], known.get(name), targets.get(name)))
    unknown = sorted(set(targets) - set(names))
    if unknown:
        return Problem(
            "SourceNotInPoint", f"spec.targets names {', '.join(unknown)}, which is not recovered."
        )
    return sorted(restores, key=lambda restore: (stages.rank(restore.data_class), restore.name))


def planned(
    request: RecoveryRequest,
    point: RecoveryPoint,
    restores: Sequence[Restore],
    *,
    vault: VaultStatus,
    locations: Sequence[str],
    now: datetime,
) -> Status:
    """The status that pins the point: from here on a restart goes on with the very same one.

    Args:
        request: the order.
        point: the one that was chosen.
        restores: what is put back where.
        vault: the vault that the point is in.
        locations: names of those that the workers may read from.
        now: the moment to decide for.
    """
    status = request.status.model_copy(
        update={
            "vault": vault,
            "locations": [LocationStatus(name=name) for name in sorted(locations)],
            "point": PointStatus(
                manifest=point.manifest, sha256=point.sha256, backup_job=point.job_name
            ),
            "recovered_to": point.time,
            "objective_seconds": OBJECTIVE_SECONDS[request.spec.urgency],
            "started_at": now.replace(microsecond=0),
            "sources": [
                SourceStatus(name=restore.name, data_class=restore.data_class)
                for restore in restores
            ],
            "stages": stages.begun([restore.data_class for restore in restores], now),
        }
    )
    pinned = request.model_copy(update={"status": status})
    return under_way(pinned, Phase.RECOVERING, _recovering(status.sources), now=now)


def _recovering(rows: Sequence[SourceStatus]) -> Problem:
    return Problem("Recovering", stages.said(rows) or "The recovery is under way.")


def assess(
    request: RecoveryRequest, workloads: Mapping[str, Workload | None], *, now: datetime
) -> Status:
    """How far a running recovery is.

    Args:
        request: in phase Recovering, with what its workers told the broker.
        workloads: the Job of each source; None where it does not exist.
        now: the moment to decide for.
    """
    told = request.status.reported
    # Only of those that end now: what the others gave is counted already.
    reports = {
        row.name: _report(workload)
        for row in request.status.sources
        if row.phase not in stages.OVER and (workload := workloads.get(row.name))
    }
    rows = [
        _row(row, workloads.get(row.name), reports.get(row.name), told.get(row.name))
        for row in request.status.sources
    ]
    status = request.status.model_copy(update={"sources": rows})
    rows = [stages.in_turn(row, stages.waits_for(status, row.data_class)) for row in rows]
    status = status.model_copy(
        update={"sources": rows, "stages": stages.advanced(status.stages, rows, now)}
    )
    current = request.model_copy(update={"status": _with_locations(status, reports)})
    phases = {row.phase for row in rows}
    if phases <= stages.OVER:
        return _ended(current, rows, now)
    troubles = [w.problem for w in workloads.values() if w and w.problem and not w.finished]
    problem = troubles[0] if troubles else _recovering(rows)
    return under_way(current, Phase.RECOVERING, problem, now=now)


def outdated(status: Status) -> Problem | None:
    """Why a running recovery cannot go on: its status is of a release that wrote down less than is needed now."""
    if status.vault and status.point and status.sources:
        return None
    return Problem(
        "MadeBeforeUpgrade",
        "It was under way when the operator was upgraded, and its status lacks what this release goes by. "
        "What was restored by then stays; make a new RecoveryRequest.",
    )


def under_way(request: RecoveryRequest, phase: Phase, problem: Problem, *, now: datetime) -> Status:
    """The status of a request that goes on by itself."""
    return _status(request, phase, State.RECONCILING, problem, now)


def failed(request: RecoveryRequest, problem: Problem, *, now: datetime) -> Status:
    """The status of a request that cannot be fulfilled, or no further."""
    back = any(row.phase is SourcePhase.COMPLETED for row in request.status.sources)
    return _given_up(request, Phase.PARTIALLY_FAILED if back else Phase.FAILED, problem, now)


def cancelled(request: RecoveryRequest, *, now: datetime) -> Status:
    """The status of a request that somebody cancelled."""
    problem = Problem(
        "Cancelled", "It was cancelled by spec.cancel; what was restored by then stays."
    )
    return _given_up(request, Phase.CANCELLED, problem, now)


def _given_up(request: RecoveryRequest, phase: Phase, problem: Problem, now: datetime) -> Status:
    rows = [
        row if row.phase in stages.OVER else _not_recovered(row, problem)
        for row in request.status.sources
    ]
    status = request.status.model_copy(update={"sources": rows})
    return _closed(request.model_copy(update={"status": status}), phase, problem, now)


def made(status: Status, uids: Mapping[str, str]) -> Status:
    """Write down which sources' Jobs were made: from here on none of them is made again."""
    rows = [
        row.model_copy(update={"job_uid": uids[row.name]}) if row.name in uids else row
        for row in status.sources
    ]
    return status.model_copy(update={"sources": rows})


def _ended(request: RecoveryRequest, rows: Sequence[SourceStatus], now: datetime) -> Status:
    bad = [row for row in rows if row.phase is SourcePhase.FAILED]
    if bad:
        messages = "; ".join(f"{row.name}: {row.message}" for row in bad)
        phase = Phase.FAILED if len(bad) == len(rows) else Phase.PARTIALLY_FAILED
        reasons = {row.reason for row in bad}
        reason = (reasons.pop() if len(reasons) == 1 else None) or phase.value
        return _closed(request, phase, Problem(reason, f"Not recovered: {messages}"), now)
    warned = sum(len(row.warnings) for row in rows)
    message = f"Recovered {len(rows)} sources" + (f", with {warned} warnings." if warned else ".")
    return _closed(request, Phase.COMPLETED, Problem("Completed", message), now)


def _closed(request: RecoveryRequest, phase: Phase, problem: Problem, now: datetime) -> Status:
    state = State.READY if phase is Phase.COMPLETED else State.STALLED
    status = _status(request, phase, state, problem, now)
    began = request.metadata.creation_timestamp or now
    elapsed = round((now - began).total_seconds(), 1)
    objective = OBJECTIVE_SECONDS[request.spec.urgency]
    return status.model_copy(
        update={
            "completed_at": now.replace(microsecond=0),
            "elapsed_seconds": elapsed,
            "objective_seconds": objective,
            "objective_met": phase is Phase.COMPLETED and elapsed <= objective,
        }
    )


def _row(
    row: SourceStatus,
    workload: Workload | None,
    report: RestoreReport | None,
    progress: Reported | None,
) -> SourceStatus:
    if row.phase in stages.OVER:
        return row
    if workload is None:
        return row if row.job_uid is None else _not_recovered(row, _RESULT_UNKNOWN)
    if not workload.finished:
        seen: dict[str, object] = {"phase": SourcePhase.RUNNING}
        seen["message"] = workload.problem.message[:1024] if workload.problem else None
        if progress is not None:
            seen |= {
                "bytes": progress.bytes_done,
                "files": progress.files or row.files,
                "percent": percent(progress.bytes_done, progress.bytes_total),
            }
        return row.model_copy(update=seen)
    if report is None or (report.error is None and not workload.succeeded):
        return _not_recovered(row, _unreported(workload))
    done: dict[str, object] = {
        "files": report.files,
        "rows": report.rows,
        "bytes": report.bytes,
        "kept_files": report.kept_files,
        "kept_bytes": report.kept_bytes,
        "duration_seconds": round(report.seconds, 1),
        "warnings": [text[:1024] for text in (*_damage(report), *report.warnings)][:32],
    }
    if report.error is not None:
        problem = Problem(report.error.code, report.error.message)
        return _not_recovered(row.model_copy(update=done), problem)
    done |= {"phase": SourcePhase.COMPLETED, "message": None, "percent": 100}
    return row.model_copy(update=done)


_RESULT_UNKNOWN = Problem(
    "ResultUnknown",
    "The Job or the pod that restored it is gone, and with it what came of it: it may be back wholly, "
    "in part or not at all. It is not repeated by itself, for that would overwrite what was changed since. "
    "Look at the data; if it is not as it should be, make a new RecoveryRequest with spec.sources naming it.",
)


def _unreported(workload: Workload) -> Problem:
    if workload.succeeded:
        return _RESULT_UNKNOWN
    return workload.problem or Problem("WorkerFailed", _last_words(workload))


def _not_recovered(row: SourceStatus, problem: Problem) -> SourceStatus:
    return row.model_copy(
        update={
            "phase": SourcePhase.FAILED,
            "reason": problem.reason,
            "message": problem.message[:1024],
        }
    )


def _damage(report: RestoreReport) -> Iterator[str]:
    """Say of each location what did not verify there. The worker may have shortened the list."""
    found: dict[str, list[str]] = {}
    for each in report.damaged:
        found.setdefault(each.location, []).append(each.object)
    for location, objects in found.items():
        yield (
            f"{location}: at least {len(objects)} objects are missing or damaged there"
            f" and were read elsewhere, for example {objects[0]}"
        )


def _with_locations(status: Status, reports: Mapping[str, RestoreReport | None]) -> Status:
    """Add up what each location gave, over the sources that just ended: claims, of those planned alone."""
    ended = [report for report in reports.values() if report is not None]
    if not ended:
        return status
    rows = [
        LocationStatus(
            name=row.name,
            bytes=min(row.bytes + sum(each.locations.get(row.name, 0) for each in ended), MOST),
        )
        for row in status.locations
    ]
    return status.model_copy(
        update={"locations": rows, "locations_used": sum(1 for row in rows if row.bytes)}
    )


def _status(
    request: RecoveryRequest, phase: Phase, state: State, problem: Problem, now: datetime
) -> Status:
    verdicts = [
        *summary(state, problem.reason, problem.message),
        Verdict("Complete", phase is Phase.COMPLETED, problem.reason, problem.message),
    ]
    if phase in {Phase.FAILED, Phase.PARTIALLY_FAILED}:
        verdicts.append(Verdict("Failed", True, problem.reason, problem.message))
    return request.status.model_copy(
        update={
            "phase": phase,
            "message": problem.message[:4096],
            "observed_generation": request.metadata.generation,
            "conditions": merge(
                request.status.conditions,
                verdicts,
                generation=request.metadata.generation,
                now=now,
            ),
        }
    )


def _report(workload: Workload) -> RestoreReport | None:
    if not workload.finished:
        return None
    try:
        return RestoreReport.model_validate_json(workload.message or "")
    except ValidationError:
        return None


def _last_words(workload: Workload) -> str:
    last = (workload.message or "").strip()
    return (
        f"The worker left no report. Its last words: {last[-500:]}"
        if last
        else "The worker failed and left no report."
    )
