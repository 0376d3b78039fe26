"""Letting go of all objects before the operator is uninstalled, so that their deletion hangs on nobody.

Kopf puts our finalizer on what it has timers for, and puts it back when it is taken off: so the operator
is stopped first.
"""

import asyncio
import os

import structlog

from weddingbackup import log
from weddingbackup.kube.client import (
    DEPLOYMENTS,
    OUR_KINDS,
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
    """Scale the operator down to nothing, and wait until it is gone.

    Raises:
        TimeoutError: it does not stop.
    """
    nothing = {"spec": {"replicas": 0}}
    await cluster.patch(DEPLOYMENTS, deployment, namespace, nothing, subresource="scale")
    async with asyncio.timeout(_STOP_SECONDS):
        while True:
            found = await cluster.get(DEPLOYMENTS, deployment, namespace)
            if found is None or not (found.get("status") or {}).get("replicas"):
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


async def _run(namespace: str, deployment: str) -> None:
    async with connect() as cluster:
        await stop(cluster, namespace, deployment)
        released = await release(cluster)
        structlog.get_logger().info("finalizers released", objects=released)


def run() -> None:
    """`weddingbackup release-finalizers`; needs WEDDINGBACKUP_NAMESPACE and WEDDINGBACKUP_DEPLOYMENT."""
    log.configure()
    asyncio.run(_run(os.environ["WEDDINGBACKUP_NAMESPACE"], os.environ["WEDDINGBACKUP_DEPLOYMENT"]))
