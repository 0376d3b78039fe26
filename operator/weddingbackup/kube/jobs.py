"""Builds the Jobs that workers run in: pure, the same Job for the same parent, however often it is asked.

A worker holds no Kubernetes right. Its pod keeps to the restricted Pod Security Standard; with
privilege Root, which keeps the owners of restored files, to baseline.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from weddingbackup.kube.client import JOBS, Object
from weddingbackup.resources import names, tasks
from weddingbackup.resources.base import Model
from weddingbackup.resources.common import Privilege
from weddingbackup.resources.reports import ExitCode
from weddingbackup.rules.workload import CONTAINER

_NAME_LIMIT = 63
_DIGEST = 8
_USER = 65532
"""Who a worker is where the policy does not say: nobody in particular."""
_READABLE = 0o444
"""A Secret's files in the pod; it has one container, and no other user to hide them from."""
_KEEP_FINISHED_SECONDS = 3600
_RETRIES = 6
_ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""What restoring owners, modes, device nodes and file capabilities takes; baseline allows all of them."""


class Work(StrEnum):
    """What a worker does, in the command line's words."""

    BACKUP = "backup"
    RESTORE = "restore"
    COPY = "copy"
    ERASE = "erase"


_REPEATABLE = frozenset({Work.BACKUP, Work.COPY})
"""Work that finds what it did before. Their finished Jobs are many, and may be cleaned away before
their owners; a restore whose Job is gone would run again, over what was written since."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What all workers of this operator share."""

    namespace: str
    image: str
    service_account: str
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one worker's pod runs: a policy's spec.worker, or the platform's own choice.

    Attributes:
        resources: requests and limits, as in a container.
        deadline_seconds: after which the Job is stopped, retries included.
    """

    privilege: Privilege = Privilege.APP
    resources: Mapping[str, Any] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    deadline_seconds: int = 6 * 3600


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume of a worker's pod.

    Attributes:
        source: the volume's source, as in a pod's spec.volumes.
    """

    path: str
    source: Mapping[str, Any]
    read_only: bool = True


def kit_mount(secret: str) -> Mount:
    """The vault's keys."""
    return Mount(
        tasks.KIT_FILE.rpartition("/")[0],
        {"secret": {"secretName": secret, "defaultMode": _READABLE}},
    )


def location_mount(location: str, credentials: str, authorities: str | None) -> Mount:
    """A location's credentials, and beside them the authorities to trust where it has its own."""
    sources: list[Object] = [{"secret": {"name": credentials}}]
    if authorities is not None:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        sources.append({"secret": {"name": authorities, "items": items}})
    return Mount(
        tasks.location_directory(location),
        {"projected": {"sources": sources, "defaultMode": _READABLE}},
    )


def connection_mount(source: str, secret: str, key: str) -> Mount:
    """A database's connection string, under the one name that workers look for."""
    items = [{"key": key, "path": "uri"}]
    return Mount(
        tasks.source_directory(source),
        {"secret": {"secretName": secret, "items": items, "defaultMode": _READABLE}},
    )


def claim_mount(source: str, claim: str, *, read_only: bool) -> Mount:
    """A source's files.

    A claim mounted read-only is never given a new group by the kubelet: a backup changes nothing.
    """
    return Mount(
        tasks.data_directory(source),
        {"persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}},
        read_only=read_only,
    )


def job_name(prefix: str, *parts: str, uid: str) -> str:
    """A Job's name, made of its parent alone: making it twice makes it once."""
    tail = hashlib.sha256("/".join([*parts, uid]).encode()).hexdigest()[:_DIGEST]
    readable = "-".join([prefix, *parts])[: _NAME_LIMIT - _DIGEST - 1].rstrip("-.")
    return f"{readable}-{tail}".replace(".", "-")


def worker_job(
    name: str,
    work: Work,
    task: Model,
    *,
    platform: Platform,
    shape: Shape,
    mounts: Sequence[Mount],
    labels: Mapping[str, str],
    owner: Object | None,
    suspended: bool = False,
) -> Object:
    """A Job for one task.

    Args:
        name: see `job_name`.
        work: the worker's command.
        task: what it is told; it holds no secret.
        platform: what all workers share.
        shape: how this one runs.
        mounts: what it sees.
        labels: for the Job and its pod.
        owner: the object that it goes with when that is deleted; None: it belongs to nobody.
        suspended: make it without starting it.
    """
    labels = {"app.kubernetes.io/managed-by": names.MANAGER, names.LABEL_TASK: work.value, **labels}
    metadata: Object = {"name": name, "namespace": platform.namespace, "labels": labels}
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": metadata,
        "spec": {
            "suspend": suspended,
            "backoffLimit": _RETRIES,
            "activeDeadlineSeconds": shape.deadline_seconds,
            **({"ttlSecondsAfterFinished": _KEEP_FINISHED_SECONDS} if work in _REPEATABLE else {}),
            # The next attempt starts when the last one is truly gone: never two writers of one job.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": [int(ExitCode.REFUSED)],
                        },
                    },
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(work, task, platform, shape, mounts),
            },
        },
    }


def owner_reference(owner: Object) -> Object:
    """A reference to the object that another one belongs to."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_owned_by(body: Object, uid: str) -> bool:
    """Whether an object found under a name of ours is ours indeed."""
    references = body["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == uid for reference in references)


def _pod(
    work: Work, task: Model, platform: Platform, shape: Shape, mounts: Sequence[Mount]
) -> Object:
    volumes = [{"name": f"v{number}", **mount.source} for number, mount in enumerate(mounts)]
    return {
        "restartPolicy": "Never",
        "serviceAccountName": platform.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": dict(shape.node_selector),
        "tolerations": [dict(toleration) for toleration in shape.tolerations],
        "securityContext": _pod_security(shape),
        "containers": [
            {
                "name": CONTAINER,
                "image": platform.image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["worker", work.value],
                "env": [
                    {"name": tasks.VARIABLE, "value": task.to_json()},
                    {"name": "WEDDINGBACKUP_LOG_LEVEL", "value": platform.log_level},
                    {"name": "TMPDIR", "value": tasks.SCRATCH},
                ],
                "resources": dict(shape.resources),
                # A worker that dies without a report leaves the end of its log instead.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": _container_security(shape.privilege),
                "volumeMounts": [
                    {"name": "scratch", "mountPath": tasks.SCRATCH},
                    *(
                        {"name": f"v{number}", "mountPath": mount.path, "readOnly": mount.read_only}
                        for number, mount in enumerate(mounts)
                    ),
                ],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
    }


def _pod_security(shape: Shape) -> Object:
    body: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if shape.privilege is Privilege.ROOT:
        return {**body, "runAsUser": 0, "runAsGroup": 0}
    user = _USER if shape.run_as_user is None else shape.run_as_user
    body |= {"runAsNonRoot": True, "runAsUser": user}
    body["runAsGroup"] = user if shape.run_as_group is None else shape.run_as_group
    if shape.fs_group is not None:
        # A volume with millions of files is not walked through at every start.
        body |= {"fsGroup": shape.fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    return body


def _container_security(privilege: Privilege) -> Object:
    capabilities: Object = {"drop": ["ALL"]}
    if privilege is Privilege.ROOT:
        capabilities["add"] = list(_ROOT_CAPABILITIES)
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": capabilities,
    }
