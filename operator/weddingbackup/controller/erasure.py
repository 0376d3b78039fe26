"""Deleting a policy that says Erase: its keys first, so that no copy can be read, then its objects.

The order makes every moment safe to be killed in:

1. An erase Job is made, suspended. It carries the vault's place, which the Secret alone knows.
2. The Secret is destroyed: from now on the vault is erased, whatever becomes of the rest.
3. The policy's other workers are stopped, so that nobody puts objects there any more.
4. The Job is let go. When it has ended, the policy goes.
"""

from weddingbackup.controller import access, workers
from weddingbackup.controller.context import Context
from weddingbackup.controller.workers import Seen
from weddingbackup.kube import jobs, registry
from weddingbackup.kube.client import JOBS, PODS, POLICIES, Object
from weddingbackup.kube.jobs import Shape, Work
from weddingbackup.resources import names, tasks
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy

_SHAPE = Shape(resources=workers.SERVICE_SHAPE.resources, deadline_seconds=7 * 24 * 3600)
"""A location that is down for days is still emptied when it is back."""

_RETRIES = 10_000


async def erase(context: Context, body: Object) -> str | None:
    """Bring the erasure a step on: what is still to be waited for, or None when all is done.

    Raises:
        NameTakenError: somebody else's Job has the erase Job's name.
    """
    policy = WeddingBackupPolicy.model_validate(body)
    if policy.metadata.namespace != context.home:
        return None  # it was never served, so there is nothing
    name = jobs.job_name("er", policy.metadata.name, uid=policy.metadata.uid)
    seen = await workers.look(context, name, policy.metadata.uid)
    vault = await registry.find(
        context.cluster, context.home, namespace=context.home, policy=policy.metadata.name
    )
    if seen is None:
        if vault is None:
            return None  # nothing was ever founded, or somebody removed the Job with its task
        await workers.create(
            context, await _build(context, name, policy, vault), policy.metadata.uid
        )
        return "the erasure has been planned"
    if vault is not None:
        await registry.destroy(
            context.cluster, context.home, namespace=context.home, policy=policy.metadata.name
        )
    if still := await _stop_others(context, policy):
        return f"waiting for {still} workers to stop"
    if seen.body["spec"].get("suspend"):
        await context.cluster.patch(JOBS, name, context.home, {"spec": {"suspend": False}})
    return _outcome(seen)


def _outcome(seen: Seen) -> str | None:
    if seen.workload.finished:
        # Done, or refused for good: the objects that may be left cannot be read by anybody.
        return None
    trouble = seen.workload.problem
    return trouble.message if trouble else "the copies' objects are being removed"


async def _stop_others(context: Context, policy: WeddingBackupPolicy) -> int:
    """Delete the policy's other Jobs; how many pods are still there."""
    mine = {names.LABEL_POLICY: policy.metadata.name}
    for job in await context.cluster.list(JOBS, context.home, labels=mine):
        if job["metadata"]["labels"].get(names.LABEL_TASK) != Work.ERASE:
            await context.cluster.delete(JOBS, job["metadata"]["name"], context.home)
    pods = await context.cluster.list(PODS, context.home, labels=mine)
    return sum(
        pod["metadata"]["labels"].get(names.LABEL_TASK) != Work.ERASE
        and pod.get("status", {}).get("phase") in {"Pending", "Running"}
        for pod in pods
    )


async def _build(
    context: Context, name: str, policy: WeddingBackupPolicy, vault: registry.Registered
) -> Object:
    locations = list((await access.registered(context)).values())
    body = jobs.worker_job(
        name,
        Work.ERASE,
        tasks.EraseTask(
            vault=tasks.VaultRef(id=vault.kit.vault_id, prefix=vault.kit.prefix),
            locations=[access.for_worker(location) for location in locations],
        ),
        platform=context.platform,
        shape=_SHAPE,
        mounts=access.mounts(locations),
        labels={names.LABEL_POLICY: policy.metadata.name, names.LABEL_VAULT: vault.kit.vault_id},
        owner={
            "apiVersion": POLICIES.api_version,
            "kind": POLICIES.kind,
            "metadata": {"name": policy.metadata.name, "uid": policy.metadata.uid},
        },
        suspended=True,
    )
    # Its task cannot be written a second time, so it tries until it is done.
    body["spec"]["backoffLimit"] = _RETRIES
    del body["spec"]["ttlSecondsAfterFinished"]
    return body
