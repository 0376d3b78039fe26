"""Reconciles as plain coroutines against a real API server; their workers' pods are never made.

The workers' service account does not exist, so Kubernetes refuses every pod: what a worker would do is
tried end to end elsewhere.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cluster import Cluster as TestCluster
from weddingbackup.controller import backups, policies, recoveries
from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.context import Context
from weddingbackup.kube.client import (
    BACKUPS,
    CLAIMS,
    LOCATIONS,
    POLICIES,
    REQUESTS,
    SECRETS,
    Cluster,
    Object,
    Resource,
    connect,
)
from weddingbackup.kube.jobs import Platform

_RECONCILES = {
    POLICIES: policies.reconcile,
    BACKUPS: backups.reconcile,
    REQUESTS: recoveries.reconcile,
}


class Home:
    """The operator's namespace, and its reconciles called one by one."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.cluster = context.cluster
        self.namespace = context.home

    async def make(self, resource: Resource, name: str, **parts: Any) -> Object:
        """Create an object of ours; a status is written beside."""
        status = parts.pop("status", None)
        metadata = {"name": name, **parts.pop("metadata", {})}
        if resource.namespaced:
            metadata["namespace"] = self.namespace
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        made = await self.cluster.create(resource, {**body, **parts})
        return made if status is None else await self.set_status(resource, name, status)

    async def set_status(self, resource: Resource, name: str, status: Object) -> Object:
        namespace = self.namespace if resource.namespaced else None
        patch = {"status": status}
        body = await self.cluster.patch(resource, name, namespace, patch, subresource="status")
        assert body is not None
        return body

    async def get(self, resource: Resource, name: str) -> Object:
        namespace = self.namespace if resource.namespaced else None
        body = await self.cluster.get(resource, name, namespace)
        assert body is not None, f"there is no {resource.kind} {name}"
        return body

    async def step(self, resource: Resource, name: str) -> Object:
        """One reconcile, and the object after it."""
        await _RECONCILES[resource](self.context, await self.get(resource, name))
        return await self.get(resource, name)

    async def settle(self, resource: Resource, name: str) -> Object:
        """Reconciles until nothing more can be done at once."""
        while await _RECONCILES[resource](self.context, await self.get(resource, name)):
            pass
        return await self.get(resource, name)

    async def add_location(self, name: str, phase: str = "Healthy") -> str:
        """A location that a probe has found so; its name in the cluster."""
        full = f"{name}-{self.namespace[-8:]}"
        spec = {
            "provider": "S3",
            "region": name,
            "bucket": "weddings",
            "endpoint": "http://127.0.0.1:9",
            "credentialsSecretRef": {"name": f"credentials-{name}"},
        }
        await self.make(SECRETS, f"credentials-{name}", stringData={"accessKeyId": "x"})
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Told",
            "message": "",
            "lastTransitionTime": "2026-12-05T12:00:00Z",
        }
        await self.make(
            LOCATIONS,
            full,
            metadata={"labels": {"mark": self.namespace}},
            spec=spec,
            status={"phase": phase, "conditions": [ready]},
        )
        return full

    async def add_policy(self, name: str = "wedding", **spec: Any) -> Object:
        return await self.make(
            POLICIES,
            name,
            spec={
                "wedding": {
                    "id": "w-1",
                    "date": "2026-12-05",
                    "timeZone": "Europe/London",
                    "venue": {"latitude": 51.5, "longitude": 0, "country": "GB"},
                },
                "sources": [
                    {"name": "p", "dataClass": "Portfolio", "volume": {"claimName": "photos"}}
                ],
                "placement": {"locationSelector": {"matchLabels": {"mark": self.namespace}}},
                **spec,
            },
        )

    async def add_claim(self, name: str = "photos") -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        await self.make(CLAIMS, name, spec=spec)

    async def working_policy(self, **spec: Any) -> Object:
        """A policy with all that it needs, settled."""
        for name in ("a", "b", "c"):
            await self.add_location(name)
        await self.add_claim()
        await self.add_policy(**spec)
        return await self.settle(POLICIES, "wedding")

    async def add_backup(self, name: str = "one", policy: str = "wedding", **spec: Any) -> Object:
        return await self.make(BACKUPS, name, spec={"policyRef": {"name": policy}, **spec})


@pytest.fixture
async def api(crds: TestCluster) -> AsyncIterator[Cluster]:
    async with connect(str(crds.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture
async def home(api: Cluster, namespace: str) -> AsyncIterator[Home]:
    platform = Platform(namespace=namespace, image="none:1", service_account="nobody")
    bulkheads = Bulkheads()
    yield Home(Context(api, platform, bulkheads))
    bulkheads.close()
    for body in await api.list(LOCATIONS, labels={"mark": namespace}):
        await api.delete(LOCATIONS, body["metadata"]["name"])
