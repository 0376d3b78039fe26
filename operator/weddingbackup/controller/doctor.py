"""Whether an installation is sound: what is there, and whether what protects it really does.

A person runs it with an administrator's rights. It believes no object's mere presence where it can try:
it offers forged workers to the API server, and has a pod attempt a connection that is forbidden.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from weddingbackup.controller import kits
from weddingbackup.controller.certificates import State
from weddingbackup.kube import organisations
from weddingbackup.kube.client import (
    ADMISSION_BINDINGS,
    ADMISSION_POLICIES,
    DEFINITIONS,
    DEPLOYMENTS,
    JOBS,
    LOCATIONS,
    NAMESPACES,
    NETWORK_POLICIES,
    OUR_KINDS,
    PODS,
    POLICIES,
    SECRETS,
    SERVICE_ACCOUNTS,
    TOKEN_REVIEWS,
    ApiError,
    Cluster,
    Object,
    Resource,
    connect,
)
from weddingbackup.resources import names
from weddingbackup.resources.broker import AUDIENCE
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import guards
from weddingbackup.rules.certificates import LAST_MOMENT

OURS = {"app.kubernetes.io/name": "wedding-backup-operator"}
_ATTEMPT_SECONDS = 90.0
_POLL_SECONDS = 1.0
_SHOWN = 5
_BY_POLICY = "ValidatingAdmissionPolicy"
"""The API server's word for who refused."""
_REACHED, _CUT_OFF = 10, 11
# Reaching the API server shows that the pod has a network at all, and that a silence means something.
_ATTEMPT = f"""
import os, socket, sys
def reaches(host, port):
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True
if not reaches(os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]):
    sys.exit({_CUT_OFF})
sys.exit({_REACHED} if reaches(sys.argv[1], sys.argv[2]) else 0)
"""


class Grade(StrEnum):
    """How bad it is."""

    OK = "Ok"
    WARNING = "Warning"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        message: what is so, and what to do.
    """

    grade: Grade
    subject: str
    message: str


async def run(kubeconfig: str | None, home: str) -> list[Finding]:
    """All findings, in the order in which they are to be read.

    Raises:
        ApiError: the cluster does not answer, or not to this person.
    """
    async with connect(kubeconfig) as cluster:
        return await examine(cluster, home, datetime.now(UTC))


async def examine(cluster: Cluster, home: str, now: datetime) -> list[Finding]:
    """See `run`."""
    return [
        *await _kinds(cluster),
        *await _deployments(cluster, home),
        *await _certificate(cluster, home, now),
        *await _admission(cluster, home),
        *await _forgeries(cluster, home),
        *await _network(cluster, home),
        *await _pod_security(cluster, home),
        *await _tokens(cluster, home),
        *await _organisations(cluster, home),
        *await _locations(cluster),
        *await _kits(cluster, home),
    ]


async def _kinds(cluster: Cluster) -> list[Finding]:
    served = {body["spec"]["names"]["kind"] for body in await cluster.list(DEFINITIONS)}
    missing = sorted({resource.kind for resource in OUR_KINDS} - served)
    if missing:
        message = f"{', '.join(missing)} missing: install the chart with crds.install"
        return [Finding(Grade.FAILED, "kinds", message)]
    return [Finding(Grade.OK, "kinds", f"all {len(OUR_KINDS)} are served")]


async def _deployments(cluster: Cluster, home: str) -> list[Finding]:
    findings = []
    for part in ("operator", "broker"):
        body = await _deployment(cluster, home, part)
        if body is None:
            message = f"there is no Deployment of it in namespace {home}"
            findings.append(Finding(Grade.FAILED, part, message))
            continue
        ready = body.get("status", {}).get("readyReplicas", 0)
        wanted = body["spec"].get("replicas", 1)
        grade = Grade.OK if ready >= wanted > 0 else Grade.WARNING if ready else Grade.FAILED
        message = f"{ready} of {wanted} pods of {body['metadata']['name']} are ready"
        findings.append(Finding(grade, part, message))
    return findings


async def _certificate(cluster: Cluster, home: str, now: datetime) -> list[Finding]:
    subject = "broker's certificate"
    deployment = await _deployment(cluster, home, "broker")
    volumes = deployment["spec"]["template"]["spec"].get("volumes", []) if deployment else []
    mounted = [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
    if not mounted:
        return [Finding(Grade.FAILED, subject, "no broker mounts one")]
    state = State.read(None, await cluster.get(SECRETS, mounted[0], home)).facts()
    serving = state.serving
    if serving is None or not serving.issuer:
        message = f"Secret {mounted[0]} has none that workers believe; the operator mends it"
        return [Finding(Grade.FAILED, subject, message)]
    age, left = now - serving.not_before, serving.not_after - now
    message = f"{age.days} days old, valid for {left.days} more"
    grade = Grade.OK if left > LAST_MOMENT else Grade.FAILED
    return [Finding(grade, subject, message)]


async def _admission(cluster: Cluster, home: str) -> list[Finding]:
    problems = guards.toothless(
        home, await cluster.list(ADMISSION_POLICIES), await cluster.list(ADMISSION_BINDINGS)
    )
    if problems:
        message = (
            f"{'; '.join(problems)}: so people can forge workers. "
            "Install the chart anew, with admission.install"
        )
        return [Finding(Grade.FAILED, "admission policies", message)]
    message = f"all {len(guards.ADMISSION)} are there and bound to refuse"
    return [Finding(Grade.OK, "admission policies", message)]


async def _forgeries(cluster: Cluster, home: str) -> list[Finding]:
    """Forged workers, offered to the API server, which stores none of them."""
    findings = []
    for resource, body in forgeries(home):
        subject = f"a forged {resource.kind}"
        try:
            await cluster.create(resource, body, dry_run=True)
        except ApiError as error:
            if _BY_POLICY in str(error):
                findings.append(Finding(Grade.OK, subject, "is refused"))
            else:
                message = f"could not be tried: {error}"
                findings.append(Finding(Grade.WARNING, subject, message))
        else:
            message = "IS ACCEPTED: whoever may make one in a namespace can pass for its workers"
            findings.append(Finding(Grade.FAILED, subject, message))
    return findings


def forgeries(namespace: str) -> list[tuple[Resource, Object]]:
    """What nobody but the operator may make."""
    name = f"doctor-{secrets.token_hex(4)}"
    labels = {names.LABEL_TASK: "backup"}
    metadata: Object = {"name": name, "namespace": namespace, "labels": labels}
    pod = _pod_spec("none", "doctor", [])
    account = {"name": names.WORKER_ACCOUNT, "namespace": namespace}
    job = {"template": {"spec": {**pod, "serviceAccountName": names.WORKER_ACCOUNT}}}
    return [
        (resource, {"apiVersion": resource.api_version, "kind": resource.kind, **body})
        for resource, body in (
            (PODS, {"metadata": metadata, "spec": pod}),
            (JOBS, {"metadata": {**metadata, "labels": {}}, "spec": job}),
            (SERVICE_ACCOUNTS, {"metadata": account}),
        )
    ]


async def _network(cluster: Cluster, home: str) -> list[Finding]:
    subject = "network policies"
    if not await cluster.list(NETWORK_POLICIES, home, labels=OURS):
        message = f"there are none in {home}: install the chart with networkPolicies.enabled"
        return [Finding(Grade.WARNING, subject, message)]
    brokers = await cluster.list(
        PODS, home, labels={**OURS, "app.kubernetes.io/component": "broker"}
    )
    ready = [pod for pod in brokers if _is_ready(pod)]
    if not ready:
        message = "no broker is ready, so it cannot be tried whether they are enforced"
        return [Finding(Grade.WARNING, subject, message)]
    container = ready[0]["spec"]["containers"][0]
    target = [ready[0]["status"]["podIP"], str(container["ports"][0]["containerPort"])]
    try:
        code = await _attempt(cluster, home, container["image"], target)
    except ApiError as error:
        return [Finding(Grade.WARNING, subject, f"could not be tried: {error}")]
    if code == 0:
        message = "are enforced: a pod that is no worker did not reach the broker"
        return [Finding(Grade.OK, subject, message)]
    if code == _REACHED:
        message = (
            "are NOT ENFORCED: a pod that is no worker reached the broker. The cluster's network "
            "has to support NetworkPolicy, or nothing walls workers off"
        )
        return [Finding(Grade.WARNING, subject, message)]
    why = {
        None: f"within {_ATTEMPT_SECONDS:g} s no pod that was to try it came to its end: look whether "
        "the image comes, and whether there is room",
        _CUT_OFF: "the pod that was to try it did not even reach the API server: look at the "
        f"cluster's network, and at NetworkPolicies in {home} that are not the chart's",
    }
    message = (
        f"could not be tried: {why.get(code, f'the pod that was to try it ended with {code}')}"
    )
    return [Finding(Grade.WARNING, subject, message)]


async def _attempt(cluster: Cluster, home: str, image: str, target: list[str]) -> int | None:
    """How a pod ended that tried what the policies forbid; None if it never did."""
    name = f"doctor-{secrets.token_hex(4)}"
    command = ["python3", "-c", _ATTEMPT, *target]
    body: Object = {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {"name": name, "namespace": home},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(_ATTEMPT_SECONDS),
            "ttlSecondsAfterFinished": 60,
            "template": {"spec": _pod_spec(image, "attempt", command)},
        },
    }
    await cluster.create(JOBS, body)
    try:
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            while True:
                pods = await cluster.list(PODS, home, labels={"batch.kubernetes.io/job-name": name})
                for code in map(_exit_code, pods):
                    if code is not None:
                        return code
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return None
    finally:
        await cluster.delete(JOBS, name, home)


async def _pod_security(cluster: Cluster, home: str) -> list[Finding]:
    namespace = await cluster.get(NAMESPACES, home)
    label = guards.ENFORCE
    level = ((namespace or {}).get("metadata", {}).get("labels") or {}).get(label)
    if level == "restricted":
        return [Finding(Grade.OK, "pod security", f"{home} is held to the restricted level")]
    message = f"{home} is not held to the restricted level: kubectl label namespace {home} {label}=restricted"
    return [Finding(Grade.WARNING, "pod security", message)]


async def _tokens(cluster: Cluster, home: str) -> list[Finding]:
    """The first half of a worker's way to the broker: a token for it, and the word whose it is.

    The second half cannot be gone from here: who has a token of a worker's account is a worker's pod.
    """
    subject = "tokens for the broker"
    try:
        token = await cluster.token("default", home, AUDIENCE)
        spec = {"token": token, "audiences": [AUDIENCE]}
        kind = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind}
        review = await cluster.create(TOKEN_REVIEWS, {**kind, "metadata": {}, "spec": spec})
    except ApiError as error:
        return [Finding(Grade.WARNING, subject, f"could not be tried: {error}")]
    status = review.get("status") or {}
    if status.get("authenticated") and AUDIENCE in (status.get("audiences") or ()):
        message = (
            f"are given and recognised for audience {AUDIENCE}. Whether the broker lets a worker in is "
            "shown by a backup alone: nobody but a worker's pod may have its token"
        )
        return [Finding(Grade.OK, subject, message)]
    why = status.get("error") or "it says nothing of that audience"
    message = (
        f"are NOT RECOGNISED by the API server that gave one ({why}): the broker lets no worker in. An "
        "authenticator of the cluster's own has to know audiences, too"
    )
    return [Finding(Grade.FAILED, subject, message)]


async def _organisations(cluster: Cluster, home: str) -> list[Finding]:
    """What is to be in effect in the namespaces that have policies."""
    bodies = [WeddingBackupPolicy.model_validate(body) for body in await cluster.list(POLICIES)]
    places = sorted({body.metadata.namespace or "" for body in bodies} - {home})
    if not places:
        return []
    lax = guards.lax(await cluster.list(NAMESPACES), bodies)
    lax.pop(home, None)
    commands = [f"kubectl label namespace {name} {guards.ENFORCE}={x}" for name, x in lax.items()]
    asks = bool(await cluster.list(NETWORK_POLICIES, home, labels=OURS))
    walled = {name: await organisations.is_walled(cluster, name) for name in places}
    open_ = [name for name, there in walled.items() if there is False] if asks else []
    forges = {name: await _lets_forge(cluster, name) for name in places}
    gives = {name: await _gives(cluster, name) for name in places if walled[name] is not None}
    forged = [name for name in places if forges[name]]
    given = [name for name, is_given in gives.items() if is_given]
    untried = sorted({name for each in (forges, gives) for name, x in each.items() if x is None})
    return [
        *(
            [
                Finding(
                    Grade.WARNING,
                    "organisations",
                    f"could not be tried in {_some(untried)}: "
                    "something other than the admission policies refused; try as an administrator",
                )
            ]
            if untried
            else []
        ),
        _among(
            *(places, forged, Grade.FAILED, "organisations' admission"),
            "accept a forged worker's pod: look at matchResources of the policies' bindings",
        ),
        _among(
            *(places, given, Grade.FAILED, "organisations' tokens"),
            "give people a token of the workers' account: look at the policy worker-tokens",
        ),
        _among(
            *(places, [*lax], Grade.WARNING, "organisations' pod security"),
            f"do not hold pods to the level that workers keep to: {_some(commands, '; ')}",
        ),
        _among(
            *(places, open_, Grade.WARNING, "organisations' network policies"),
            f"lack NetworkPolicy {names.WORKER_ACCOUNT}, or it was changed: the next job there puts "
            "it right; ask who did that",
        ),
    ]


def _among(places: list[str], bad: list[str], grade: Grade, subject: str, message: str) -> Finding:
    if not bad:
        return Finding(Grade.OK, subject, f"nothing is amiss in {len(places)} with policies")
    return Finding(grade, subject, f"{len(bad)} of {len(places)} ({_some(bad)}) {message}")


async def _lets_forge(cluster: Cluster, namespace: str) -> bool | None:
    """None where nobody knows: what refused it was not the admission policies."""
    resource, body = forgeries(namespace)[0]
    try:
        await cluster.create(resource, body, dry_run=True)
    except ApiError as error:
        return False if _BY_POLICY in str(error) else None
    return True


async def _gives(cluster: Cluster, namespace: str) -> bool | None:
    """See `_lets_forge`; a token that is given is let go of at once."""
    try:
        await cluster.token(names.WORKER_ACCOUNT, namespace, AUDIENCE)
    except ApiError as error:
        return False if _BY_POLICY in str(error) else None
    return True


async def _locations(cluster: Cluster) -> list[Finding]:
    findings = []
    for body in await cluster.list(LOCATIONS):
        status = body.get("status") or {}
        phase = status.get("phase") or "not yet examined"
        message = phase if phase == "Healthy" else f"{phase}: {status.get('message', '')}"
        grade = Grade.OK if phase == "Healthy" else Grade.WARNING
        findings.append(Finding(grade, f"location {body['metadata']['name']}", message))
    return findings or [Finding(Grade.WARNING, "locations", "none is registered")]


async def _kits(cluster: Cluster, home: str) -> list[Finding]:
    vaults = await kits.standings(cluster, home)
    bare = [vault for vault in vaults if not vault.coverage.covered]
    if not bare:
        message = f"all {len(vaults)} vaults are covered by an exported kit"
        return [Finding(Grade.OK, "recovery kits", message)]
    some = _some([f"{vault.namespace}/{vault.policy}" for vault in bare])
    message = (
        f"{len(bare)} of {len(vaults)} vaults are lost with the cluster ({some}): "
        "weddingbackup recovery-kit export"
    )
    return [Finding(Grade.WARNING, "recovery kits", message)]


def _some(every: list[str], between: str = ", ") -> str:
    return between.join([*every[:_SHOWN], *(["…"] if len(every) > _SHOWN else [])])


async def _deployment(cluster: Cluster, home: str, component: str) -> Object | None:
    labels = {**OURS, "app.kubernetes.io/component": component}
    return next(iter(await cluster.list(DEPLOYMENTS, home, labels=labels)), None)


def _is_ready(pod: Object) -> bool:
    status: dict[str, Any] = pod.get("status") or {}
    conditions = status.get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _exit_code(pod: Object) -> int | None:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = container["state"].get("terminated")
        if ended:
            code: int = ended["exitCode"]
            return code
    return None


def _pod_spec(image: str, name: str, command: list[str]) -> Object:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": name,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"memory": "64Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
