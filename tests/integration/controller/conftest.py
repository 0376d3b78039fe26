"""Reconciles as plain coroutines against a real API server; their workers' pods are never made.

Quotas of the organisations' namespaces refuse every pod: what a worker and the broker would do is
tried end to end elsewhere, and played here by what they leave behind.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster import Cluster as TestCluster
from tests.servers.s3 import S3, s3
from weddingbackup.controller import backups, policies, recoveries
from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.context import Context
from weddingbackup.kube import registry
from weddingbackup.kube.client import (
    BACKUPS,
    CLAIMS,
    JOBS,
    LOCATIONS,
    POLICIES,
    REQUESTS,
    SECRETS,
    Cluster,
    ConflictError,
    Object,
    Resource,
    connect,
)
from weddingbackup.kube.jobs import Platform
from weddingbackup.resources.common import DataClass, Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.rules.times import rfc3339
from weddingbackup.stores import open_store
from weddingbackup.vault.entries import Entry, EntryType
from weddingbackup.vault.manifest import Body, Plain, PlainSource, SealedSource, encode_manifest

_RECONCILES = {
    POLICIES: policies.reconcile,
    BACKUPS: backups.reconcile,
    REQUESTS: recoveries.reconcile,
}


BUCKET = "weddings"
SILENT = "http://127.0.0.1:9"
"""Nobody listens there."""


class Home:
    """An organisation's namespace, and the operator's reconciles called one by one.

    Attributes:
        store: what locations lead to that answer.
    """

    def __init__(self, context: Context, namespace: str, store: S3) -> None:
        self.context = context
        self.cluster = context.cluster
        self.namespace = namespace
        self.store = store

    def beside(self, namespace: str) -> "Home":
        """Another organisation of the same operator."""
        return Home(self.context, namespace, self.store)

    def with_(self, **changed: Any) -> "Home":
        """The same under an operator that is told something else at its start."""
        platform = replace(self.context.platform, **changed)
        return Home(replace(self.context, platform=platform), self.namespace, self.store)

    async def jobs(self, work: str = "") -> list[Object]:
        """All Jobs of this organisation, here and in the operator's namespace."""
        found = [
            job
            for namespace in (self.namespace, self.context.home)
            for job in await self.cluster.list(JOBS, namespace)
        ]
        return [
            job
            for job in found
            if not work or job["metadata"].get("labels", {}).get("backup.wedsync.io/task") == work
        ]

    async def vault(self, policy: str = "wedding") -> registry.Registered | None:
        return await registry.find(
            self.cluster, self.context.home, namespace=self.namespace, policy=policy
        )

    async def make(self, resource: Resource, name: str, **parts: Any) -> Object:
        """Create an object of ours; a status is written beside."""
        status = parts.pop("status", None)
        metadata = {"name": name, **parts.pop("metadata", {})}
        if resource.namespaced:
            metadata["namespace"] = parts.pop("namespace", self.namespace)
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

    async def add_location(
        self,
        name: str,
        phase: str = "Healthy",
        *,
        answers: bool = False,
        binds: bool = True,
        **more: Any,
    ) -> str:
        """A location that a probe has found so; its name in the cluster."""
        full = f"{name}-{self.namespace[-8:]}"
        spec = {
            "provider": "S3",
            "region": self.store.region,
            "bucket": BUCKET,
            "prefix": full,
            "endpoint": self.store.endpoint if answers else SILENT,
            "credentialsSecretRef": {"name": f"credentials-{full}"},
            **more,
        }
        await self.make(
            SECRETS,
            f"credentials-{full}",
            namespace=self.context.home,
            stringData=self.store.credentials,
        )
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
            metadata={"labels": {"mark": self.namespace, "home": self.context.home}},
            spec=spec,
            status={
                "phase": phase,
                "conditions": [ready],
                "capabilities": {"createOnly": True, "boundChecksums": binds},
            },
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

    async def working_policy(
        self, *, answering: str = "", unbound: str = "", **spec: Any
    ) -> Object:
        """A policy with all that it needs, settled; some of its locations a, b, c answer."""
        for name in "abc":
            await self.add_location(name, answers=name in answering, binds=name not in unbound)
        await self.add_claim()
        await self.add_policy(**spec)
        return await self.settle(POLICIES, "wedding")

    async def add_backup(self, name: str = "one", policy: str = "wedding", **spec: Any) -> Object:
        return await self.make(BACKUPS, name, spec={"policyRef": {"name": policy}, **spec})

    async def running_backup(self, **spec: Any) -> Object:
        """A backup whose Job is made, written down and let go."""
        await self.working_policy(schedule={"suspend": True}, **spec)
        await self.add_backup()
        return await self.settle(BACKUPS, "one")

    def full(self, name: str) -> str:
        return f"{name}-{self.namespace[-8:]}"

    def secret(self, location: str) -> str:
        return f"credentials-{self.full(location)}"

    async def announce(
        self,
        where: str,
        *,
        job_uid: str | None = None,
        quorum: int = 2,
        age: timedelta = timedelta(),
    ) -> str:
        """What worker and broker leave of a backup: its manifest at these locations, and its announcement."""
        backup = await self.get(BACKUPS, "one")
        vault = await self.vault()
        assert vault is not None
        now = datetime.now(UTC)
        source = PlainSource("p", DataClass.PORTFOLIO, 0, 0, (), ())
        rows = tuple(row["name"] for row in backup["status"]["locations"])
        uid = job_uid or backup["metadata"]["uid"]
        then = now - age
        plain = Plain(uid, "one", then, then, then, quorum, rows, (source,))
        root = SealedSource(Entry(b"", EntryType.DIRECTORY), bytes(16), b"{}", ())
        name, data = encode_manifest(
            vault.kit.keyring(), plain, Body(self.namespace, (root,)), os.urandom(32)
        )
        for each in where:
            self.put(self.full(each), vault.kit.prefix, name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        told = {"name": name, "sha256": sha256, "pod": "p", "at": rfc3339(now)}
        await self.set_status(BACKUPS, "one", {"announced": told})
        return name

    def put(self, location: str, prefix: str, name: str, data: bytes) -> None:
        access = LocationAccess(
            name=location,
            provider=Provider.S3,
            bucket=BUCKET,
            prefix=location,
            endpoint=self.store.endpoint,
            region=self.store.region,
        )
        store = open_store(access, self.store.credentials, prefix=prefix)
        store.put(name, data, sha256=hashlib.sha256(data).digest())
        store.close()

    async def end_worker(self) -> None:
        """As Kubernetes tells that a backup's worker has ended well."""
        [job] = await self.jobs("backup")
        await self.end_well(job)

    async def end_well(self, job: Object) -> None:
        place = (job["metadata"]["name"], job["metadata"]["namespace"])
        moment = rfc3339(datetime.now(UTC))
        conditions = [
            {"type": kind, "status": "True", "reason": "x", "lastTransitionTime": moment}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        ended = {"startTime": moment, "completionTime": moment, "conditions": conditions}
        async with asyncio.timeout(60):
            while True:
                job = await self.cluster.get(JOBS, *place) or {}
                # The Job's controller writes it, too, and nobody may change it then.
                started = {key: value for key, value in job["status"].items() if key == "startTime"}
                version = {"resourceVersion": job["metadata"]["resourceVersion"]}
                patch = {"metadata": version, "status": {**ended, **started}}
                try:
                    await self.cluster.patch(JOBS, *place, patch, subresource="status")
                except ConflictError:
                    await asyncio.sleep(0.05)
                else:
                    return


def condition(body: Object, kind: str) -> Object:
    """One condition of an object; {} where it has none such."""
    found = [each for each in body.get("status", {}).get("conditions", []) if each["type"] == kind]
    return found[0] if found else {}


@pytest.fixture
async def api(crds: TestCluster) -> AsyncIterator[Cluster]:
    async with connect(str(crds.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("store")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def operators(cluster: TestCluster) -> Iterator[str]:
    """The operator's own namespace."""
    name = f"operator-{secrets.token_hex(5)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def vendors(cluster: TestCluster) -> Iterator[list[str]]:
    """Two organisations' namespaces, in which no pod is ever made."""
    names = [f"vendor-{secrets.token_hex(5)}" for _ in range(2)]
    for name in names:
        cluster.kubectl("create", "namespace", name)
        cluster.kubectl("create", "quota", "no-pods", "--hard=pods=0", "-n", name)
    yield names
    cluster.kubectl("delete", "namespace", *names, "--wait=false")


@pytest.fixture
async def home(api: Cluster, operators: str, vendors: list[str], store: S3) -> AsyncIterator[Home]:
    platform = Platform(
        namespace=operators,
        image="none:1",
        service_account="nobody",
        broker_url="https://broker.example",
        broker_secret="broker-tls",
    )
    bulkheads = Bulkheads()
    home = Home(Context(api, platform, bulkheads), vendors[0], store)
    await home.make(
        SECRETS, "broker-tls", namespace=operators, stringData={"ca.crt": "an authority"}
    )
    yield home
    bulkheads.close()
    for body in await api.list(LOCATIONS, labels={"home": operators}):
        await api.delete(LOCATIONS, body["metadata"]["name"])


@pytest.fixture
def other(home: Home, vendors: list[str]) -> Home:
    """Another organisation beside the first."""
    return home.beside(vendors[1])
