"""Looking after a vault that just lies there: when it is checked and collected, and what that came to.

All is decided on times in status, so a policy that needs nothing costs no request. A Job whose end
status has taken note of is stale: it is removed, and the next one made when its time has come.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from weddingbackup.resources import names, wedding_backup_policy
from weddingbackup.resources.base import Model
from weddingbackup.resources.common import CheckLevel
from weddingbackup.resources.recovery_request import Status as RequestStatus
from weddingbackup.resources.reports import CheckedLocation, CheckReport, CollectReport
from weddingbackup.resources.tasks import Kept
from weddingbackup.resources.wedding_backup_policy import (
    Check,
    CheckedCopy,
    Loss,
    Retention,
    Status,
    WeddingBackupPolicy,
)
from weddingbackup.rules import recovery
from weddingbackup.rules.times import rfc3339
from weddingbackup.rules.workload import Workload

M = TypeVar("M", bound=Model)

FULL_EVERY: Final = timedelta(days=5)
"""Every byte of every copy: so much before `protection.CHECK_PERIOD` that one check may fail."""

PROVIDER_EVERY: Final = timedelta(days=1)
COLLECT_EVERY: Final = timedelta(days=1)

AGAIN: Final = timedelta(hours=1)
"""From a check or a collection that did not get through to the next one."""

ASKED_EVERY: Final = timedelta(days=1)
"""From a full check to one that is asked for: it may be asked for again and again."""

CHECK_REQUESTED: Final = f"{names.GROUP}/check-requested-at"
"""Annotation of a policy, an RFC 3339 time: unless one has ended since, a full check is made, one a day."""

COLLECT_REQUESTED: Final = f"{names.GROUP}/collect-requested-at"
"""Likewise a collection, one an hour."""

_ALL = "packs/"
_MESSAGE_LIMIT = 1024


def due_check(
    policy: WeddingBackupPolicy, holders: Collection[str], founded: datetime, *, now: datetime
) -> CheckLevel | None:
    """How thorough a check it is time for; None where it is not.

    Args:
        policy: with its status.
        holders: the locations that may hold copies.
        founded: when the vault was: no byte arrived before.
        now: the moment to decide for.
    """
    last = policy.status.last_check
    if policy.status.newest_point is None:
        return None
    asked = _asked(policy, CHECK_REQUESTED, last.time if last else None, now)
    if asked and check_held_back(policy, now=now) is None:
        return CheckLevel.FULL
    if last is not None and now - last.time < AGAIN:
        return None
    if last is not None and last.message is not None:
        return last.level
    if now - verified_since(policy.status, holders, founded) >= FULL_EVERY and (
        # Where a copy cannot be read, or not be mended, a full check a day is enough.
        last is None or last.level is not CheckLevel.FULL or now - last.time >= PROVIDER_EVERY
    ):
        return CheckLevel.FULL
    return CheckLevel.PROVIDER if now - (last.time if last else founded) >= PROVIDER_EVERY else None


def check_held_back(policy: WeddingBackupPolicy, *, now: datetime) -> str | None:
    """Why a full check that was asked for is not made yet; None where none was, or it may be.

    A check of the providers' words comes a day after any other: where that was the last, no full one
    ended within the day.
    """
    last = policy.status.last_check
    if last is None or not _asked(policy, CHECK_REQUESTED, last.time, now):
        return None
    if last.message is not None:
        return _pause("check", last.time + AGAIN, "the last one did not get through", now)
    if last.level is not CheckLevel.FULL:
        return None
    if policy.status.loss is not None:  # whoever mends something wants to know
        return _pause(
            "check", last.time + AGAIN, "one an hour is made while something is lost", now
        )
    return _pause("check", last.time + ASKED_EVERY, "one a day is made when asked for", now)


def collection_held_back(policy: WeddingBackupPolicy, *, now: datetime) -> str | None:
    """Likewise of a collection."""
    last = policy.status.last_collection
    if last is None or not _asked(policy, COLLECT_REQUESTED, last.time, now):
        return None
    return _pause("collection", last.time + AGAIN, "one an hour is made when asked for", now)


def _pause(what: str, until: datetime, why: str, now: datetime) -> str | None:
    if now >= until:
        return None
    return f"The {what} that was asked for waits until {rfc3339(until)}: {why}."


def verified_since(status: Status, holders: Collection[str], founded: datetime) -> datetime:
    """The moment before which every byte of these locations' copies has been verified since."""
    told = {copy.name: copy.verified_time for copy in status.checked}
    return min((told.get(name) or founded for name in holders), default=founded)


def due_collection(policy: WeddingBackupPolicy, founded: datetime, *, now: datetime) -> bool:
    """Whether it is time to remove what no kept point needs."""
    last = policy.status.last_collection
    if policy.status.newest_point is None:
        return False
    asked = _asked(policy, COLLECT_REQUESTED, last.time if last else None, now)
    if asked and collection_held_back(policy, now=now) is None:
        return True
    if last is None:
        return now - founded >= COLLECT_EVERY
    return now - last.time >= (AGAIN if last.message else COLLECT_EVERY)


def checked(
    status: Status,
    level: CheckLevel,
    workload: Workload,
    *,
    begun: datetime,
    registered: Collection[str],
    now: datetime,
) -> Status:
    """The status that takes note of a check that has ended.

    Args:
        status: the policy's so far.
        level: of the check.
        workload: its Job, finished.
        begun: when it began: what arrived since was verified on its arrival.
        registered: names of all locations; the rows of others are dropped.
        now: when it ended, where its Job does not say.
    """
    time = workload.finished_at or now
    report = _report(CheckReport, workload)
    if report is None or report.error is not None:
        message = _trouble(report.error.message if report and report.error else None, workload)
        return status.model_copy(
            update={"last_check": Check(time=time, level=level, message=message)}
        )
    rows = {copy.name: copy for copy in status.checked if copy.name in registered}
    for found in report.locations:
        before = rows.get(found.name) or CheckedCopy(name=found.name)
        rows[found.name] = _copy(before, found, level, begun)
    update: dict[str, object] = {
        "last_check": Check(time=time, level=level),
        "checked": sorted(rows.values(), key=lambda row: row.name),
    }
    if report.lost_count:
        update["loss"] = _loss(status.loss, report, time)
    elif level is CheckLevel.FULL and not any(found.error for found in report.locations):
        update["loss"] = None
    return status.model_copy(update=update)


def _loss(before: Loss | None, report: CheckReport, time: datetime) -> Loss:
    # Older points need what is lost until they expire, and each check finds it again: that is no
    # reason for another backup.
    is_known = (
        before is not None
        and report.lost_count <= before.count
        and set(report.lost) <= set(before.objects)
    )
    return Loss(
        time=before.time if before and is_known else time,
        objects=report.lost,
        count=report.lost_count,
        points=report.lossy,
        backup_job=before.backup_job if before and is_known else None,
    )


def _copy(
    before: CheckedCopy, found: CheckedLocation, level: CheckLevel, begun: datetime
) -> CheckedCopy:
    left = found.missing + found.damaged - found.replaced
    good = found.error is None and left <= 0
    message = found.error
    if message is None and left > 0:
        message = f"{left} objects are missing or damaged there, and could not be replaced."
    return CheckedCopy(
        name=found.name,
        verified_time=begun if good and level is CheckLevel.FULL else before.verified_time,
        missing=found.missing,
        damaged=found.damaged,
        replaced=found.replaced,
        message=message and message[:_MESSAGE_LIMIT],
    )


def unsound(status: Status) -> set[str]:
    """The locations whose copy the last check left with something missing or damaged."""
    return {copy.name for copy in status.checked if copy.missing + copy.damaged > copy.replaced}


def distrust(status: Status) -> list[str]:
    """What the next backup must not rely on: `BackupTask.distrust`."""
    loss = status.loss
    if loss is None:
        return []
    if loss.count > len(loss.objects):
        return [_ALL]  # not all of them are known by name
    return [name for name in loss.objects if name.startswith((_ALL, "index/"))]


def collected(status: Status, workload: Workload, *, now: datetime) -> Status:
    """The status that takes note of a collection that has ended."""
    time = workload.finished_at or now
    report = _report(CollectReport, workload)
    if report is None or report.error is not None:
        message = _trouble(report.error.message if report and report.error else None, workload)
        told = wedding_backup_policy.Collection(time=time, message=message)
    else:
        told = wedding_backup_policy.Collection(
            time=time,
            points=report.points,
            objects=report.objects,
            bytes=report.bytes,
            marked=report.marked,
            locked=report.locked,
        )
    return status.model_copy(update={"last_collection": told})


def pins(requests: Iterable[Mapping[str, Any]], vault_id: str) -> list[str]:
    """The points of a vault that recoveries are reading, of RecoveryRequests from all namespaces.

    Their status alone is read, which tenants do not write: a spec that the API server took and nobody
    can read must not end the collections of all organisations.
    """
    found = [RequestStatus.model_validate(body.get("status") or {}) for body in requests]
    return sorted(
        {
            status.point.manifest
            for status in found
            if status.phase not in recovery.ENDED
            and status.point is not None
            and status.vault is not None
            and status.vault.id == vault_id
        }
    )


def is_stale(workload: Workload, taken_note_of: datetime | None) -> bool:
    """Whether a Job is one whose end status knows already."""
    return (
        workload.finished
        and taken_note_of is not None
        and workload.finished_at is not None
        and workload.finished_at <= taken_note_of
    )


def kept(retention: Retention) -> Kept:
    """A policy's wish as a collection is told it."""
    return Kept(
        keep_last=retention.keep_last,
        hourly=retention.hourly,
        daily=retention.daily,
        weekly=retention.weekly,
        monthly=retention.monthly,
        yearly=retention.yearly,
        point_in_time_seconds=retention.point_in_time_window.total_seconds(),
    )


def may_lack(locations: Sequence[str], given: Collection[str], *, least_quorum: int = 2) -> int:
    """The quorum for a collection that is given only some of the locations: see `CollectTask.quorum`.

    Whoever is not given does not answer. Below 1: too few are left to know all committed points.
    """
    return least_quorum - sum(name not in given for name in locations)


def _asked(
    policy: WeddingBackupPolicy, annotation: str, last: datetime | None, now: datetime
) -> bool:
    text = policy.metadata.annotations.get(annotation, "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    if moment.tzinfo is None or moment > now:
        return False
    return last is None or last <= moment  # a moment is of whole seconds


def _report(kind: type[M], workload: Workload) -> M | None:
    try:
        return kind.model_validate_json(workload.message or "")
    except ValidationError:
        return None


def _trouble(said: str | None, workload: Workload) -> str:
    problem = workload.problem.message if workload.problem else None
    return (said or problem or "Its worker ended without a word; see its log.")[:_MESSAGE_LIMIT]
