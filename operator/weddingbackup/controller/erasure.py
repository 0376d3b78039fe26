"""Deleting a policy that says Erase: its keys first, so that no copy can be read, then its objects.

The order makes every moment safe to be killed in:

1. An erase Job is made, suspended. It carries the vault's place, which the Secret alone knows. Should
   the Secret be damaged so far that it tells no place, only the keys are destroyed, and that is told.
2. The Secret is destroyed: from now on the vault is erased, whatever becomes of the rest.
3. The policy's other workers are stopped, so that nobody puts objects there any more.
4. The Job is let go. When it has ended, the policy goes.

Meanwhile the policy's status says what is waited for, and events say what could not be erased. Recovery
kits that were taken out are told of in both: they are files in people's hands, which nothing here reaches.
"""

from weddingbackup.controller import access, workers
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import UnmadeError
from weddingbackup.kube import events, jobs, registry
from weddingbackup.kube.client import JOBS, PODS, POLICIES, Object
from weddingbackup.kube.jobs import Owner, Shape, Work
from weddingbackup.resources import names, tasks
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import kits
from weddingbackup.rules.erasure import erasing
from weddingbackup.vault.errors import VaultError

_SHAPE = Shape(resources=workers.SERVICE_SHAPE.resources, deadline_seconds=7 * 24 * 3600)
"""A location that is down for days is still emptied when it is back."""

_RETRIES = 10_000

_KITS = f"{names.GROUP}/recovery-kits"
"""Annotation of the erase Job: what to tell of recovery kits, once the Secret that told it is destroyed."""


async def erase(context: Context, body: Object) -> str | None:
    """Bring the erasure a step on: what is still to be waited for, or None when all is done."""
    policy = WeddingBackupPolicy.model_validate(body)
    try:
        waiting = await _step(context, body, policy)
    except UnmadeError as error:
        waiting = error.problem.message
    if waiting is not None:
        await context.publish(POLICIES, body, erasing(policy, waiting, now=context.now()))
    return waiting


async def _step(context: Context, body: Object, policy: WeddingBackupPolicy) -> str | None:
    name = jobs.job_name("er", policy.metadata.name, uid=policy.metadata.uid)
    seen = await workers.look(context, name, Work.ERASE, Owner.of(POLICIES, policy))
    if seen is None:
        return await _plan(context, body, policy, name)
    await _destroy_keys(context, policy)
    kits_left = (seen.body["metadata"].get("annotations") or {}).get(_KITS)
    waiting = await _remove(context, body, seen)
    return f"{waiting}. {kits_left}" if waiting and kits_left else waiting


async def _remove(context: Context, body: Object, seen: workers.Seen) -> str | None:
    """Have the objects removed, with the keys destroyed."""
    name = seen.body["metadata"]["name"]
    if still := await _stop_others(context, seen.body["metadata"]["labels"][names.LABEL_VAULT]):
        return f"waiting for {still} workers to stop"
    if seen.body["spec"].get("suspend"):
        await context.cluster.patch(JOBS, name, context.home, {"spec": {"suspend": False}})
    if not seen.workload.finished:
        trouble = seen.workload.problem
        return trouble.message if trouble else "the copies' objects are being removed"
    if not seen.workload.succeeded:
        # The policy goes all the same: the keys are destroyed, so nobody can read what is left.
        trouble = seen.workload.problem
        said = trouble.message if trouble else "its worker failed"
        await _warn(context, body, f"The keys are destroyed, but objects are left: {said}")
    return None


async def _plan(
    context: Context, body: Object, policy: WeddingBackupPolicy, name: str
) -> str | None:
    try:
        place = await registry.locate(
            context.cluster,
            context.home,
            namespace=policy.metadata.namespace or "",
            policy=policy.metadata.name,
        )
    except VaultError as error:
        await _destroy_keys(context, policy)
        await _warn(
            context,
            body,
            f"The Secret with the vault's keys was damaged ({error}) and is destroyed; "
            "it did not say where the vault's objects are, so they are left.",
        )
        return None
    if place is None:
        return None  # nothing was ever founded, or somebody removed the Job with its task
    everywhere = (await access.registered(context)).values()
    reachable = await access.with_credentials(context, everywhere)
    if left_out := {each.metadata.name for each in everywhere} - {
        each.metadata.name for each in reachable
    }:
        await _warn(
            context,
            body,
            f"Nothing can be removed at {', '.join(sorted(left_out))}, whose Secrets are missing; "
            "what lies there cannot be read by anybody once the keys are destroyed.",
        )
    job = _build(context, name, policy, place, reachable)
    if told := kits.remaining(place.exported):
        await _warn(context, body, told, reason="KitsRemain")
        job["metadata"].setdefault("annotations", {})[_KITS] = told
    await workers.create(context, job, Owner.of(POLICIES, policy))
    return "the erasure has been planned"


async def _destroy_keys(context: Context, policy: WeddingBackupPolicy) -> None:
    await registry.destroy(
        context.cluster,
        context.home,
        namespace=policy.metadata.namespace or "",
        policy=policy.metadata.name,
    )


async def _warn(context: Context, body: Object, message: str, *, reason: str = "NotErased") -> None:
    await events.record(
        context.cluster,
        {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, **body},
        kind="Warning",
        reason=reason,
        message=message,
        now=context.now(),
    )


async def _stop_others(context: Context, vault: str) -> int:
    """Delete the vault's other Jobs, wherever they are; how many of its workers' pods are still there."""
    mine = {names.LABEL_VAULT: vault}
    for job in await context.cluster.list(JOBS, labels=mine):
        if job["metadata"]["labels"].get(names.LABEL_TASK) != Work.ERASE:
            metadata = job["metadata"]
            await context.cluster.delete(
                JOBS, metadata["name"], metadata["namespace"], uid=metadata["uid"]
            )
    pods = await context.cluster.list(PODS, labels=mine)
    return sum(_writes(context, pod) for pod in pods)


def _writes(context: Context, pod: Object) -> bool:
    """Whether this is a worker at work. Anybody may give a pod of their own the same label."""
    at_home = pod["metadata"]["namespace"] == context.home
    return (
        pod.get("status", {}).get("phase") in {"Pending", "Running"}
        and pod["metadata"]["labels"].get(names.LABEL_TASK) != Work.ERASE
        and (at_home or pod["spec"].get("serviceAccountName") == names.WORKER_ACCOUNT)
    )


def _build(
    context: Context,
    name: str,
    policy: WeddingBackupPolicy,
    place: registry.Place,
    locations: list[BackupLocation],
) -> Object:
    body = jobs.worker_job(
        name,
        Work.ERASE,
        tasks.EraseTask(
            vault=tasks.VaultRef(id=place.vault_id, prefix=place.prefix),
            locations=[access.for_worker(location) for location in locations],
        ),
        platform=context.platform,
        shape=_SHAPE,
        mounts=access.mounts(locations),
        labels={names.LABEL_POLICY: policy.metadata.name, names.LABEL_VAULT: place.vault_id},
        owner=Owner.of(POLICIES, policy),
        suspended=True,
    )
    # Its task cannot be written a second time, so it tries until it is done.
    body["spec"]["backoffLimit"] = _RETRIES
    return body
