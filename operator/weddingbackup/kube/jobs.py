"""Builds the Jobs that workers run in: pure, the same Job for the same parent, however often it is asked.

A worker holds no Kubernetes right. Its pod keeps to the restricted Pod Security Standard; with
privilege Root, which keeps the owners of restored files, to baseline.

Backup and restore run in their organisation's namespace, with a token for the broker and nothing
else; copy and erase run in the operator's, with locations' credentials, for objects anywhere.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from weddingbackup.kube.client import BACKUPS, JOBS, POLICIES, REQUESTS, Object, Resource
from weddingbackup.resources import broker, names, tasks
from weddingbackup.resources.base import Model
from weddingbackup.resources.common import Privilege
from weddingbackup.resources.kind import Kind
from weddingbackup.resources.reports import ExitCode
from weddingbackup.rules.quotas import Quotas
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
    CHECK = "check"
    COLLECT = "collect"
    ERASE = "erase"


AT_HOME = frozenset({Work.COPY, Work.CHECK, Work.COLLECT, Work.ERASE})
"""Work for which credentials are mounted, and so never beside an organisation's people."""

OWNER = f"{names.GROUP}/owner"
"""Annotation of a Job in the operator's namespace: what it works for, as kind/namespace/name."""

_REPEATABLE = frozenset({Work.BACKUP, Work.COPY, Work.CHECK, Work.COLLECT})
"""Work that finds what it did before. Their finished Jobs are many, and may be cleaned away before
their owners; a restore whose Job is gone would run again, over what was written since."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What all workers of this operator share.

    Attributes:
        namespace: the operator's own.
        service_account: of those workers that run there.
        broker_url: https://…, without a path.
        broker_secret: in the operator's namespace; its ca.crt says who vouches for the broker.
        broker_authority: the Secret beside it with the authority's key.
        network_policies: keep one for the workers in each organisation's namespace.
        quotas: of organisations whose namespaces say nothing else.
    """

    namespace: str
    image: str
    service_account: str
    log_level: str = "INFO"
    broker_url: str = ""
    broker_secret: str = ""
    broker_authority: str = ""
    network_policies: bool = False
    quotas: Quotas = field(default_factory=Quotas)


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that a Job works for."""

    resource: Resource
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, resource: Resource, found: Kind) -> "Owner":
        """The object itself."""
        metadata = found.metadata
        return cls(resource, metadata.namespace or "", metadata.name, metadata.uid)


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


def token_mount() -> Mount:
    """The token that opens the broker, and nothing else; the kubelet renews it."""
    directory, _, file = tasks.TOKEN_FILE.rpartition("/")
    token = {
        "audience": broker.AUDIENCE,
        "expirationSeconds": broker.TOKEN_SECONDS,
        "path": file,
    }
    sources = [{"serviceAccountToken": token}]
    return Mount(directory, {"projected": {"sources": sources, "defaultMode": _READABLE}})


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
    owner: Owner,
    suspended: bool = False,
) -> Object:
    """A Job for one task.

    Those of an organisation's namespace are owned by the object there that they work for. Kubernetes
    knows no owners across namespaces: Jobs in the operator's tell theirs by a label and an annotation.

    Args:
        name: see `job_name`.
        work: the worker's command; it says where the Job runs.
        task: what it is told; it holds no secret.
        platform: what all workers share.
        shape: how this one runs.
        mounts: what it sees.
        labels: for the Job and its pod.
        owner: what it works for.
        suspended: make it without starting it.
    """
    labels = {"app.kubernetes.io/managed-by": names.MANAGER, names.LABEL_TASK: work.value, **labels}
    metadata: Object = {"name": name, "labels": labels}
    if work in AT_HOME:
        metadata["namespace"] = platform.namespace
        metadata["labels"] = {**labels, names.LABEL_OWNER: owner.uid}
        metadata["annotations"] = {OWNER: f"{owner.resource.kind}/{owner.namespace}/{owner.name}"}
    else:
        metadata["namespace"] = owner.namespace
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner.resource.api_version,
                "kind": owner.resource.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
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


def is_owned_by(body: Object, uid: str) -> bool:
    """Whether an object found under a name of ours says that it is ours."""
    metadata = body["metadata"]
    references = metadata.get("ownerReferences") or []
    return (metadata.get("labels") or {}).get(names.LABEL_OWNER) == uid or any(
        reference["uid"] == uid for reference in references
    )


def owner_of(job: Object, home: str) -> Owner | None:
    """What a Job works for, as it says itself; None where it says nothing of ours."""
    metadata = job["metadata"]
    if metadata["namespace"] == home and names.LABEL_OWNER in (metadata.get("labels") or {}):
        kind, _, rest = (metadata.get("annotations") or {}).get(OWNER, "").partition("/")
        namespace, _, name = rest.partition("/")
        uid = metadata["labels"][names.LABEL_OWNER]
        return Owner(_KINDS[kind], namespace, name, uid) if kind in _KINDS else None
    for reference in metadata.get("ownerReferences") or []:
        resource = _KINDS.get(reference["kind"])
        if resource is not None and reference["apiVersion"] == resource.api_version:
            return Owner(resource, metadata["namespace"], reference["name"], reference["uid"])
    return None


_KINDS = {resource.kind: resource for resource in (POLICIES, BACKUPS, REQUESTS)}


def _pod(
    work: Work, task: Model, platform: Platform, shape: Shape, mounts: Sequence[Mount]
) -> Object:
    if work not in AT_HOME:
        mounts = [token_mount(), *mounts]
    volumes = [{"name": f"v{number}", **mount.source} for number, mount in enumerate(mounts)]
    return {
        "restartPolicy": "Never",
        "serviceAccountName": (
            platform.service_account if work in AT_HOME else names.WORKER_ACCOUNT
        ),
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
