"""Letting go of all objects before the operator is uninstalled, so that their deletion hangs on nobody.

Kopf puts our finalizer on what it has timers for, and puts it back when it is taken off: so the operator
is stopped first.
"""

import asyncio

from weddingbackup.kube.client import (
    DEPLOYMENTS,
    OUR_KINDS,
    PODS,
    Cluster,
    ConflictError,
    Object,
    Resource,
    connect,
)
from weddingbackup.resources import names

_POLL_SECONDS = 1.0
_STOP_SECONDS = 120.0


async def stop(cluster: Cluster, namespace: str, deployment: str) -> None:
    """Scale the operator down to nothing, and wait until its last pod is gone.

    A pod that is still ending counts: until its last moment it would put finalizers back.

    Raises:
        TimeoutError: it does not stop.
    """
    found = await cluster.get(DEPLOYMENTS, deployment, namespace)
    if found is None:
        return
    nothing = {"spec": {"replicas": 0}}
    await cluster.patch(DEPLOYMENTS, deployment, namespace, nothing, subresource="scale")
    labels = found["spec"]["selector"]["matchLabels"]
    async with asyncio.timeout(_STOP_SECONDS):
        while True:
            if not await cluster.list(PODS, namespace, labels=labels):
                return
            await asyncio.sleep(_POLL_SECONDS)


async def release(cluster: Cluster) -> int:
    """Take our finalizer off every object of ours; how many had it. Recovery points stay where they are."""
    released = 0
    for resource in OUR_KINDS:
        for body in await cluster.list(resource):
            while names.FINALIZER in (body["metadata"].get("finalizers") or []):
                try:
                    await _release(cluster, resource, body)
                except ConflictError:
                    metadata = body["metadata"]
                    fresh = await cluster.get(resource, metadata["name"], metadata.get("namespace"))
                    if fresh is None:
                        break
                    body = fresh  # noqa: PLW2901  the same object, read again
                    continue
                released += 1
                break
    return released


async def _release(cluster: Cluster, resource: Resource, body: Object) -> None:
    metadata = body["metadata"]
    others = [name for name in metadata["finalizers"] if name != names.FINALIZER]
    patch = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}}
    await cluster.patch(resource, metadata["name"], metadata.get("namespace"), patch)


async def run(kubeconfig: str | None, namespace: str | None, deployment: str | None) -> int:
    """Stop the operator where its Deployment is named, and let go of all objects; how many there were."""
    async with connect(kubeconfig) as cluster:
        if namespace and deployment:
            await stop(cluster, namespace, deployment)
        return await release(cluster)
