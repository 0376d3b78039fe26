"""BackupJob: becomes one worker's Job, tells how far it is, and catches up the locations that it missed.

Each step writes down what it decided before it acts on it, and acts so that doing it twice is doing it
once. Where the operator can be killed, a comment says how the next reconcile goes on.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from weddingbackup.controller import access, broker, commits, measures, turns, workers
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import NameTakenError, UnmadeError
from weddingbackup.kube import jobs, organisations, registry
from weddingbackup.kube.client import BACKUPS, POLICIES, REQUESTS, Object
from weddingbackup.kube.jobs import Mount, Owner, Work
from weddingbackup.kube.organisations import Organisation
from weddingbackup.resources import names, tasks
from weddingbackup.resources.backup_job import (
    BackupJob,
    LocationStatus,
    Phase,
    QuotaStatus,
    Status,
    WorkerJob,
)
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import LocationPhase, VaultStatus
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.resources.wedding_backup_policy import Source, WeddingBackupPolicy
from weddingbackup.rules import backup as rules
from weddingbackup.rules import commit, maintenance, quotas
from weddingbackup.rules.access import allowed_namespaces
from weddingbackup.rules.backup import Action
from weddingbackup.rules.commit import Sight
from weddingbackup.rules.replication import catch_up, held
from weddingbackup.rules.turns import COPIES, VERIFICATIONS, Bounds
from weddingbackup.rules.workload import Problem
from weddingbackup.vault.errors import VaultError


async def reconcile(context: Context, body: Object) -> bool:
    """Bring one BackupJob a step on; True where the next step can follow at once."""
    backup = BackupJob.model_validate(body)
    if backup.metadata.deletion_timestamp is not None:
        return False  # its Jobs go with it; what it committed stays in the vault
    if backup.status.phase is not Phase.PENDING:
        return await _step(context, body, backup)
    # An organisation's backups are admitted one by one: two that look at each other would both see
    # nobody running.
    async with context.lock(BACKUPS, backup.metadata.namespace, "admission/"):
        return await _step(context, body, backup)


async def _step(context: Context, body: Object, backup: BackupJob) -> bool:
    status = await _next(context, backup)
    if status is None:
        return False
    published = await context.publish(BACKUPS, body, status)
    return not published or _stage(status) != _stage(backup.status)


def _stage(status: Status) -> tuple[Phase, str, bool]:
    """What lets the next step follow at once: planned, its Job written down, its worker at its end."""
    return status.phase, status.job.uid if status.job else "", rules.worked(status) is not None


async def _next(context: Context, backup: BackupJob) -> Status | None:
    """The status to write; None where there is nothing more to do."""
    step = {
        Phase.PENDING: _start,
        Phase.RUNNING: _running,
        Phase.COMPLETED: _replicate,
    }.get(backup.status.phase)
    try:
        return None if step is None else await step(context, backup)
    except UnmadeError as error:
        return rules.held_up(backup, error.problem, now=context.now())
    except broker.NotReadyError as error:
        return rules.delayed(backup, error.problem, now=context.now())
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
    organisation = await organisations.read(context.cluster, backup.metadata.namespace or "")
    vault = await _vault(context, backup, organisation)
    if vault is None:
        problem = Problem("PolicyNotReady", "The policy's vault has not been founded yet.")
        return rules.waiting(backup, problem, now=now)
    quota = await _over_quota(context, organisation)
    if isinstance(quota, Problem):
        return rules.waiting(backup, quota, now=now)
    # The plan is written before its Job is made. Killed after the write: the next reconcile finds phase
    # Running without a Job, and makes it with the same locations, sources and quorum.
    return answer.model_copy(
        update={
            "vault": VaultStatus(id=vault.kit.vault_id, prefix=vault.kit.prefix),
            "job": WorkerJob(name=_job_name(backup)),
            "quota": quota,
            "locations": [
                row.model_copy(update={"lacks": vault.measured.lacks(row.name)})
                for row in answer.locations
            ],
        }
    )


async def _over_quota(context: Context, organisation: Organisation) -> Problem | QuotaStatus | None:
    """Why a backup has to wait, or what it may store, or that nothing limits it."""
    try:
        limits = quotas.read(organisation.annotations, context.platform.quotas)
    except quotas.QuotaError as error:
        return Problem(quotas.EXCEEDED, str(error))
    cluster, namespace = context.cluster, organisation.namespace
    rows = await registry.account(cluster, context.home, organisation.uid)
    bodies = await cluster.list(BACKUPS, namespace, fields={"status.phase": "Running"})
    backups = [BackupJob.model_validate(body) for body in bodies]
    recoveries = list[Object]()
    if limits.jobs is not None:
        recovering = {"status.phase": "Recovering"}
        recoveries = await cluster.list(REQUESTS, namespace, fields=recovering)
    running = [backup.metadata.uid for backup in backups]
    if limits.bytes is not None:
        rows = await measures.left_behind(context, rows, running)
    return quotas.admit(
        limits,
        backups,
        [RecoveryRequest.model_validate(body) for body in recoveries],
        stored=sum(row.bytes for row in rows.values()),
        unmeasured={*running, *(uid for row in rows.values() for uid in row.began)},
    )


async def _running(context: Context, backup: BackupJob) -> Status:
    if problem := rules.outdated(backup.status):
        await _remove_job(context, backup)
        return rules.failed(backup, problem, now=context.now())
    if rules.worked(backup.status) is None:
        return await _look_after(context, backup)
    return await _confirm(context, backup)


async def _remove_job(context: Context, backup: BackupJob) -> None:
    with suppress(NameTakenError):  # not ours
        seen = await workers.look(
            context, _job_name(backup), Work.BACKUP, Owner.of(BACKUPS, backup)
        )
        if seen is not None:
            await workers.remove(context, seen)


async def _look_after(context: Context, backup: BackupJob) -> Status:
    owner = Owner.of(BACKUPS, backup)
    uid = backup.status.job.uid if backup.status.job else ""
    seen = await workers.recorded(context, _job_name(backup), Work.BACKUP, owner, uid)
    decision = rules.assess(backup, seen.workload if seen else None, now=context.now())
    if decision.action is Action.DELETE and seen is not None:
        await workers.remove(context, seen)
    if decision.action is Action.CREATE:
        return await _make_job(context, backup, decision.status)
    if seen is None:
        return decision.status
    if seen.workload.problem is not None and seen.workload.problem.reason == "PodRefused":
        await workers.prepare(context, owner.namespace)  # its account may be gone
    job = WorkerJob(name=_job_name(backup), uid=seen.uid, attempt=seen.pods)
    return decision.status.model_copy(update={"job": job})


async def _make_job(context: Context, backup: BackupJob, status: Status) -> Status:
    """Make the worker's Job, suspended: what its pods may do hangs on its UID in status.

    Killed before that is written: the next reconcile finds a Job that it does not know, which has never
    run, and makes another. Killed after: it finds the Job suspended, and lets it go.
    """
    now = context.now()
    policy = await _policy(context, backup)
    if policy is None or policy.metadata.deletion_timestamp is not None:
        name = backup.spec.policy_ref.name
        problem = Problem("PolicyNotFound", f"WeddingBackupPolicy {name} was deleted meanwhile.")
        return rules.failed(backup, problem, now=now)
    organisation = await organisations.read(context.cluster, backup.metadata.namespace or "")
    known = await access.registered(context)
    placed = [
        row.name
        for row in status.locations
        if row.name in known and allowed_namespaces(known[row.name], organisation.labels)
    ]
    if len(placed) < (status.quorum or 0):
        problem = Problem(
            "LocationsGone",
            "Too many of the locations that it was planned for are gone, or serve this namespace no more.",
        )
        return rules.failed(backup, problem, now=now)
    vault = await _vault(context, backup, organisation)
    if vault is None or status.vault is None or vault.kit.vault_id != status.vault.id:
        problem = Problem("VaultGone", "The vault that this backup was planned for is gone.")
        return rules.failed(backup, problem, now=now)
    planned = {source.name: source.data_class for source in status.sources}
    sources = [each for each in policy.spec.sources if planned.get(each.name) is each.data_class]
    if len(sources) != len(planned):
        # A worker gets the keys of the classes that were planned, and no others.
        problem = Problem(
            "SourcesChanged", "The policy's sources were edited meanwhile; make a new BackupJob."
        )
        return rules.failed(backup, problem, now=now)
    where = await broker.access(context)
    # Before there is a worker: what it stores is looked for whatever becomes of the BackupJob and its policy.
    await registry.begin(context.cluster, context.home, vault, backup.metadata.uid)
    body = _build(context, backup, policy, sources, placed, where)
    uid = await workers.create_suspended(context, body)
    made = WorkerJob(name=_job_name(backup), uid=uid or "")
    return status.model_copy(update={"job": made})


def _build(  # noqa: PLR0917  one Job is made of all of this
    context: Context,
    backup: BackupJob,
    policy: WeddingBackupPolicy,
    sources: list[Source],
    placed: list[str],
    where: tasks.BrokerAccess,
) -> Object:
    status, owner = backup.status, Owner.of(BACKUPS, backup)
    assert status.vault is not None
    created = backup.metadata.creation_timestamp or context.now()
    task = tasks.BackupTask(
        job=tasks.ObjectRef(namespace=owner.namespace, name=owner.name, uid=owner.uid),
        scheduled_at=backup.spec.scheduled_at or created,
        broker=where,
        vault=tasks.VaultRef(id=status.vault.id, prefix=status.vault.prefix),
        locations=placed,
        quorum=status.quorum or 0,
        sources=[_source_task(source) for source in sources],
        distrust=maintenance.distrust(policy.status),
    )
    return jobs.worker_job(
        _job_name(backup),
        Work.BACKUP,
        task,
        platform=context.platform,
        shape=workers.shape(policy.spec.worker),
        mounts=[mount for source in sources if (mount := _source_mount(source)) is not None],
        labels={
            names.LABEL_POLICY: policy.metadata.name,
            names.LABEL_JOB: backup.metadata.name,
            names.LABEL_VAULT: status.vault.id,
        },
        owner=owner,
        suspended=True,
    )


async def _confirm(context: Context, backup: BackupJob) -> Status:
    """See for ourselves where the announced manifest is.

    All that was seen is in the rows: killed at any moment, the next look goes on from there.
    """
    status = backup.status
    assert status.vault is not None
    assert status.announced is not None
    known = await access.registered(context)
    open_rows = [row for row in status.locations if row.phase is not LocationPhase.COMMITTED]
    asked = [known[row.name] for row in open_rows if row.name in known]
    seen = await commits.look(context, asked, status.vault.prefix, status.announced)
    plain = seen.plain
    if plain and (plain.job_uid, plain.quorum) != (backup.metadata.uid, status.quorum):
        problem = Problem(
            "ForeignManifest",
            "The manifest that was handed in is another backup's, or does not ask for this one's quorum.",
        )
        return rules.failed(backup, problem, now=context.now())
    rows = commit.rows(status.locations, seen.sights, known)
    holders = [name for name, sight in seen.sights.items() if sight is Sight.THERE]
    holders += rules.committed_rows(status)
    for number, row in enumerate(rows):
        unverified = row.phase is not LocationPhase.COMMITTED
        if unverified and seen.sights.get(row.name) is Sight.THERE:
            bounds = VERIFICATIONS if commit.waits(rows, status.quorum or 0) else COPIES
            rows[number] = await _catch_up(
                context, backup, row, known, status.announced.name, holders, bounds
            )
    moment = plain.point_time if plain else None
    return commit.judge(backup, rows, seen.sights, moment, now=context.now())


async def _replicate(context: Context, backup: BackupJob) -> Status | None:
    """Bring the commit to the locations that missed it, one copy Job each."""
    rows, manifest = backup.status.locations, backup.status.manifest
    if manifest is None or all(row.phase is LocationPhase.COMMITTED for row in rows):
        return None
    organisation = await organisations.read(context.cluster, backup.metadata.namespace or "")
    vault = await _vault(context, backup, organisation)
    if vault is None or backup.status.vault is None or vault.kit.vault_id != backup.status.vault.id:
        return None  # erased: nobody can read what would be copied
    known = await access.registered(context)
    serving = {
        name: location
        for name, location in known.items()
        if allowed_namespaces(location, organisation.labels)
    }
    next_rows = []
    for row in rows:
        if row.phase is LocationPhase.COMMITTED:
            next_rows.append(row)
        else:
            holders = rules.committed_rows(backup.status)
            next_rows.append(
                await _catch_up(context, backup, row, serving, manifest.name, holders, COPIES)
            )
    return rules.complete(backup, next_rows, now=context.now())


async def _catch_up(  # noqa: PLR0917  a Job is of many things
    context: Context,
    backup: BackupJob,
    row: LocationStatus,
    locations: Mapping[str, BackupLocation],
    manifest: str,
    holders: Iterable[str],
    bounds: Bounds,
) -> LocationStatus:
    """Have one location filled, or what it has verified, by a Job in the operator's namespace.

    It reads only where the commit is known to be: a location that is down would only cost time.
    """
    owner = Owner.of(BACKUPS, backup)
    name = jobs.job_name("cp", backup.metadata.name, row.name, uid=backup.metadata.uid)
    try:
        seen = await workers.look(context, name, Work.COPY, owner)
        decision = catch_up(
            row, locations.get(row.name), seen.workload if seen else None, now=context.now()
        )
        if decision.delete and seen is not None:
            await workers.remove(context, seen)
        if decision.create:
            taking_part = await access.with_credentials(
                context, (locations[x] for x in sorted({*holders, row.name}) if x in locations)
            )
            body = _build_copy(context, backup, name, row.name, taking_part, manifest)
            reason = await turns.create(context, {Work.COPY}, bounds, body, owner)
            return held(decision.row, reason) if reason else decision.row
    except UnmadeError as error:
        return row.model_copy(update={"message": error.problem.message[:1024]})
    return decision.row


def _build_copy(  # noqa: PLR0917  likewise
    context: Context,
    backup: BackupJob,
    name: str,
    target: str,
    taking_part: list[BackupLocation],
    manifest: str,
) -> Object:
    assert backup.status.vault is not None
    task = tasks.CopyTask(
        vault=tasks.VaultRef(id=backup.status.vault.id, prefix=backup.status.vault.prefix),
        manifests=[manifest],
        verify=not all(
            commit.binds_checksums(each) for each in taking_part if each.metadata.name == target
        ),
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
        owner=Owner.of(BACKUPS, backup),
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
    if source.postgres.database_ref is not None:
        shared = tasks.SharedDatabase(database=source.postgres.database_ref.name)
        return tasks.SourceTask(name=source.name, data_class=source.data_class, shared=shared)
    postgres = tasks.PostgresSource(
        connection_file=f"{tasks.source_directory(source.name)}/uri", tables=source.postgres.tables
    )
    return tasks.SourceTask(name=source.name, data_class=source.data_class, postgres=postgres)


def _source_mount(source: Source) -> Mount | None:
    """What the worker mounts of a source; None where the broker gives it."""
    if source.volume is not None:
        return jobs.claim_mount(source.name, source.volume.claim_name, read_only=True)
    assert source.postgres is not None
    secret = source.postgres.connection_secret_ref
    return None if secret is None else jobs.connection_mount(source.name, secret.name, secret.key)


def _job_name(backup: BackupJob) -> str:
    return jobs.job_name("bj", backup.metadata.name, uid=backup.metadata.uid)


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


async def _vault(
    context: Context, backup: BackupJob, organisation: Organisation
) -> registry.Registered | None:
    return await registry.find(
        context.cluster,
        context.home,
        namespace=organisation.namespace,
        policy=backup.spec.policy_ref.name,
        uid=organisation.uid,
    )
