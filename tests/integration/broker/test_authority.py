"""Real tokens, bound to pods of a real API server: who is served, and for how long after it ends."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cluster import Cluster as TestCluster
from weddingbackup.broker import remembered
from weddingbackup.broker.authority import REMEMBERED_SECONDS, KubernetesAuthority
from weddingbackup.broker.records import KubernetesRecords
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.kube import organisations, registry
from weddingbackup.kube.client import (
    BACKUPS,
    JOBS,
    LOCATIONS,
    NAMESPACES,
    PODS,
    POLICIES,
    REQUESTS,
    SERVICE_ACCOUNTS,
    Cluster,
    Object,
    Resource,
    connect,
)
from weddingbackup.resources.backup_job import Announced
from weddingbackup.resources.broker import AUDIENCE, RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.names import WORKER_ACCOUNT
from weddingbackup.rules.times import rfc3339

pytestmark = pytest.mark.integration

POLICY: Object = {
    "wedding": {
        "id": "w-1",
        "date": "2026-12-05",
        "timeZone": "Europe/London",
        "venue": {"latitude": 51.5, "longitude": 0, "country": "GB"},
    },
    "sources": [{"name": "p", "dataClass": "Timeline", "volume": {"claimName": "photos"}}],
}


class Town:
    """One organisation with a backup under way, and its worker's Job and pod, which nothing runs."""

    def __init__(self, tests: TestCluster, api: Cluster, namespace: str) -> None:
        self.tests, self.api, self.namespace = tests, api, namespace
        self.location = f"l-{secrets.token_hex(4)}"
        self.time = 0.0
        self.authority = KubernetesAuthority(api, namespace, clock=lambda: self.time)
        self.vault: Object = {}

    async def make(self, resource: Resource, name: str, **parts: Any) -> Object:
        metadata = {"name": name, **parts.pop("metadata", {})}
        if resource.namespaced:
            metadata["namespace"] = self.namespace
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return await self.api.create(resource, {**body, **parts})

    async def status(self, resource: Resource, name: str, **status: Any) -> None:
        patch = {"status": status}
        assert await self.api.patch(resource, name, self.namespace, patch, subresource="status")

    async def found(self) -> None:
        await self.make(SERVICE_ACCOUNTS, WORKER_ACCOUNT)
        await self.make(POLICIES, "wedding", spec=POLICY)
        spec = {
            "provider": "S3",
            "region": "eu-west-2",
            "bucket": "weddings",
            "credentialsSecretRef": {"name": "credentials"},
        }
        await self.make(LOCATIONS, self.location, spec=spec)
        kit = (
            await registry.adopt(
                self.api, self.namespace, namespace=self.namespace, policy="wedding"
            )
        ).kit
        self.vault = {"id": kit.vault_id, "prefix": kit.prefix}

    async def grant(self, home: str, guest: str, uid: str | None = None) -> None:
        """Have the policy of `home` remember the namespace `guest`, by its own UID or by this one."""
        uid = uid or (await organisations.read(self.api, guest)).uid
        patch = {"status": {"grants": [{"namespace": guest, "uid": uid}]}}
        assert await self.api.patch(POLICIES, "wedding", home, patch, subresource="status")

    async def worker(self, owner: Object, name: str = "one", **pod: Any) -> Object:
        """A Job of this owner, which no controller works on, and its pod; gives the Job."""
        job_spec = {
            # Of somebody else: its pods are ours to make, and stay as they are.
            "managedBy": "tests.example.com/nobody",
            "template": {"spec": _pod_spec()},
        }
        job = await self.make(
            JOBS, name, metadata={"ownerReferences": [_reference(owner)]}, spec=job_spec
        )
        await self.pod(job, f"{name}-pod", **pod)
        return job

    async def pod(self, job: Object, name: str, account: str = WORKER_ACCOUNT) -> Object:
        owners = [_reference(job)]
        return await self.make(
            PODS, name, metadata={"ownerReferences": owners}, spec=_pod_spec(account)
        )

    async def backup(self, name: str = "one") -> Object:
        """A backup whose status names its Job."""
        made = await self.make(BACKUPS, name, spec={"policyRef": {"name": "wedding"}})
        job = await self.worker(made, name)
        await self.status(
            BACKUPS,
            name,
            phase="Running",
            vault=self.vault,
            quorum=1,
            locations=[{"name": self.location}],
            sources=[{"name": "p", "dataClass": "Timeline"}],
            job={"name": name, "uid": job["metadata"]["uid"]},
        )
        return made

    def token(self, pod: str = "one-pod", *, audience: str = AUDIENCE, bound: bool = True) -> str:
        to = ["--bound-object-kind", "Pod", "--bound-object-name", pod] if bound else []
        arguments = ["create", "token", WORKER_ACCOUNT, "-n", self.namespace]
        return self.tests.kubectl(*arguments, "--audience", audience, *to).strip()

    async def scope(self, token: str) -> Scope:
        """What the token opens, with nothing remembered."""
        self.time += REMEMBERED_SECONDS
        return await self.authority.scope(token)

    async def refused(self, token: str) -> str:
        with pytest.raises(RefusedError) as error:
            await self.scope(token)
        assert error.value.refusal.code is RefusalCode.UNKNOWN_WORKER
        return error.value.refusal.message


def _reference(body: Object) -> Object:
    metadata = body["metadata"]
    same = {"apiVersion": body["apiVersion"], "kind": body["kind"], "controller": True}
    return {**same, "name": metadata["name"], "uid": metadata["uid"]}


def _pod_spec(account: str = WORKER_ACCOUNT) -> Object:
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "schedulerName": "nobody",
        "restartPolicy": "Never",
        "containers": [{"name": "worker", "image": "none:1"}],
    }


@pytest.fixture
async def town(crds: TestCluster, namespace: str) -> AsyncIterator[Town]:
    async with connect(str(crds.kubeconfig)) as api:
        town = Town(crds, api, namespace)
        await town.found()
        yield town
        await api.delete(LOCATIONS, town.location)


async def test_a_running_backups_worker_is_served_its_own_job(town: Town) -> None:
    made = await town.backup()
    scope = await town.scope(town.token())
    assert (scope.purpose, scope.namespace, scope.pod) == (
        Purpose.BACKUP,
        town.namespace,
        "one-pod",
    )
    assert scope.owner.uid == made["metadata"]["uid"]
    assert scope.vault.dump() == town.vault
    assert set(scope.locations) == {town.location}
    assert dict(scope.sources) == {"p": "Timeline"}
    assert scope.quorum == 1


async def test_a_backups_worker_may_store_what_its_status_says(town: Town) -> None:
    await town.backup()
    assert (await town.scope(town.token())).quota is None
    quota = {"limit": 10, "stored": 4, "beside": ["another"]}
    rows = [{"name": town.location, "lacks": 3}]
    started = "2026-12-05T12:00:00Z"
    await town.status(BACKUPS, "one", quota=quota, locations=rows, startedAt=started)
    scope = await town.scope(town.token())
    assert scope.quota is not None
    assert (scope.quota.dump(), scope.quota.left) == (quota, 6)
    assert scope.lacks == {town.location: 3}
    assert rfc3339(scope.started_at) == started


async def test_a_token_for_somebody_else_or_of_no_pod_is_none(town: Town) -> None:
    await town.backup()
    await town.refused(town.token(audience="https://kubernetes.default.svc.cluster.local"))
    await town.refused(town.token(bound=False))
    await town.refused("not.a.token")
    await town.refused(town.token()[:-8] + "AAAAAAAA")


async def test_a_deleted_pods_token_is_none(town: Town) -> None:
    await town.backup()
    token = town.token()
    await town.scope(token)
    town.tests.kubectl("delete", "pod", "one-pod", "-n", town.namespace, "--grace-period=0")
    await town.refused(token)
    # Nor is it that of a later pod of the same name.
    job = await town.api.get(JOBS, "one", town.namespace)
    assert job is not None
    await town.pod(job, "one-pod")
    await town.refused(token)
    await town.scope(town.token())


async def test_what_was_found_is_believed_for_seconds_only(town: Town) -> None:
    await town.backup()
    token = town.token()
    await town.scope(token)
    await town.status(BACKUPS, "one", phase="Completed")
    await town.authority.scope(token)  # remembered
    town.time += REMEMBERED_SECONDS
    with pytest.raises(RefusedError):
        await town.authority.scope(token)


async def test_strangers_make_no_worker_forgotten(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_MOST", 2)
    await town.backup()
    token = town.token()
    await town.scope(token)
    for number in range(3):
        with pytest.raises(RefusedError):
            await town.authority.scope(f"bogus-{number}")
    await town.status(BACKUPS, "one", phase="Completed")
    await town.authority.scope(token)  # remembered


@pytest.mark.parametrize("phase", ["Pending", "Completed", "Failed", "Cancelled"])
async def test_after_the_jobs_end_nobody_is_served(town: Town, phase: str) -> None:
    await town.backup()
    token = town.token()
    await town.scope(token)
    await town.status(BACKUPS, "one", phase=phase)
    await town.refused(token)


async def test_a_cancelled_backups_worker_is_not_served(town: Town) -> None:
    await town.backup()
    await town.api.patch(BACKUPS, "one", town.namespace, {"spec": {"cancel": True}})
    await town.refused(town.token())


async def test_a_job_that_the_status_does_not_name_is_not_served(town: Town) -> None:
    made = await town.backup()
    await town.worker(made, "forged")
    await town.refused(town.token("forged-pod"))
    await town.scope(town.token())


async def test_a_pod_of_another_account_or_of_no_job_is_no_worker(town: Town) -> None:
    await town.backup()
    await town.make(PODS, "lonely", spec=_pod_spec())
    await town.refused(town.token("lonely"))


async def test_a_worker_is_served_where_its_organisation_may_be_alone(town: Town) -> None:
    await town.backup()
    selector = {"matchLabels": {"tier": "gold"}}
    patch = {"spec": {"allowedNamespaces": selector}}
    await town.api.patch(LOCATIONS, town.location, None, patch)
    assert (await town.scope(town.token())).locations == {}
    labels = {"metadata": {"labels": {"tier": "gold"}}}
    await town.api.patch(NAMESPACES, town.namespace, None, labels)
    assert set((await town.scope(town.token())).locations) == {town.location}


async def test_a_vault_that_the_registry_does_not_know_is_not_opened(town: Town) -> None:
    await town.backup()
    await town.status(BACKUPS, "one", vault={"id": "0" * 32, "prefix": "another"})
    await town.refused(town.token())


async def test_a_restores_worker_is_served_its_one_source(town: Town) -> None:
    made = await town.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    job = await town.worker(made, "back-p")
    rows = [
        {"name": "p", "dataClass": "Portfolio", "jobUid": job["metadata"]["uid"]},
        {"name": "g", "dataClass": "Guests", "jobUid": "another"},
    ]
    places = [{"name": town.location}]
    status = {"vault": town.vault, "locations": places, "sources": rows}
    await town.status(REQUESTS, "back", phase="Recovering", **status)
    token = town.token("back-p-pod")
    scope = await town.scope(token)
    assert (scope.purpose, scope.classes) == (Purpose.RESTORE, frozenset({DataClass.PORTFOLIO}))
    rows[0]["phase"] = "Completed"
    await town.status(REQUESTS, "back", sources=rows)
    await town.refused(token)


async def test_a_restores_worker_waits_for_the_stages_before_its_own(town: Town) -> None:
    made = await town.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    job = await town.worker(made, "back-p")
    rows = [
        {"name": "g", "dataClass": "Guests", "jobUid": "another"},
        {"name": "p", "dataClass": "Portfolio", "jobUid": job["metadata"]["uid"]},
    ]
    status = {"vault": town.vault, "locations": [{"name": town.location}], "sources": rows}
    classes = [{"dataClass": "Guests"}, {"dataClass": "Portfolio"}]
    await town.status(REQUESTS, "back", phase="Recovering", **status, stages=classes)
    token = town.token("back-p-pod")
    assert (await town.scope(token)).waits_for is DataClass.GUESTS
    rows[0]["phase"] = "Failed"
    await town.status(REQUESTS, "back", sources=rows)
    assert (await town.scope(token)).waits_for is None


async def test_another_namespaces_policy_is_recovered_from_while_it_grants_that(
    town: Town,
) -> None:
    guest = f"{town.namespace}-guest"
    town.tests.kubectl("create", "namespace", guest)
    try:
        home, town.namespace = town.namespace, guest
        await town.make(SERVICE_ACCOUNTS, WORKER_ACCOUNT)
        spec = {
            "policyRef": {"name": "wedding", "namespace": home},
            "targets": [{"source": "p", "volume": {"claimName": "mine"}}],
        }
        made = await town.make(REQUESTS, "back", spec=spec)
        job = await town.worker(made, "back-p")
        rows = [{"name": "p", "dataClass": "Timeline", "jobUid": job["metadata"]["uid"]}]
        status = {"vault": town.vault, "locations": [{"name": town.location}], "sources": rows}
        await town.status(REQUESTS, "back", phase="Recovering", **status)
        token = town.token("back-p-pod")
        await town.refused(token)
        grant = {"spec": {"recovery": {"allowedNamespaces": [guest]}}}
        await town.api.patch(POLICIES, "wedding", home, grant)
        await town.refused(token)
        await town.grant(home, guest, "of-a-namespace-of-that-name-before")
        await town.refused(token)
        await town.grant(home, guest)
        assert (await town.scope(token)).vault.dump() == town.vault
        await town.api.patch(POLICIES, "wedding", home, {"spec": {"recovery": None}})
        await town.refused(token)
    finally:
        town.tests.kubectl("delete", "namespace", guest, "--wait=false")


async def test_of_two_brokers_one_announces(town: Town) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    one, other = KubernetesRecords(town.api), KubernetesRecords(town.api)
    said = [
        Announced.model_validate(
            {"name": f"m{n}", "sha256": "0", "pod": scope.pod_uid, "at": "2026-12-05T12:00:00Z"}
        )
        for n in range(2)
    ]
    assert await one.replace(scope, None, said[0])
    assert not await other.replace(scope, None, said[1])
    assert await other.read(scope) == said[0]
    assert await other.replace(scope, said[0], said[1])
    await town.api.delete(BACKUPS, "one", town.namespace)
    with pytest.raises(RefusedError):
        await one.replace(scope, said[1], said[0])
