"""Checks and collections of a policy's vault: Jobs in the operator's namespace, with credentials and no keys.

Each has one Job of a fixed name at a time. Status tells what one came to before the next is made, so
being killed anywhere leads to the same Job, or to the same status, once more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from weddingbackup.controller import access, turns, workers
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import UnmadeError
from weddingbackup.kube import jobs
from weddingbackup.kube.client import JOBS, POLICIES, REQUESTS
from weddingbackup.kube.jobs import Owner, Shape, Work
from weddingbackup.kube.registry import Registered
from weddingbackup.resources import names, tasks
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.base import Model
from weddingbackup.resources.common import CheckLevel
from weddingbackup.resources.wedding_backup_policy import (
    Check,
    Collection,
    Status,
    WeddingBackupPolicy,
)
from weddingbackup.rules import maintenance as rules
from weddingbackup.rules.turns import MAINTENANCE

_SHAPE = Shape(resources=workers.SERVICE_SHAPE.resources, deadline_seconds=24 * 3600)

_LEVEL = f"{names.GROUP}/check-level"
"""Annotation of a check's Job."""


async def look_after(
    context: Context,
    policy: WeddingBackupPolicy,
    vault: Registered,
    backups: Sequence[BackupJob],
    locations: Mapping[str, BackupLocation],
) -> Status:
    """Have the vault checked and collected when it is time, and return the status that tells of it."""
    holding = [name for name in _may_hold(policy, backups) if name in locations]
    there = [locations[name] for name in holding]
    status = await _check(context, policy, vault, there, locations)
    policy = policy.model_copy(update={"status": status})
    return await _collect(context, policy, vault, there)


def _may_hold(policy: WeddingBackupPolicy, backups: Sequence[BackupJob]) -> list[str]:
    """Where copies go now, went in the backups that are remembered, or were found by a check."""
    rows = [row.name for backup in backups for row in backup.status.locations]
    placed = [location.name for location in policy.status.locations]
    return sorted({*placed, *rows, *(copy.name for copy in policy.status.checked)})


async def _check(
    context: Context,
    policy: WeddingBackupPolicy,
    vault: Registered,
    there: Sequence[BackupLocation],
    locations: Mapping[str, BackupLocation],
) -> Status:
    status, now = policy.status, context.now()
    holders = [location.metadata.name for location in there]
    level = rules.due_check(policy, holders, vault.founded, now=now)
    status = status.model_copy(update={"check_waits": rules.check_held_back(policy, now=now)})
    if level is None:
        return status
    given = await access.with_credentials(context, there)
    task = tasks.CheckTask(
        vault=tasks.VaultRef(id=vault.kit.vault_id, prefix=vault.kit.prefix),
        locations=[access.for_worker(location) for location in given],
        level=level,
    )
    told = status.last_check
    try:
        seen = await _step(
            context, policy, Work.CHECK, task, given, told.time if told else None, {_LEVEL: level}
        )
    except UnmadeError as error:
        trouble = Check(time=now, level=level, message=error.problem.message[:1024])
        return status.model_copy(update={"last_check": trouble})
    if not isinstance(seen, workers.Seen):
        return status.model_copy(update={"check_waits": seen})
    annotations = seen.body["metadata"].get("annotations") or {}
    return rules.checked(
        status,
        CheckLevel(annotations.get(_LEVEL, CheckLevel.PROVIDER)),
        seen.workload,
        begun=datetime.fromisoformat(seen.body["metadata"]["creationTimestamp"]),
        registered=locations,
        now=now,
    )


async def _collect(
    context: Context,
    policy: WeddingBackupPolicy,
    vault: Registered,
    there: Sequence[BackupLocation],
) -> Status:
    status, now = policy.status, context.now()
    held_back = rules.collection_held_back(policy, now=now)
    status = status.model_copy(update={"collection_waits": held_back})
    if not rules.due_collection(policy, vault.founded, now=now):
        return status
    given = await access.with_credentials(context, there)
    names_given = [location.metadata.name for location in given]
    quorum = rules.may_lack([location.metadata.name for location in there], names_given)
    if quorum < 1:
        message = (
            "The Secrets of too many locations are missing to know every point; put them back."
        )
        return status.model_copy(update={"last_collection": Collection(time=now, message=message)})
    told = status.last_collection
    try:
        async with pinning(context, policy.metadata.namespace, policy.metadata.name):
            task = tasks.CollectTask(
                vault=tasks.VaultRef(id=vault.kit.vault_id, prefix=vault.kit.prefix),
                locations=[access.for_worker(location) for location in given],
                quorum=quorum,
                keep=rules.kept(policy.spec.retention),
                pins=await _pins(context, vault),
                lossy=status.loss.points if status.loss else [],
            )
            seen = await _step(
                context, policy, Work.COLLECT, task, given, told.time if told else None, {}
            )
    except UnmadeError as error:
        trouble = Collection(time=now, message=error.problem.message[:1024])
        return status.model_copy(update={"last_collection": trouble})
    if not isinstance(seen, workers.Seen):
        return status.model_copy(update={"collection_waits": seen})
    return rules.collected(status, seen.workload, now=now)


def pinning(context: Context, namespace: str | None, policy: str) -> asyncio.Lock:
    """Held while a recovery pins its point, and while a collection that leaves pins alone is made.

    Otherwise a collection could begin without the pin of a recovery that has seen no collection.
    """
    return context.lock(POLICIES, namespace, f"points/{policy}")


async def is_collecting(context: Context, policy: WeddingBackupPolicy) -> bool:
    """Whether a collection of the policy's vault is at work."""
    job = await context.cluster.get(JOBS, _job_name(Work.COLLECT, policy), context.home)
    return job is not None and not turns.has_ended(job)


async def _pins(context: Context, vault: Registered) -> list[str]:
    """The points that recoveries of this vault are reading, from whatever namespace they are."""
    return rules.pins(await context.cluster.list(REQUESTS), vault.kit.vault_id)


async def _step(  # noqa: PLR0917  a Job is of many things
    context: Context,
    policy: WeddingBackupPolicy,
    work: Work,
    task: Model,
    given: list[BackupLocation],
    taken_note_of: datetime | None,
    annotations: Mapping[str, str],
) -> workers.Seen | str | None:
    """Make the Job, or wait for it; it, once it has ended with something new to tell.

    Words say why it is not made yet.

    Raises:
        UnmadeError: it cannot be made until a person acts.
    """
    owner = Owner.of(POLICIES, policy)
    name = _job_name(work, policy)
    seen = await workers.look(context, name, work, owner)
    if seen is not None and rules.is_stale(seen.workload, taken_note_of):
        await workers.remove(context, seen)
        return None
    if seen is not None:
        return seen if seen.workload.finished else None
    body = jobs.worker_job(
        name,
        work,
        task,
        platform=context.platform,
        shape=_SHAPE,
        mounts=access.mounts(given),
        labels={
            names.LABEL_POLICY: policy.metadata.name,
            names.LABEL_VAULT: policy.status.vault.id if policy.status.vault else "",
        },
        owner=owner,
    )
    body["metadata"].setdefault("annotations", {}).update(annotations)
    return await turns.create(context, _PREFIXES, MAINTENANCE, body, owner)


def _job_name(work: Work, policy: WeddingBackupPolicy) -> str:
    return jobs.job_name(_PREFIXES[work], policy.metadata.name, uid=policy.metadata.uid)


_PREFIXES: Mapping[Work, str] = {Work.CHECK: "ck", Work.COLLECT: "gc"}
