"""Workers' Jobs as the reconciles see them: looked up with all that tells how they are, made, and removed.

A backup's or restore's Job runs beside people who may make Jobs too. So it is made suspended, its UID
is written into the status of what it works for, and only then it is let go: a Job of its name with
another UID has never run for us. Whoever asks (the broker, too) goes by that UID.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from weddingbackup.controller.context import Context
from weddingbackup.kube import organisations
from weddingbackup.kube.client import EVENTS, JOBS, PODS, ApiError, ConflictError, Object
from weddingbackup.kube.jobs import AT_HOME, Owner, Shape, Work, is_owned_by
from weddingbackup.resources.wedding_backup_policy import Worker
from weddingbackup.rules.workload import Problem, Workload, observe

_DEFAULT_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}
_ATTEMPTS = 5
"""To let a Job go, or hold it, while its controller writes its status."""


_REFUSALS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Answers that asking again does not change: the Job as it is will not be made."""


class UnmadeError(Exception):
    """A worker's Job cannot be made until a person acts.

    Attributes:
        problem: what is so, and what to do.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class NameTakenError(UnmadeError):
    """Somebody else's Job has the name that ours must have."""

    def __init__(self, name: str, namespace: str) -> None:
        message = f"A Job {name} that is not of this object exists in {namespace}; delete it."
        super().__init__(Problem("NameTaken", message))


class JobRefusedError(UnmadeError):
    """The API server does not accept the Job: a field of it, or a quota, or an admission policy."""

    def __init__(self, error: ApiError) -> None:
        message = (
            "Kubernetes does not accept the worker's Job; mend the policy's spec.worker, "
            f"or the quota of the namespace. It says: {error}"
        )
        super().__init__(Problem("JobRefused", message))


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker's Job and how it is.

    Attributes:
        pods: how many pods it has tried.
    """

    body: Object
    workload: Workload
    pods: int

    @property
    def uid(self) -> str:
        """The Job's."""
        uid: str = self.body["metadata"]["uid"]
        return uid


async def look(context: Context, name: str, work: Work, owner: Owner) -> Seen | None:
    """A Job of ours by its name; None where there is none.

    Raises:
        NameTakenError: the one of that name does not say that it belongs to `owner`.
    """
    namespace = _place(context, work, owner)
    job = await context.cluster.get(JOBS, name, namespace)
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    if not is_owned_by(job, owner.uid):
        raise NameTakenError(name, namespace)
    selector = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
    pods = await context.cluster.list(PODS, namespace, labels=selector)
    return Seen(job, observe(job, pods, await _events(context, job, pods)), len(pods))


async def recorded(
    context: Context,
    name: str,
    work: Work,
    owner: Owner,
    uid: str | None,
    *,
    let_go: bool = True,
) -> Seen | None:
    """The Job whose UID a status has written down, let go if it may; None where it is not there.

    One of its name with another UID that says it is ours was made by us and not written down, or by
    somebody else: it has never run for us, and is deleted. As long as that lasts there is none.

    Raises:
        NameTakenError: as `look`.
    """
    seen = await look(context, name, work, owner)
    if seen is None:
        return None
    if seen.uid != uid:
        fresh = await context.cluster.get(owner.resource, owner.name, owner.namespace)
        if fresh is not None and seen.uid not in _recorded(fresh):  # else: just now, by another
            await remove(context, seen)
        return None
    if let_go:
        await suspend(context, seen, suspended=False)
    return seen


async def suspend(context: Context, seen: Seen, *, suspended: bool) -> None:
    """Let a Job go, or take its pod away: this very Job, so by the version that was read."""
    body = seen.body
    for _ in range(_ATTEMPTS):
        if bool(body["spec"].get("suspend")) is suspended:
            return
        metadata = body["metadata"]
        version = {"resourceVersion": metadata["resourceVersion"]}
        patch = {"metadata": version, "spec": {"suspend": suspended}}
        name, namespace = metadata["name"], metadata["namespace"]
        try:
            await context.cluster.patch(JOBS, name, namespace, patch)
        except ConflictError:
            fresh = await context.cluster.get(JOBS, name, namespace)
            if fresh is None or fresh["metadata"]["uid"] != seen.uid:
                return
            body = fresh
        else:
            return


async def create(context: Context, body: Object, owner: Owner) -> Object | None:
    """Make a Job at home; one of the same name that is ours is as good (killed after making it).

    Raises:
        NameTakenError: the one of that name is not ours.
        JobRefusedError: the API server does not accept it.
    """
    metadata = body["metadata"]
    made = await _create(context, body)
    if made is None:
        made = await context.cluster.get(JOBS, metadata["name"], metadata["namespace"])
        if made is not None and not is_owned_by(made, owner.uid):
            raise NameTakenError(metadata["name"], metadata["namespace"])
    return made


async def create_suspended(context: Context, body: Object) -> str | None:
    """Make a Job in an organisation's namespace; its UID, or None where the name is not free yet.

    Raises:
        JobRefusedError: the API server does not accept it.
    """
    assert body["spec"]["suspend"]
    await prepare(context, body["metadata"]["namespace"])
    made = await _create(context, body)
    return None if made is None else str(made["metadata"]["uid"])


async def prepare(context: Context, namespace: str) -> None:
    """Have in an organisation's namespace what its workers' pods need."""
    await organisations.prepare(
        context.cluster, namespace, network_policy=context.platform.network_policies
    )


async def remove(context: Context, seen: Seen) -> None:
    """Delete a Job and its pods."""
    metadata = seen.body["metadata"]
    await context.cluster.delete(JOBS, metadata["name"], metadata["namespace"], uid=seen.uid)


def shape(worker: Worker) -> Shape:
    """A policy's spec.worker as the builder of Jobs takes it."""
    resources = worker.resources.dump() if worker.resources else _DEFAULT_RESOURCES
    return Shape(
        privilege=worker.privilege,
        resources=resources,
        node_selector=worker.node_selector,
        tolerations=[toleration.dump() for toleration in worker.tolerations],
        run_as_user=worker.run_as_user,
        run_as_group=worker.run_as_group,
        fs_group=worker.fs_group,
        deadline_seconds=int(worker.deadline.total_seconds()),
    )


SERVICE_SHAPE = Shape(resources=_DEFAULT_RESOURCES)
"""For the platform's own workers: copy and erase."""


def _place(context: Context, work: Work, owner: Owner) -> str:
    return context.home if work in AT_HOME else owner.namespace


async def _create(context: Context, body: Object) -> Object | None:
    """The Job that was made; None where its name is taken."""
    try:
        return await context.cluster.create(JOBS, body)
    except ConflictError:
        return None
    except ApiError as error:
        if error.status in _REFUSALS:
            raise JobRefusedError(error) from error
        raise


def _recorded(body: Object) -> set[str]:
    """The UIDs of Jobs that an object's status names."""
    status = body.get("status") or {}
    rows = [status.get("job") or {}, *(status.get("sources") or [])]
    return {uid for row in rows if (uid := row.get("uid") or row.get("jobUid"))}


async def _events(context: Context, job: Object, pods: list[Object]) -> list[Object]:
    """Events, where only they tell why nothing runs: no pod was made, or the newest does not start."""
    newest = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
    if newest is not None and newest.get("status", {}).get("phase") != "Pending":
        return []
    metadata = job["metadata"]
    about = [metadata["name"], *([newest["metadata"]["name"]] if newest else [])]
    found = await asyncio.gather(
        *(
            context.cluster.list(
                EVENTS, metadata["namespace"], fields={"involvedObject.name": name}
            )
            for name in about
        )
    )
    return [event for events in found for event in events]
