"""Workers' Jobs as the reconciles see them: looked up with all that tells how they are, made, and removed."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from weddingbackup.controller.context import Context
from weddingbackup.kube.client import EVENTS, JOBS, PODS, ApiError, ConflictError, Object
from weddingbackup.kube.jobs import Shape, is_owned_by
from weddingbackup.resources.reports import ProgressLine
from weddingbackup.resources.wedding_backup_policy import Worker
from weddingbackup.rules.workload import CONTAINER, Problem, Workload, newest_progress, observe

_LOG_LINES = 20
_DEFAULT_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}


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
        progress: what the worker said last; None where it says nothing.
        pods: how many pods it has tried.
    """

    body: Object
    workload: Workload
    progress: ProgressLine | None
    pods: int


async def look(context: Context, name: str, owner_uid: str | None) -> Seen | None:
    """A Job of ours by its name; None where there is none.

    Raises:
        NameTakenError: the one of that name does not belong to `owner_uid`.
    """
    job = await context.cluster.get(JOBS, name, context.home)
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    if owner_uid is not None and not is_owned_by(job, owner_uid):
        raise NameTakenError(name, context.home)
    selector = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
    pods = await context.cluster.list(PODS, context.home, labels=selector)
    workload = observe(job, pods, await _events(context, job, pods))
    progress = None
    if workload.running is not None and not workload.finished:
        log = await context.cluster.log(workload.running, context.home, CONTAINER, lines=_LOG_LINES)
        progress = newest_progress(log)
    return Seen(job, workload, progress, len(pods))


async def create(context: Context, body: Object, owner_uid: str | None) -> Object:
    """Make a Job; one of the same name that is ours is as good (the operator was killed after making it).

    Raises:
        NameTakenError: the one of that name is not ours.
        JobRefusedError: the API server does not accept it.
    """
    try:
        return await context.cluster.create(JOBS, body)
    except ConflictError:
        name = body["metadata"]["name"]
        there = await context.cluster.get(JOBS, name, context.home)
        if there is None:
            raise
        if owner_uid is not None and not is_owned_by(there, owner_uid):
            raise NameTakenError(name, context.home) from None
        return there
    except ApiError as error:
        if error.status in _REFUSALS:
            raise JobRefusedError(error) from error
        raise


async def remove(context: Context, seen: Seen) -> None:
    """Delete a Job and its pods."""
    metadata = seen.body["metadata"]
    await context.cluster.delete(JOBS, metadata["name"], context.home, uid=metadata["uid"])


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


async def _events(context: Context, job: Object, pods: list[Object]) -> list[Object]:
    """Events, where only they tell why nothing runs: no pod was made, or the newest does not start."""
    newest = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
    if newest is not None and newest.get("status", {}).get("phase") != "Pending":
        return []
    about = [job["metadata"]["name"], *([newest["metadata"]["name"]] if newest else [])]
    found = await asyncio.gather(
        *(
            context.cluster.list(EVENTS, context.home, fields={"involvedObject.name": name})
            for name in about
        )
    )
    return [event for events in found for event in events]
