"""WeddingBackupPolicy: has a vault and a placement, orders its backups in time, and tells how it stands."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from weddingbackup.controller import access, backups, maintenance, measures
from weddingbackup.controller.context import Context
from weddingbackup.kube import organisations, registry
from weddingbackup.kube.client import (
    BACKUPS,
    CLAIMS,
    DATABASES,
    POLICIES,
    ConflictError,
    Object,
)
from weddingbackup.kube.organisations import Organisation
from weddingbackup.resources import names
from weddingbackup.resources.backup_database import BackupDatabase
from weddingbackup.resources.backup_job import BackupJob, Reason
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.wedding_backup_policy import (
    Loss,
    Phase,
    Source,
    Status,
    WeddingBackupPolicy,
)
from weddingbackup.rules import kits, quotas, schedule
from weddingbackup.rules import policy as rules
from weddingbackup.rules.databases import fence
from weddingbackup.rules.times import rfc3339
from weddingbackup.rules.workload import Problem
from weddingbackup.vault.errors import VaultError

TRIGGER = f"{names.GROUP}/{rules.MANUAL_TRIGGER}"


async def reconcile(context: Context, body: Object) -> bool:
    """Bring one policy up to date; True where it should be looked at again at once."""
    policy = WeddingBackupPolicy.model_validate(body)
    if policy.metadata.deletion_timestamp is not None:
        return False
    now = context.now()
    organisation = await organisations.read(context.cluster, policy.metadata.namespace or "")
    try:
        vault = await registry.adopt(
            context.cluster,
            context.home,
            namespace=organisation.namespace,
            policy=policy.metadata.name,
            uid=organisation.uid,
        )
    except VaultError as error:
        problem = Problem("VaultDamaged", f"The Secret with the vault's keys is damaged: {error}")
        return not await context.publish(POLICIES, body, rules.blocked(policy, problem, now=now))
    rows = await registry.account(context.cluster, context.home, organisation.uid)
    every = await backups.of_policy(context, policy.metadata.namespace, policy.metadata.name)
    jobs = rules.of_vault(every, vault.kit.vault_id)
    facts = rules.Facts(
        problems=[
            *_over_quota(context, policy, organisation),
            *await _broken_references(context, policy, organisation),
        ],
        locations=await access.registered(context),
        backups=jobs,
        vault=(vault.kit.vault_id, vault.founded),
        labels=organisation.labels,
        guests=await organisations.uids(context.cluster, policy.spec.recovery.allowed_namespaces),
        kit=kits.exported(
            vault.exported,
            vault.kit.fingerprints(),
            namespace=organisation.namespace,
            policy=policy.metadata.name,
        ),
    )
    status = rules.assess(policy, facts, now=now)
    # First the word, then the deed: a backup that is ordered goes by the placement that status tells, and
    # nobody who waits for the word waits for a listing.
    if status.dump() != policy.status.dump():
        await context.publish(POLICIES, body, status)
        return True
    measured = await measures.stored(
        context,
        facts.locations,
        vault,
        status,
        rows.get(vault.secret, registry.Row()).began,
        under_way=any(job.status.phase is BackupPhase.RUNNING for job in jobs),
    )
    status = status.model_copy(
        update={
            "stored_bytes": measured.bytes or status.stored_bytes,
            "stored_unlisted": measured.unlisted[:32],
        }
    )
    if status.dump() != policy.status.dump():
        await context.publish(POLICIES, body, status)
        return True
    for job in rules.expendable(every, facts.locations):
        await context.cluster.delete(
            BACKUPS, job.metadata.name, job.metadata.namespace, uid=job.metadata.uid
        )
    ordered = await _order(context, policy, jobs, now)
    told = await maintenance.look_after(
        context, policy.model_copy(update={"status": ordered}), vault, jobs, facts.locations
    )
    return not await context.publish(POLICIES, body, told) or told != status


async def _order(
    context: Context,
    policy: WeddingBackupPolicy,
    jobs: Sequence[BackupJob],
    now: datetime,
) -> Status:
    """Make the BackupJobs that are due, and return the status that remembers them.

    A policy that cannot work makes none: its slots wait, and run once.

    Killed after a create and before status is written: the same slot is due again, has the same name,
    and the create meets the one that is there; a trigger is found in the annotation of its BackupJob.
    """
    status = policy.status
    if status.phase not in {Phase.ACTIVE, Phase.SUSPENDED}:
        return status
    text = rules.due_trigger(policy, jobs, TRIGGER)
    if text is not None:
        body = _backup(policy, _trigger_name(policy, text), Reason.MANUAL, None)
        body["metadata"]["annotations"] = {TRIGGER: rules.trigger_edit(policy, text)}
        await _create(context, body)
    if policy.spec.trigger is not None:
        # Outlives the BackupJob, which anybody may delete.
        ordered = {
            "last_manual_trigger": policy.spec.trigger.manual,
            "last_manual_generation": policy.metadata.generation,
        }
        status = status.model_copy(update=ordered)
    if status.loss is not None and status.loss.backup_job is None:
        # What is good nowhere any more is stored anew, as far as the source still has it.
        name = _repair_name(policy, status.loss)
        await _create(context, _backup(policy, name, Reason.REPAIR, None))
        loss = status.loss.model_copy(update={"backup_job": name})
        return status.model_copy(update={"loss": loss})
    slot = None if text is not None else rules.due_slot(policy, jobs, now=now)
    if slot is not None:
        body = _backup(policy, schedule.name(policy.metadata.name, slot), Reason.SCHEDULED, slot)
        await _create(context, body)
        status = status.model_copy(update={"last_scheduled_time": slot})
    return status


async def _create(context: Context, body: Object) -> None:
    try:
        await context.cluster.create(BACKUPS, body)
    except ConflictError:
        # Ours from before we were killed, or made by hand for the same policy: it is this backup.
        metadata = body["metadata"]
        there = await context.cluster.get(BACKUPS, metadata["name"], metadata["namespace"])
        if there is None or there["spec"]["policyRef"] != body["spec"]["policyRef"]:
            raise


def _trigger_name(policy: WeddingBackupPolicy, text: str) -> str:
    """Another one for each edit of the spec, so that a text that returns makes another backup."""
    digest = hashlib.sha256(rules.trigger_edit(policy, text).encode()).hexdigest()[:8]
    return f"{policy.metadata.name}-manual-{digest}"


def _repair_name(policy: WeddingBackupPolicy, loss: Loss) -> str:
    """One for each loss, so that ordering it twice orders it once."""
    digest = hashlib.sha256(f"{policy.metadata.uid}/{rfc3339(loss.time)}".encode()).hexdigest()[:8]
    return f"{policy.metadata.name}-repair-{digest}"


def _backup(
    policy: WeddingBackupPolicy, name: str, reason: Reason, slot: datetime | None
) -> Object:
    """A BackupJob, not owned by its policy: a policy's deletion takes no history along."""
    spec: Object = {"policyRef": {"name": policy.metadata.name}, "reason": reason.value}
    if slot is not None:
        spec["scheduledAt"] = rfc3339(slot)
    return {
        "apiVersion": BACKUPS.api_version,
        "kind": BACKUPS.kind,
        "metadata": {
            "name": name,
            "namespace": policy.metadata.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": names.MANAGER,
                names.LABEL_POLICY: policy.metadata.name,
            },
        },
        "spec": spec,
    }


def _over_quota(
    context: Context, policy: WeddingBackupPolicy, organisation: Organisation
) -> list[Problem]:
    try:
        limits = quotas.read(organisation.annotations, context.platform.quotas)
    except quotas.QuotaError as error:
        return [Problem(quotas.EXCEEDED, str(error))]
    problem = quotas.too_many_copies(policy, limits)
    return [] if problem is None else [problem]


async def _broken_references(
    context: Context, policy: WeddingBackupPolicy, organisation: Organisation
) -> list[Problem]:
    problems = [
        await _broken_reference(context, organisation, source) for source in policy.spec.sources
    ]
    return [problem for problem in problems if problem is not None]


async def _broken_reference(
    context: Context, organisation: Organisation, source: Source
) -> Problem | None:
    """Where a source leads nowhere. Of an organisation's Secrets nobody knows before a worker needs them."""
    if source.volume is not None:
        claim = source.volume.claim_name
        if await context.cluster.get(CLAIMS, claim, organisation.namespace) is None:
            return Problem(
                "ClaimNotFound",
                f"Source {source.name}: there is no PersistentVolumeClaim {claim} in this namespace.",
            )
        return None
    assert source.postgres is not None
    reference = source.postgres.database_ref
    if reference is None:
        return None
    body = await context.cluster.get(DATABASES, reference.name)
    if body is None:
        return Problem(
            "DatabaseNotFound",
            f"Source {source.name}: there is no BackupDatabase {reference.name}; an administrator "
            "registers it.",
        )
    found = fence(
        BackupDatabase.model_validate(body),
        organisation.namespace,
        organisation.labels,
        source.postgres.tables,
    )
    if isinstance(found, Problem):
        return Problem(found.reason, f"Source {source.name}: {found.message}")
    return None
