"""What became of a worker's Job, and in people's words why it does not get on.

Reads Job, pods and events as the API gives them, and knows nothing of what the worker works on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CONTAINER = "worker"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a worker from working.

    Attributes:
        reason: one CamelCase word.
        message: what is so, and what to do.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Workload:
    """The state of one worker's Job.

    Attributes:
        finished: no pod runs and none will; what there is to know is known.
        succeeded: it finished, and a worker ended with exit code 0.
        message: the termination message of the pod that decided, or else of the newest one that ended:
            the worker's report, or the end of its log where it died without a word; None if no pod ended.
        finished_at: when it did.
        problem: what to tell people; None where all is well.
    """

    finished: bool = False
    succeeded: bool = False
    finished_at: datetime | None = None
    message: str | None = None
    problem: Problem | None = None


def observe(job: Object, pods: Sequence[Object], events: Sequence[Object] = ()) -> Workload:
    """Read a Job, its pods, and the events about both."""
    pods = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    ended = [(pod, end) for pod in pods if (end := _termination(pod)) is not None]
    done = {
        condition["type"]: condition
        for condition in _list(job, "status", "conditions")
        if condition["status"] == "True"
    }
    succeeded = [end for _, end in ended if end.get("exitCode") == 0]
    decisive = succeeded or [end for _, end in ended]
    end = done.get("Complete") or done.get("Failed")
    return Workload(
        finished=end is not None,
        finished_at=datetime.fromisoformat(end["lastTransitionTime"]) if end else None,
        succeeded="Complete" in done,
        message=decisive[-1].get("message") if decisive else None,
        problem=_problem(job, done.get("Failed"), pods, events),
    )


def _problem(
    job: Object, failed: Object | None, pods: Sequence[Object], events: Sequence[Object]
) -> Problem | None:
    name = job["metadata"]["name"]
    if not pods and failed is None:
        return _refused(name, _about(events, name))
    newest = pods[-1] if pods else None
    problem = newest and _pod_problem(newest, _about(events, newest["metadata"]["name"]))
    if problem:
        return problem
    if failed is not None:
        return _FAILURES.get(failed.get("reason", "")) or Problem(
            "WorkerFailed", failed.get("message") or "The worker's Job failed."
        )
    return None


_FAILURES = {
    "DeadlineExceeded": Problem(
        "DeadlineExceeded",
        "It took longer than the policy's spec.worker.deadline allows and was stopped; "
        "what is stored already is found again by the next one. Raise the deadline, or give it more CPU.",
    ),
    "BackoffLimitExceeded": Problem(
        "WorkerFailed", "The worker failed again and again; its log says more."
    ),
}


def _refused(job: str, events: Sequence[Object]) -> Problem | None:
    """Why the Job's controller cannot make a pod."""
    for event in reversed(events):
        if event.get("reason") != "FailedCreate":
            continue
        message = event.get("message", "")
        if "violates PodSecurity" in message:
            return Problem(
                "PodSecurityForbids",
                "The namespace's Pod Security level forbids this worker. Privilege Root needs a namespace "
                "labelled pod-security.kubernetes.io/enforce=baseline; or use privilege App. "
                f"Kubernetes says: {message}",
            )
        return Problem("PodRefused", f"Kubernetes does not accept the pod of Job {job}: {message}")
    return None


def _pod_problem(pod: Object, events: Sequence[Object]) -> Problem | None:
    status = pod.get("status", {})
    if status.get("reason") == "Evicted":
        return Problem(
            "Evicted", f"The node evicted the worker: {status.get('message', 'no reason given')}"
        )
    end = _termination(pod)
    if end is not None:
        return _end_problem(pod, end)
    return _start_problem(pod, events) if status.get("phase") == "Pending" else None


def _start_problem(pod: Object, events: Sequence[Object]) -> Problem | None:
    for waiting in _waiting(pod):
        if problem := _waiting_problem(waiting):
            return problem
    for condition in _list(pod, "status", "conditions"):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Problem(
                "Unschedulable", f"No node can take the worker: {condition.get('message', '')}"
            )
    for event in reversed(events):
        if event.get("reason") in {"FailedMount", "FailedAttachVolume"}:
            return _mount_problem(event.get("message", ""))
    return None


_NO_SECRET = re.compile(r'secrets? "([^"/]+)" not found')
_NO_KEY = re.compile(r"references non-existent secret key: (\S+)")


def _mount_problem(message: str) -> Problem:
    """What the kubelet says, and where it is a Secret of the policy's, what to do about it.

    Nobody else looks at an organisation's Secrets: so it shows only once a worker needs one.
    """
    if found := _NO_SECRET.search(message):
        return Problem(
            "SecretNotFound",
            f"There is no Secret {found[1]} in the worker's namespace; make it, with the connection string "
            f"under the key that the policy or the request names. Kubernetes says: {message}",
        )
    if found := _NO_KEY.search(message):
        return Problem(
            "SecretKeyNotFound",
            f"A Secret that the policy or the request names has no key {found[1]}; put the connection "
            f"string (postgresql://…) there. Kubernetes says: {message}",
        )
    return Problem("MountFailed", f"A volume or Secret cannot be mounted: {message}")


def _end_problem(pod: Object, end: Object) -> Problem | None:
    if end.get("reason") == "OOMKilled":
        limit = _limits(pod).get("memory", "unlimited")
        return Problem(
            "OutOfMemory",
            f"The worker was killed for want of memory (limit {limit}); "
            "raise spec.worker.resources.limits.memory in the policy.",
        )
    return None


def _waiting_problem(waiting: Object) -> Problem | None:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}:
        return Problem(
            "ImagePullFailed", f"The worker's image cannot be pulled: {message or reason}"
        )
    if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
        return Problem("ContainerFailed", f"The worker's container cannot be started: {message}")
    return None


def _termination(pod: Object) -> Object | None:
    for container in _list(pod, "status", "containerStatuses"):
        if container["name"] == CONTAINER:
            end: Object | None = container.get("state", {}).get("terminated")
            return end
    return None


def _waiting(pod: Object) -> Iterable[Object]:
    for container in _list(pod, "status", "containerStatuses"):
        if waiting := container.get("state", {}).get("waiting"):
            yield waiting


def _limits(pod: Object) -> Object:
    for container in _list(pod, "spec", "containers"):
        limits: Object = container.get("resources", {}).get("limits") or {}
        return limits
    return {}


def _about(events: Sequence[Object], name: str) -> list[Object]:
    mine = [event for event in events if event.get("involvedObject", {}).get("name") == name]
    return sorted(
        mine, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or ""
    )


def _list(found: Object, *path: str) -> list[Object]:
    inner: Any = found
    for key in path:
        inner = inner.get(key) or {}
    return list(inner)
