"""BackupJob: becomes one worker's Job, tells how far it is, and catches up the locations that it missed.

Each step writes down what it decided before it acts on it, and acts so that doing it twice is doing it
once. Where the operator can be killed, a comment says how the next reconcile goes on.
"""

from weddingbackup.controller import access, workers
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import UnmadeError
from weddingbackup.kube import jobs, registry
from weddingbackup.kube.client import BACKUPS, POLICIES, Object
from weddingbackup.kube.jobs import Mount, Work
from weddingbackup.resources import names, tasks
from weddingbackup.resources.backup_job import (
    BackupJob,
    LocationStatus,
    Phase,
    Status,
    VaultStatus,
    WorkerJob,
)
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.wedding_backup_policy import Source, WeddingBackupPolicy
from weddingbackup.rules import backup as rules
from weddingbackup.rules.backup import Action
from weddingbackup.rules.replication import catch_up
from weddingbackup.rules.workload import Problem
from weddingbackup.vault.errors import VaultError


async def reconcile(context: Context, body: Object) -> bool:
    """Bring one BackupJob a step on; True where the next step can follow at once."""
    backup = BackupJob.model_validate(body)
    if backup.metadata.deletion_timestamp is not None:
        return False  # its Jobs go with it; what it committed stays in the vault
    if backup.status.phase is not Phase.PENDING:
        return await _step(context, body, backup)
    # One at a time is admitted of a policy's backups: two that look at each other would both see
    # nobody running.
    async with context.lock(
        BACKUPS, backup.metadata.namespace, f"of/{backup.spec.policy_ref.name}"
    ):
        return await _step(context, body, backup)


async def _step(context: Context, body: Object, backup: BackupJob) -> bool:
    status = await _next(context, backup)
    if status is None:
        return False
    published = await context.publish(BACKUPS, body, status)
    return not published or status.phase is not backup.status.phase


async def _next(context: Context, backup: BackupJob) -> Status | None:
    """The status to write; None where there is nothing more to do."""
    if backup.metadata.namespace != context.home and backup.status.phase not in rules.ENDED:
        # In every phase: a status can be forged, and workers see secrets of this namespace.
        return rules.waiting(backup, rules.not_served(context.home), now=context.now())
    try:
        match backup.status.phase:
            case Phase.PENDING:
                return await _start(context, backup)
            case Phase.RUNNING:
                return await _go_on(context, backup)
            case Phase.COMPLETED if backup.metadata.namespace == context.home:
                return await _replicate(context, backup)
            case _:
                return None
    except VaultError as error:
        problem = Problem("VaultDamaged", f"The Secret with the vault's keys is damaged: {error}")
        return rules.held_up(backup, problem, now=context.now())


async def _start(context: Context, backup: BackupJob) -> Status:
    now = context.now()
    if backup.spec.cancel:
        return rules.waiting(backup, Problem("Cancelled", ""), now=now)
    policy = await _policy(context, backup)
    answer = rules.admit(backup, policy, await _rivals(context, backup), now=now)
    if isinstance(answer, Problem):
        return rules.waiting(backup, answer, now=now)
    vault = await _vault(context, backup)
    if vault is None:
        problem = Problem("PolicyNotReady", "The policy's vault has not been founded yet.")
        return rules.waiting(backup, problem, now=now)
    # The plan is written before its Job is made. Killed after the write: the next reconcile finds phase
    # Running without a Job, and makes it with the same locations and quorum.
    return answer.model_copy(
        update={
            "vault": VaultStatus(id=vault.kit.vault_id, prefix=vault.kit.prefix),
            "job": WorkerJob(name=_job_name(backup)),
        }
    )


async def _go_on(context: Context, backup: BackupJob) -> Status:
    try:
        return await _look_after(context, backup)
    except UnmadeError as error:
        return rules.failed(backup, error.problem, now=context.now())


async def _look_after(context: Context, backup: BackupJob) -> Status:
    seen = await workers.look(context, _job_name(backup), backup.metadata.uid)
    decision = rules.assess(
        backup,
        seen.workload if seen else None,
        seen.progress if seen else None,
        now=context.now(),
    )
    if decision.action is Action.DELETE and seen is not None:
        await workers.remove(context, seen)
    if decision.action is Action.CREATE:
        return await _make_job(context, backup, decision.status)
    if seen is None:
        return decision.status
    job = WorkerJob(
        name=seen.body["metadata"]["name"], uid=seen.body["metadata"]["uid"], attempt=seen.pods
    )
    return decision.status.model_copy(update={"job": job})


async def _make_job(context: Context, backup: BackupJob, status: Status) -> Status:
    now = context.now()
    policy = await _policy(context, backup)
    if policy is None or policy.metadata.deletion_timestamp is not None:
        name = backup.spec.policy_ref.name
        problem = Problem("PolicyNotFound", f"WeddingBackupPolicy {name} was deleted meanwhile.")
        return rules.failed(backup, problem, now=now)
    locations = await access.registered(context)
    placed = await access.with_credentials(
        context, (locations[row.name] for row in status.locations if row.name in locations)
    )
    if len(placed) < (status.quorum or 0):
        problem = Problem(
            "LocationsGone",
            "Too many of the locations that it was planned for are gone, or their Secrets.",
        )
        return rules.failed(backup, problem, now=now)
    assert status.vault is not None
    vault = await _vault(context, backup)
    if vault is None or vault.kit.vault_id != status.vault.id:
        problem = Problem("VaultGone", "The vault that this backup was planned for is gone.")
        return rules.failed(backup, problem, now=now)
    body = _build(context, backup, status, policy, placed, secret=vault.secret)
    job = await workers.create(context, body, backup.metadata.uid)
    # Killed before this is written: the next reconcile finds the Job by its name, and that it is ours.
    made = WorkerJob(name=job["metadata"]["name"], uid=job["metadata"]["uid"])
    return status.model_copy(update={"job": made})


def _build(
    context: Context,
    backup: BackupJob,
    status: Status,
    policy: WeddingBackupPolicy,
    placed: list[BackupLocation],
    *,
    secret: str,
) -> Object:
    assert status.vault is not None
    assert backup.metadata.namespace is not None
    created = backup.metadata.creation_timestamp or context.now()
    task = tasks.BackupTask(
        job=tasks.ObjectRef(
            namespace=backup.metadata.namespace, name=backup.metadata.name, uid=backup.metadata.uid
        ),
        scheduled_at=backup.spec.scheduled_at or created,
        vault=tasks.VaultRef(id=status.vault.id, prefix=status.vault.prefix),
        locations=[access.for_worker(location) for location in placed],
        quorum=status.quorum or 0,
        sources=[_source_task(source) for source in policy.spec.sources],
    )
    return jobs.worker_job(
        _job_name(backup),
        Work.BACKUP,
        task,
        platform=context.platform,
        shape=workers.shape(policy.spec.worker),
        mounts=[
            jobs.kit_mount(secret),
            *access.mounts(placed),
            *(_source_mount(source) for source in policy.spec.sources),
        ],
        labels={
            names.LABEL_POLICY: policy.metadata.name,
            names.LABEL_JOB: backup.metadata.name,
            names.LABEL_VAULT: status.vault.id,
        },
        owner=_as_owner(backup),
    )


async def _replicate(context: Context, backup: BackupJob) -> Status | None:
    """Bring the commit to the locations that missed it, one copy Job each."""
    rows = backup.status.locations
    if all(row.phase is LocationPhase.COMMITTED for row in rows):
        return None
    vault = await _vault(context, backup)
    if vault is None or backup.status.vault is None or vault.kit.vault_id != backup.status.vault.id:
        return None  # erased: nobody can read what would be copied
    locations = await access.registered(context)
    next_rows = []
    for row in rows:
        if row.phase is LocationPhase.COMMITTED:
            next_rows.append(row)
        else:
            try:
                next_rows.append(await _catch_up(context, backup, row, locations))
            except UnmadeError as error:
                next_rows.append(row.model_copy(update={"message": error.problem.message[:1024]}))
    return rules.complete(backup, next_rows, now=context.now())


async def _catch_up(
    context: Context,
    backup: BackupJob,
    row: LocationStatus,
    locations: dict[str, BackupLocation],
) -> LocationStatus:
    name = jobs.job_name("cp", backup.metadata.name, row.name, uid=backup.metadata.uid)
    seen = await workers.look(context, name, backup.metadata.uid)
    decision = catch_up(
        row, locations.get(row.name), seen.workload if seen else None, now=context.now()
    )
    if decision.delete and seen is not None:
        await workers.remove(context, seen)
    if decision.create:
        # Only from where the commit is known to be: a location that is down would only cost time.
        holders = (*rules.committed_rows(backup.status), row.name)
        taking_part = await access.with_credentials(
            context, (locations[each] for each in holders if each in locations)
        )
        body = _build_copy(context, backup, name, row.name, taking_part)
        await workers.create(context, body, backup.metadata.uid)
    return decision.row


def _build_copy(
    context: Context,
    backup: BackupJob,
    name: str,
    target: str,
    taking_part: list[BackupLocation],
) -> Object:
    assert backup.status.vault is not None
    assert backup.status.manifest is not None
    task = tasks.CopyTask(
        vault=tasks.VaultRef(id=backup.status.vault.id, prefix=backup.status.vault.prefix),
        manifests=[backup.status.manifest.name],
        target=target,
        locations=[access.for_worker(location) for location in taking_part],
    )
    return jobs.worker_job(
        name,
        Work.COPY,
        task,
        platform=context.platform,
        shape=workers.SERVICE_SHAPE,
        mounts=access.mounts(taking_part),
        labels={
            names.LABEL_POLICY: backup.spec.policy_ref.name,
            names.LABEL_JOB: backup.metadata.name,
            names.LABEL_LOCATION: target,
            names.LABEL_VAULT: backup.status.vault.id,
        },
        owner=_as_owner(backup),
    )


def _source_task(source: Source) -> tasks.SourceTask:
    if source.volume is not None:
        top = tasks.data_directory(source.name)
        volume = tasks.VolumeSource(
            path=f"{top}/{source.volume.path}" if source.volume.path else top,
            include=source.volume.include,
            exclude=source.volume.exclude,
        )
        return tasks.SourceTask(name=source.name, data_class=source.data_class, volume=volume)
    assert source.postgres is not None
    postgres = tasks.PostgresSource(
        connection_file=f"{tasks.source_directory(source.name)}/uri", tables=source.postgres.tables
    )
    return tasks.SourceTask(name=source.name, data_class=source.data_class, postgres=postgres)


def _source_mount(source: Source) -> Mount:
    if source.volume is not None:
        return jobs.claim_mount(source.name, source.volume.claim_name, read_only=True)
    assert source.postgres is not None
    secret = source.postgres.connection_secret_ref
    return jobs.connection_mount(source.name, secret.name, secret.key)


def _job_name(backup: BackupJob) -> str:
    return jobs.job_name("bj", backup.metadata.name, uid=backup.metadata.uid)


def _as_owner(backup: BackupJob) -> Object:
    return {
        "apiVersion": BACKUPS.api_version,
        "kind": BACKUPS.kind,
        "metadata": {"name": backup.metadata.name, "uid": backup.metadata.uid},
    }


async def _policy(context: Context, backup: BackupJob) -> WeddingBackupPolicy | None:
    body = await context.cluster.get(
        POLICIES, backup.spec.policy_ref.name, backup.metadata.namespace
    )
    return None if body is None else WeddingBackupPolicy.model_validate(body)


async def of_policy(context: Context, namespace: str | None, policy: str) -> list[BackupJob]:
    """All BackupJobs of one policy, whoever made them."""
    mine = {"spec.policyRef.name": policy}
    bodies = await context.cluster.list(BACKUPS, namespace, fields=mine)
    return [BackupJob.model_validate(body) for body in bodies]


async def _rivals(context: Context, backup: BackupJob) -> list[BackupJob]:
    return await of_policy(context, backup.metadata.namespace, backup.spec.policy_ref.name)


async def _vault(context: Context, backup: BackupJob) -> registry.Registered | None:
    assert backup.metadata.namespace is not None
    return await registry.find(
        context.cluster,
        context.home,
        namespace=backup.metadata.namespace,
        policy=backup.spec.policy_ref.name,
    )
