"""What a vendor can make beside a genuine worker, shown to the broker: it opens nothing, and widens nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cluster import Cluster as TestCluster
from tests.integration.broker.test_authority import Town, town
from weddingbackup.broker.records import KubernetesRecords
from weddingbackup.broker.scope import RefusedError
from weddingbackup.kube.client import (
    BACKUPS,
    JOBS,
    LOCATIONS,
    NAMESPACES,
    POLICIES,
    REQUESTS,
    SERVICE_ACCOUNTS,
    Object,
)
from weddingbackup.resources.backup_job import Announced
from weddingbackup.resources.broker import AUDIENCE, Progress
from weddingbackup.resources.names import WORKER_ACCOUNT

__all__ = ["town"]

pytestmark = pytest.mark.integration

NOON = datetime(2026, 12, 5, 12, tzinfo=UTC)


@pytest.fixture
async def elsewhere(town: Town) -> AsyncIterator[str]:
    """A location that no job was planned for."""
    name = f"{town.location}-elsewhere"
    spec = {
        "provider": "S3",
        "region": "eu-west-2",
        "bucket": "weddings",
        "credentialsSecretRef": {"name": "credentials"},
    }
    await town.make(LOCATIONS, name, spec=spec)
    yield name
    await town.api.delete(LOCATIONS, name)


def told(name: str, pod: str) -> Announced:
    return Announced(name=name, sha256="0" * 64, pod=pod, at=NOON)


async def test_a_pod_of_another_account_that_says_the_workers_job_is_its_owner(town: Town) -> None:
    await town.backup()
    job = await town.api.get(JOBS, "one", town.namespace)
    assert job is not None
    await town.make(SERVICE_ACCOUNTS, "mine")
    await town.pod(job, "forged", "mine")
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", "forged")
    token = town.tests.kubectl(
        *("create", "token", "mine", "-n", town.namespace, "--audience", AUDIENCE, *bound)
    ).strip()
    await town.refused(token)
    await town.scope(town.token())


async def test_a_location_that_the_job_was_not_planned_for(town: Town, elsewhere: str) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    assert elsewhere not in scope.locations
    assert scope.planned == {town.location}


async def test_a_restore_elsewhere_keeps_the_labels_of_its_own_namespace(
    town: Town, crds: TestCluster
) -> None:
    """Which rows of a shared database are its own follows from them, and not from the grantor's."""
    guest, home = f"{town.namespace}-guest", town.namespace
    crds.kubectl("create", "namespace", guest)
    try:
        for name, vendor in ((home, "1"), (guest, "2")):
            labels = {"metadata": {"labels": {"vendor": vendor}}}
            await town.api.patch(NAMESPACES, name, None, labels)
        grant = {"spec": {"recovery": {"allowedNamespaces": [guest]}}}
        await town.api.patch(POLICIES, "wedding", home, grant)
        await town.grant(home, guest)
        town.namespace = guest
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
        scope = await town.scope(town.token("back-p-pod"))
        assert (scope.namespace, scope.labels["vendor"]) == (guest, "2")
    finally:
        crds.kubectl("delete", "namespace", guest, "--wait=false")


async def test_nothing_is_announced_for_a_job_that_has_ended_meanwhile(town: Town) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    records = KubernetesRecords(town.api)
    await town.status(BACKUPS, "one", phase="Failed")
    with pytest.raises(RefusedError):
        await records.replace(scope, None, told("m", scope.pod_uid))
    with pytest.raises(RefusedError):
        await records.read(scope)


async def test_nothing_is_announced_over_what_is_announced_meanwhile(town: Town) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    records = KubernetesRecords(town.api)
    assert await records.replace(scope, None, told("first", scope.pod_uid))
    assert not await records.replace(scope, None, told("second", scope.pod_uid))
    kept = await records.read(scope)
    assert kept is not None
    assert kept.name == "first"


async def test_of_two_brokers_that_read_at_once_one_announces(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    both, get = asyncio.Barrier(2), town.api.get

    async def together(*what: Any) -> Object | None:
        found = await get(*what)
        await both.wait()
        return found

    names = ("first", "second")
    with monkeypatch.context() as patched:
        patched.setattr(town.api, "get", together)
        won = await asyncio.gather(
            *(
                KubernetesRecords(town.api).replace(scope, None, told(name, scope.pod_uid))
                for name in names
            )
        )
    assert sorted(won) == [False, True]
    kept = await KubernetesRecords(town.api).read(scope)
    assert kept is not None
    assert kept.name == names[won.index(True)]


async def test_a_worker_reports_of_its_own_job_and_of_no_later_one_of_its_name(town: Town) -> None:
    await town.backup()
    scope = await town.scope(town.token())
    time = 0.0
    records = KubernetesRecords(town.api, clock=lambda: time, now=lambda: NOON)
    await records.report(scope, Progress(bytes_done=1))
    await records.report(scope, Progress(bytes_done=2))  # so soon that nobody reads it
    assert await _reported(town) == 1
    time = 10.0
    await records.report(scope, Progress(bytes_done=3))
    assert await _reported(town) == 3
    await town.api.delete(BACKUPS, "one", town.namespace)
    town.tests.kubectl(
        "wait", "--for=delete", "bj/one", "-n", town.namespace, "--timeout=60s", check=False
    )
    await town.make(BACKUPS, "one", spec={"policyRef": {"name": "wedding"}})
    time = 20.0
    await records.report(scope, Progress(bytes_done=4))
    assert await _reported(town) is None


async def _reported(town: Town) -> int | None:
    body = await town.api.get(BACKUPS, "one", town.namespace)
    assert body is not None
    said = (body.get("status") or {}).get("reported")
    return None if said is None else said["bytesDone"]
