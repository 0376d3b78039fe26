"""`weddingbackup release-finalizers`: so that an uninstalled operator leaves nothing undeletable.

Objects of ours carry a finalizer, which only the operator takes off. Once it is gone for good
nobody would, and they, and with them their namespaces, could never be deleted.
"""

import asyncio

import click

from weddingbackup.kube.client import OUR_KINDS, Cluster, ConflictError, Object, Resource, connect
from weddingbackup.resources.names import FINALIZER

_ATTEMPTS = 5


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Which cluster.")
def release_finalizers(kubeconfig: str | None) -> None:
    """Take the operator's finalizer off all objects of ours, in all namespaces.

    Stop the operator first, or it puts the finalizer back. Recovery points stay: they are in the
    stores. A policy that was to be erased when deleted is not erased any more.
    """
    click.echo(f"released {asyncio.run(_release(kubeconfig))} objects")


async def _release(kubeconfig: str | None) -> int:
    released = 0
    async with connect(kubeconfig) as cluster:
        for resource in OUR_KINDS:
            for body in await cluster.list(resource):
                released += await _release_one(cluster, resource, body)
    return released


async def _release_one(cluster: Cluster, resource: Resource, body: Object | None) -> bool:
    """Take our finalizer off, and leave those of others; somebody may be writing the same object."""
    for _ in range(_ATTEMPTS):
        metadata = body["metadata"] if body else {}
        finalizers = metadata.get("finalizers") or []
        if FINALIZER not in finalizers:
            return False
        name, namespace = metadata["name"], metadata.get("namespace")
        patch = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": [other for other in finalizers if other != FINALIZER],
            }
        }
        try:
            return await cluster.patch(resource, name, namespace, patch) is not None
        except ConflictError:
            body = await cluster.get(resource, name, namespace)
    raise click.ClickException(
        f"{resource.kind} {name} is being changed again and again: stop the operator first"
    )
