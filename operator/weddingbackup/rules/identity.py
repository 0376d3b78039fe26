"""Whose worker shows a token: from a TokenReview, step by step, to the object whose status names its Job.

Each step believes only what the one before has proved, and the last word is a status, which tenants
cannot write. What a pod or a Job says of itself by labels, names or environment counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weddingbackup.resources import names
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.broker import AUDIENCE
from weddingbackup.resources.recovery_request import Phase as RecoveryPhase
from weddingbackup.resources.recovery_request import RecoveryRequest, SourceStatus
from weddingbackup.rules import stages
from weddingbackup.rules.backup import worked

Object = Mapping[str, Any]

_ACCOUNT = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class UnknownError(Exception):
    """This is no worker of a job that is under way; the message says at which step that showed."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An object by its name, and by its UID told from others of that name."""

    kind: str
    namespace: str
    name: str
    uid: str


def bearer(review: Object) -> Reference:
    """The pod that a reviewed token is bound to.

    Raises:
        UnknownError: the token is not valid for us, not a worker's, or bound to no pod.
    """
    status = review.get("status") or {}
    if not status.get("authenticated"):
        raise UnknownError("the token is not valid")
    if AUDIENCE not in (status.get("audiences") or ()):
        raise UnknownError("the token is for somebody else")
    user = status.get("user") or {}
    name: str = user.get("username") or ""
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    if not name.startswith(_ACCOUNT) or account != names.WORKER_ACCOUNT:
        raise UnknownError("the token is none of a worker's ServiceAccount")
    extra = user.get("extra") or {}
    pod, uid = list(extra.get(_POD_NAME) or []), list(extra.get(_POD_UID) or [])
    if len(pod) != 1 or len(uid) != 1:
        raise UnknownError("the token is bound to no pod")
    return Reference("Pod", namespace, pod[0], uid[0])


def job_of(wanted: Reference, pod: Object | None) -> Reference:
    """The Job that a pod belongs to.

    Raises:
        UnknownError: the pod is gone or going, or is no worker.
    """
    found = _same(wanted, pod)
    if found.get("deletionTimestamp"):
        raise UnknownError("the pod is being deleted")
    assert pod is not None
    if (pod.get("status") or {}).get("phase") not in {"Pending", "Running"}:
        raise UnknownError("the pod has ended")
    if (pod.get("spec") or {}).get("serviceAccountName") != names.WORKER_ACCOUNT:
        raise UnknownError("the pod does not run as a worker")
    return _controller(wanted.namespace, found, {"Job": "batch/v1"})


def owner_of(wanted: Reference, job: Object | None) -> Reference:
    """The BackupJob or RecoveryRequest that a Job is for.

    Raises:
        UnknownError: the Job is gone, has ended, or is for something else.
    """
    found = _same(wanted, job)
    assert job is not None
    ended = {
        condition["type"]
        for condition in (job.get("status") or {}).get("conditions") or ()
        if condition["status"] == "True"
    } & {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}
    if ended or found.get("deletionTimestamp"):
        raise UnknownError("the Job has ended")
    kinds = {"BackupJob": names.API_VERSION, "RecoveryRequest": names.API_VERSION}
    return _controller(wanted.namespace, found, kinds)


def backup_under_way(wanted: Reference, job: Reference, backup: BackupJob) -> None:
    """Let pass the Job that a running backup's status names.

    Raises:
        UnknownError: the status does not.
    """
    if backup.metadata.uid != wanted.uid:
        raise UnknownError("the BackupJob is another one")
    if backup.status.job is None or not job.uid or backup.status.job.uid != job.uid:
        raise UnknownError("the BackupJob's status names another Job")
    if backup.status.phase is not BackupPhase.RUNNING or backup.spec.cancel:
        raise UnknownError("the BackupJob is not under way")
    if worked(backup.status) is not None:
        raise UnknownError("the BackupJob's worker has ended")


def recovery_under_way(wanted: Reference, job: Reference, request: RecoveryRequest) -> SourceStatus:
    """The source that a Job of a running recovery brings back, by the request's status.

    Raises:
        UnknownError: the status names no such Job, or the source is done.
    """
    if request.metadata.uid != wanted.uid:
        raise UnknownError("the RecoveryRequest is another one")
    rows = [row for row in request.status.sources if row.job_uid and row.job_uid == job.uid]
    if len(rows) != 1:
        raise UnknownError("the RecoveryRequest's status names another Job")
    if request.status.phase is not RecoveryPhase.RECOVERING or request.spec.cancel:
        raise UnknownError("the RecoveryRequest is not under way")
    if rows[0].phase in stages.OVER:
        raise UnknownError("the source's recovery has ended")
    return rows[0]


def _same(wanted: Reference, found: Object | None) -> Object:
    """The metadata of the very object that is meant."""
    metadata: Object = (found or {}).get("metadata") or {}
    if metadata.get("uid") != wanted.uid:
        raise UnknownError(f"the {wanted.kind} is gone")
    return metadata


def _controller(namespace: str, metadata: Object, kinds: Mapping[str, str]) -> Reference:
    controllers = [
        each for each in metadata.get("ownerReferences") or () if each.get("controller") is True
    ]
    if len(controllers) != 1 or kinds.get(controllers[0]["kind"]) != controllers[0]["apiVersion"]:
        raise UnknownError(f"it belongs to no {' or '.join(kinds)}")
    found = controllers[0]
    return Reference(found["kind"], namespace, found["name"], found["uid"])
