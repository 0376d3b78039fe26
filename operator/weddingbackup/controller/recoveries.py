"""RecoveryRequest: picks and pins its point, without keys, then runs one worker's Job a source, in parallel."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from weddingbackup.controller import access, broker, maintenance, sight, workers
from weddingbackup.controller.backups import of_policy
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import NameTakenError, UnmadeError
from weddingbackup.kube import jobs, organisations, registry
from weddingbackup.kube.client import BACKUPS, POLICIES, REQUESTS, Object
from weddingbackup.kube.jobs import Mount, Owner, Work
from weddingbackup.kube.organisations import Organisation
from weddingbackup.kube.registry import Registered
from weddingbackup.resources import names, tasks
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.common import VaultStatus
from weddingbackup.resources.recovery_request import (
    Phase,
    RecoveryRequest,
    SourceStatus,
    Status,
)
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import recovery as rules
from weddingbackup.rules import stages
from weddingbackup.rules.access import allowed_namespaces, is_grant_pending, may_recover
from weddingbackup.rules.archived import archived
from weddingbackup.rules.choice import Pin, RecoveryPoint, Unsettled, Wanted, choose
from weddingbackup.rules.locations import is_readable
from weddingbackup.rules.points import Standing, is_ahead
from weddingbackup.rules.recovery import Restore
from weddingbackup.rules.workload import Problem, Workload
from weddingbackup.vault.catalog import Catalog, Point
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.names import SNAPSHOTS


class _RefusedError(Exception):
    """This request cannot be fulfilled; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _MissingError(_RefusedError):
    """What the request needs is not there; where both were applied together, not yet."""


async def reconcile(context: Context, body: Object) -> bool:
    """Bring one RecoveryRequest a step on; True where the next step can follow at once."""
    request = RecoveryRequest.model_validate(body)
    if request.metadata.deletion_timestamp is not None or request.status.phase in rules.ENDED:
        return False
    if request.status.phase is Phase.RECOVERING:
        return await _step(context, body, request)
    reference = request.spec.policy_ref
    namespace = reference.namespace or request.metadata.namespace
    async with maintenance.pinning(context, namespace, reference.name):
        return await _step(context, body, request)


async def _step(context: Context, body: Object, request: RecoveryRequest) -> bool:
    try:
        if request.status.phase is Phase.RECOVERING:
            status = await _go_on(context, request)
        elif request.spec.cancel:
            status = rules.cancelled(request, now=context.now())
        else:
            status = await _plan(context, request)
    except _RefusedError as refusal:
        await _remove_jobs(context, request)
        status = rules.failed(request, refusal.problem, now=context.now())
    except broker.NotReadyError as error:
        pinned = request.status.phase is Phase.RECOVERING
        phase = Phase.RECOVERING if pinned else Phase.PLANNING
        status = rules.under_way(request, phase, error.problem, now=context.now())
    # The point is pinned by this write, before any Job is made: killed after it, the next reconcile finds
    # phase Recovering without Jobs, and makes them for the very same point.
    published = await context.publish(REQUESTS, body, status)
    return not published or _stage(status) != _stage(request.status)


def _stage(status: Status) -> tuple[object, ...]:
    """What lets the next step follow at once: planned, its Jobs written down, the next stage's turn."""
    return status.phase, stages.moving(status.sources), *(row.job_uid for row in status.sources)


async def _plan(context: Context, request: RecoveryRequest) -> Status:
    """Choose the point, and pin it."""
    try:
        policy = await _policy(context, request)
        organisation = await organisations.read(context.cluster, policy.metadata.namespace or "")
        vault = await _vault(context, policy, organisation)
    except _MissingError as missing:
        if rules.is_new(request, now=context.now()):
            return rules.under_way(request, Phase.PLANNING, missing.problem, now=context.now())
        raise
    wanted = await _wanted(context, request, policy)
    known = await access.registered(context)
    seen, completed = await asyncio.gather(
        sight.look(context, known.values(), vault, prefix=wanted.manifest or SNAPSHOTS),
        _completed(context, policy, vault),
    )
    found = seen.catalog
    points = [_fact(point) for point in found.points if point.vault_id.hex() == vault.kit.vault_id]
    point = choose(
        points,
        wanted,
        pins=[_pin(backup, found) for backup in completed],
        silent=seen.silent,
        now=context.now(),
    )
    if isinstance(point, Unsettled):
        return rules.under_way(request, Phase.PLANNING, point.problem, now=context.now())
    if isinstance(point, Problem):
        raise _RefusedError(point)
    may_go = _is_older(point, points, context.now())
    if may_go and await maintenance.is_collecting(context, policy):
        # It may be one of those that go, and nobody told the collection to leave it.
        problem = Problem(
            "CollectionUnderWay",
            "Expired recovery points are being removed; goes on when that has ended.",
        )
        return rules.under_way(request, Phase.PLANNING, problem, now=context.now())
    restores = rules.plan(request, policy, point.sources)
    if isinstance(restores, Problem):
        raise _RefusedError(restores)
    # Never from a location that is known to be down; from all others at once.
    readable = [
        name
        for name, location in known.items()
        if is_readable(location) and allowed_namespaces(location, organisation.labels)
    ]
    if seen.archiving:
        chosen = next(each for each in found.points if each.manifest == point.manifest)
        sources = [restore.name for restore in restores]
        may_read = [known[name] for name in readable]
        away = await sight.away(context, may_read, vault, chosen, sources)
        if away:
            problem = archived(point, away, sources)
            return rules.under_way(request, Phase.PLANNING, problem, now=context.now())
    place = VaultStatus(id=vault.kit.vault_id, prefix=vault.kit.prefix)
    now = context.now()
    return rules.planned(request, point, restores, vault=place, locations=readable, now=now)


def _is_older(point: RecoveryPoint, points: Iterable[RecoveryPoint], now: datetime) -> bool:
    """Whether a collection may remove it: the newest committed one stays, and so do those of the future."""
    return any(
        other.standing is Standing.COMMITTED
        and other.time > point.time
        and not is_ahead(other.time, now)
        for other in points
    )


async def _policy(context: Context, request: RecoveryRequest) -> WeddingBackupPolicy:
    name, namespace = request.spec.policy_ref.name, request.spec.policy_ref.namespace
    own = request.metadata.namespace or ""
    body = await context.cluster.get(POLICIES, name, namespace or own)
    if namespace not in {None, own}:
        policy = WeddingBackupPolicy.model_validate(body) if body else None
        if policy is not None and is_grant_pending(policy, own):
            message = (
                f"WeddingBackupPolicy {name} of namespace {namespace} names {own} in "
                "spec.recovery.allowedNamespaces, and its status.grants does not name it yet: that is "
                "written when the operator next looks after the policy. Goes on then."
            )
            raise broker.NotReadyError(Problem("GrantPending", message))
        organisation = await organisations.read(context.cluster, own)
        if policy is None or not may_recover(policy, own, organisation.uid):
            # The same for both: whether there is one is nobody's business here.
            message = (
                f"This namespace may not recover a WeddingBackupPolicy {name} of namespace {namespace}: "
                f"there has to be one that names {own} in spec.recovery.allowedNamespaces, and has "
                "it in its status.grants with the UID that this namespace has. Then make this request anew."
            )
            raise _MissingError(Problem("NotGranted", message))
        return policy
    if body is None:
        raise _MissingError(
            Problem(
                "PolicyNotFound",
                f"There is no WeddingBackupPolicy {name} in this namespace. Make it again under the same "
                "name: it finds its recovery points. Then make this request anew.",
            )
        )
    return WeddingBackupPolicy.model_validate(body)


async def _vault(
    context: Context, policy: WeddingBackupPolicy, organisation: Organisation
) -> Registered:
    try:
        vault = await registry.find(
            context.cluster,
            context.home,
            namespace=organisation.namespace,
            policy=policy.metadata.name,
            uid=organisation.uid,
        )
    except VaultError as error:
        message = (
            f"The Secret with the vault's keys is damaged: {error}. Put the keys back from an escrowed "
            "kit, then make this request anew."
        )
        raise _RefusedError(Problem("VaultDamaged", message)) from error
    if vault is None:
        raise _MissingError(
            Problem(
                "NoVault",
                "There are no keys of a vault of this policy: no backup of it was ever made, "
                "or it was erased.",
            )
        )
    return vault


async def _wanted(
    context: Context, request: RecoveryRequest, policy: WeddingBackupPolicy
) -> Wanted:
    reference = request.spec.backup_job_ref
    if reference is None:
        return Wanted(moment=request.spec.point_in_time)
    body = await context.cluster.get(BACKUPS, reference.name, policy.metadata.namespace)
    backup = BackupJob.model_validate(body) if body else None
    if backup is None or backup.spec.policy_ref.name != request.spec.policy_ref.name:
        message = (
            f"There is no BackupJob {reference.name} of this policy; ask by pointInTime instead."
        )
        raise _RefusedError(Problem("BackupJobNotFound", message))
    if backup.status.manifest is None:
        message = f"BackupJob {reference.name} has not committed a recovery point."
        raise _RefusedError(Problem("BackupNotCompleted", message))
    return Wanted(manifest=backup.status.manifest.name)


async def _completed(
    context: Context, policy: WeddingBackupPolicy, vault: Registered
) -> list[BackupJob]:
    """The BackupJobs that pin a point of this vault."""
    return [
        backup
        for backup in await of_policy(context, policy.metadata.namespace, policy.metadata.name)
        if backup.status.phase is BackupPhase.COMPLETED
        and backup.status.manifest is not None
        and backup.status.point_time is not None
        and backup.status.vault is not None
        and backup.status.vault.id == vault.kit.vault_id
    ]


def _pin(backup: BackupJob, found: Catalog) -> Pin:
    status = backup.status
    assert status.manifest is not None
    assert status.point_time is not None
    # Who answered, and not with a copy that cannot be read, lacks it.
    lacking = () if status.manifest.name in found.unreadable else found.answered
    return Pin(
        manifest=status.manifest.name,
        sha256=status.manifest.sha256,
        job_name=backup.metadata.name,
        time=status.point_time,
        unsure=[row.name for row in status.locations if row.name not in lacking],
    )


def _fact(point: Point) -> RecoveryPoint:
    return RecoveryPoint(
        manifest=point.manifest,
        sha256=point.sha256,
        job_name=point.plain.job_name,
        time=point.time,
        sources={source.name: source.data_class for source in point.sources},
        standing=point.standing,
        unsure=point.unsure,
    )


async def _go_on(context: Context, request: RecoveryRequest) -> Status:
    """Look at the Jobs; make those that were never made."""
    if request.spec.cancel:
        await _remove_jobs(context, request)
        return rules.cancelled(request, now=context.now())
    if problem := rules.outdated(request.status):
        raise _RefusedError(problem)
    open_rows, owner = _open_rows(request), Owner.of(REQUESTS, request)
    waiting = stages.waiting(request.status)
    try:
        found = await asyncio.gather(
            *(
                workers.recorded(
                    context,
                    _job_name(request, row.name),
                    Work.RESTORE,
                    owner,
                    row.job_uid,
                    let_go=row.name not in waiting,
                )
                for row in open_rows
            )
        )
        seen = dict(zip((row.name for row in open_rows), found, strict=True))
        missing = [row.name for row in open_rows if row.job_uid is None]
        # Killed before their UIDs are written: these Jobs have never run, and are made anew. Killed
        # after: they are let go by the next look. So none runs twice.
        uids = await _make_jobs(context, request, missing) if missing else {}
    except UnmadeError as error:
        raise _RefusedError(error.problem) from error
    if any(job and _is_refused(job.workload) for job in seen.values()):
        await workers.prepare(context, owner.namespace)  # its account may be gone
    workloads = {name: job.workload if job else None for name, job in seen.items()}
    giving_way = stages.giving_way(request.status, workloads)
    await asyncio.gather(
        *(
            workers.suspend(context, job, suspended=name in giving_way)
            for name, job in seen.items()
            if job is not None and name in waiting and not job.workload.finished
        )
    )
    status = rules.assess(request, workloads, now=context.now())
    return rules.made(status, uids)


def _is_refused(workload: Workload) -> bool:
    return workload.problem is not None and workload.problem.reason == "PodRefused"


def _open_rows(request: RecoveryRequest) -> list[SourceStatus]:
    return [row for row in request.status.sources if row.phase not in stages.OVER]


async def _remove_jobs(context: Context, request: RecoveryRequest) -> None:
    """Delete the Jobs of what has not ended: no worker goes on writing for a request that has."""
    owner = Owner.of(REQUESTS, request)
    for row in _open_rows(request):
        try:
            job = await workers.look(context, _job_name(request, row.name), Work.RESTORE, owner)
        except NameTakenError:
            continue  # not ours
        if job is not None:
            await workers.remove(context, job)


async def _make_jobs(
    context: Context, request: RecoveryRequest, missing: Iterable[str]
) -> dict[str, str]:
    """Make sources' Jobs, suspended; the UIDs of those that were made, by source."""
    policy = await _policy(context, request)
    available = {row.name: row.data_class for row in request.status.sources}
    restores = rules.plan(request, policy, available)
    if isinstance(restores, Problem):
        raise _RefusedError(restores)
    where = await broker.access(context)
    bodies = {
        restore.name: _build(context, request, policy, restore, where)
        for restore in restores
        if restore.name in missing
    }
    made = await asyncio.gather(
        *(workers.create_suspended(context, body) for body in bodies.values()),
        return_exceptions=True,  # where one is refused, all others are there to be removed
    )
    uids = {}
    for name, uid in zip(bodies, made, strict=True):
        if isinstance(uid, BaseException):
            raise uid
        if uid is not None:
            uids[name] = uid
    return uids


def _build(
    context: Context,
    request: RecoveryRequest,
    policy: WeddingBackupPolicy,
    restore: Restore,
    where: tasks.BrokerAccess,
) -> Object:
    status, owner = request.status, Owner.of(REQUESTS, request)
    assert status.point is not None
    assert status.vault is not None
    shape = workers.shape(policy.spec.worker)
    if request.spec.privilege is not None:
        shape = replace(shape, privilege=request.spec.privilege)
    deadline = shape.deadline_seconds * stages.turns(status, restore.data_class)
    shape = replace(shape, deadline_seconds=deadline)
    target, mount = _target(restore)
    task = tasks.RestoreTask(
        request=tasks.ObjectRef(namespace=owner.namespace, name=owner.name, uid=owner.uid),
        broker=where,
        vault=tasks.VaultRef(id=status.vault.id, prefix=status.vault.prefix),
        point=tasks.PointRef(manifest=status.point.manifest, sha256=status.point.sha256),
        source=restore.name,
        target=target,
        privilege=shape.privilege,
    )
    return jobs.worker_job(
        _job_name(request, restore.name),
        Work.RESTORE,
        task,
        platform=context.platform,
        shape=shape,
        mounts=[] if mount is None else [mount],
        labels={
            names.LABEL_POLICY: policy.metadata.name,
            names.LABEL_REQUEST: request.metadata.name,
            names.LABEL_SOURCE: restore.name,
            names.LABEL_VAULT: status.vault.id,
        },
        owner=owner,
        suspended=True,
    )


def _target(restore: Restore) -> tuple[tasks.RestoreTarget, Mount | None]:
    """Where one source goes: the place that the request names, or else the one it came from."""
    place = restore.target or restore.source
    assert place is not None
    if place.volume is not None:
        top = tasks.data_directory(restore.name)
        path = f"{top}/{place.volume.path}" if place.volume.path else top
        mount = jobs.claim_mount(restore.name, place.volume.claim_name, read_only=False)
        return tasks.RestoreTarget(volume=tasks.VolumeTarget(path=path)), mount
    assert place.postgres is not None
    if place.postgres.database_ref is not None:
        shared = tasks.SharedDatabase(database=place.postgres.database_ref.name)
        return tasks.RestoreTarget(shared=shared), None
    secret = place.postgres.connection_secret_ref
    assert secret is not None
    schema = (
        restore.target.postgres.schema_name if restore.target and restore.target.postgres else None
    )
    target = tasks.PostgresTarget(
        connection_file=f"{tasks.source_directory(restore.name)}/uri", schema_name=schema
    )
    return (
        tasks.RestoreTarget(postgres=target),
        jobs.connection_mount(restore.name, secret.name, secret.key),
    )


def _job_name(request: RecoveryRequest, source: str) -> str:
    return jobs.job_name("rr", request.metadata.name, source, uid=request.metadata.uid)
