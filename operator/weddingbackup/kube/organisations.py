"""What the operator reads of an organisation's namespace, and keeps there for its workers."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from weddingbackup.kube.client import (
    NAMESPACES,
    NETWORK_POLICIES,
    SERVICE_ACCOUNTS,
    ApiError,
    Cluster,
    ConflictError,
    Object,
)
from weddingbackup.resources import names


@dataclass(frozen=True, slots=True)
class Organisation:
    """A namespace, told from a later one of the same name by its uid."""

    namespace: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


async def read(cluster: Cluster, namespace: str) -> Organisation:
    """The organisation whose namespace this is.

    Raises:
        ApiError: it is gone.
    """
    found = await cluster.get(NAMESPACES, namespace)
    if found is None:
        raise ApiError(f"namespace {namespace} is gone", status=404, reason="NotFound")
    metadata = found["metadata"]
    return Organisation(
        namespace,
        metadata["uid"],
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
    )


async def uids(cluster: Cluster, namespaces: Iterable[str]) -> dict[str, str]:
    """The UIDs of those that are there, by name."""
    found = await asyncio.gather(*(cluster.get(NAMESPACES, name) for name in namespaces))
    return {body["metadata"]["name"]: body["metadata"]["uid"] for body in found if body is not None}


async def prepare(cluster: Cluster, namespace: str, *, network_policy: bool) -> None:
    """Have there what workers need in an organisation's namespace: an account and a wall around them."""
    account = {
        "apiVersion": SERVICE_ACCOUNTS.api_version,
        "kind": SERVICE_ACCOUNTS.kind,
        "metadata": _metadata(namespace),
        "automountServiceAccountToken": False,
    }
    with suppress(ConflictError):  # admission lets nobody else make it
        await cluster.create(SERVICE_ACCOUNTS, account)
    if network_policy:
        await _wall(cluster, namespace)


async def is_walled(cluster: Cluster, namespace: str) -> bool | None:
    """Whether the wall around workers is as it was made; None where no worker was ever prepared for."""
    if await cluster.get(SERVICE_ACCOUNTS, names.WORKER_ACCOUNT, namespace) is None:
        return None
    there = await cluster.get(NETWORK_POLICIES, names.WORKER_ACCOUNT, namespace)
    return there is not None and there["spec"] == _spec()


async def _wall(cluster: Cluster, namespace: str) -> None:
    spec = _spec()
    body = {
        "apiVersion": NETWORK_POLICIES.api_version,
        "kind": NETWORK_POLICIES.kind,
        "metadata": _metadata(namespace),
        "spec": spec,
    }
    try:
        await cluster.create(NETWORK_POLICIES, body)
    except ConflictError:
        there = await cluster.get(NETWORK_POLICIES, names.WORKER_ACCOUNT, namespace)
        if there is not None and there["spec"] != spec:
            await cluster.patch(NETWORK_POLICIES, names.WORKER_ACCOUNT, namespace, {"spec": spec})


def _metadata(namespace: str) -> Object:
    return {
        "name": names.WORKER_ACCOUNT,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": names.MANAGER},
    }


def _spec() -> Object:
    """Nobody reaches workers; they reach storage, databases and the broker, and no cloud's metadata.

    Pods are named beside addresses: some networks take addresses for those outside of the cluster.
    """
    everywhere = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::/32"]}},
        {"namespaceSelector": {}},
    ]
    # A node's own cache of names has a link-local address.
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return {
        "podSelector": {"matchExpressions": [{"key": names.LABEL_TASK, "operator": "Exists"}]},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": everywhere}, {"ports": dns}],
    }
