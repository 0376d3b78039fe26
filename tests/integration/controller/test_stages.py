"""A recovery in stages, against a real API server: all Jobs at once, and who gives way to whom."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.cluster import Cluster as TestCluster
from tests.integration.controller.conftest import Home, condition
from weddingbackup.broker import turns
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.broker.turns import KubernetesTurns
from weddingbackup.kube.client import JOBS, REQUESTS, Object
from weddingbackup.resources import names
from weddingbackup.resources.broker import RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

CLASSES = {"planning": "Timeline", "guests": "Guests", "portfolio": "Portfolio"}
DEADLINE = 6 * 3600


async def recovering(home: Home) -> Object:
    """A request whose three sources' Jobs are made and written down."""
    postgres = {"databaseRef": {"name": "shared"}, "tables": [{"name": "t", "match": {"w": "w-1"}}]}
    sources = [
        {"name": name, "dataClass": kind, "postgres": postgres} for name, kind in CLASSES.items()
    ]
    worker = {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    await home.working_policy(schedule={"suspend": True}, sources=sources, worker=worker)
    status = {
        "phase": "Recovering",
        "vault": {"id": "v", "prefix": "x"},
        "point": {"manifest": "snapshots/m", "sha256": "ab" * 32},
        "sources": [{"name": name, "dataClass": kind} for name, kind in CLASSES.items()],
        "stages": [{"dataClass": kind} for kind in CLASSES.values()],
    }
    order = {"policyRef": {"name": "wedding"}}
    await home.make(REQUESTS, "back", spec=order, status=status)
    return await home.step(REQUESTS, "back")


async def jobs(home: Home) -> dict[str, Object]:
    """The Jobs of the request, by source."""
    return {
        job["metadata"]["labels"][names.LABEL_SOURCE]: job for job in await home.jobs("restore")
    }


async def suspended(home: Home) -> dict[str, bool]:
    return {name: job["spec"]["suspend"] for name, job in (await jobs(home)).items()}


def phases(body: Object) -> list[tuple[str, str]]:
    return [(row["phase"], row.get("message", "")) for row in body["status"]["sources"]]


async def until(home: Home, holds: Callable[[Object], Awaitable[object]]) -> Object:
    """The request after so many reconciles as it takes, one after the other."""
    async with asyncio.timeout(120):
        while True:
            body = await home.step(REQUESTS, "back")
            if await holds(body):
                return body
            await asyncio.sleep(0.2)


async def test_all_jobs_are_made_and_let_go_together_and_later_ones_wait(home: Home) -> None:
    await recovering(home)
    assert await suspended(home) == dict.fromkeys(CLASSES, True)  # its UIDs are written down now
    told = await home.step(REQUESTS, "back")
    assert await suspended(home) == dict.fromkeys(CLASSES, False)
    [first, *later] = phases(told)
    assert first[0] == "Running"
    assert [phase for phase, _ in later] == ["Waiting", "Waiting"]
    assert all(message.startswith("waits for stage Timeline") for _, message in later)
    found = await jobs(home)
    deadlines = [found[name]["spec"]["activeDeadlineSeconds"] for name in CLASSES]
    assert deadlines == [DEADLINE, 2 * DEADLINE, 3 * DEADLINE]


async def test_who_waits_gives_way_until_an_earlier_worker_has_room(
    home: Home, cluster: TestCluster
) -> None:
    """No pod may be made, and so the timeline's is not; perhaps for those that wait."""
    await recovering(home)

    async def given_way(_: Object) -> bool:
        return await suspended(home) == {"planning": False, "guests": True, "portfolio": True}

    told = await until(home, given_way)
    assert condition(told, "Reconciling")["reason"] == "PodRefused"
    # Their image is nowhere: none of them ever runs.
    cluster.kubectl("delete", "quota", "no-pods", "-n", home.namespace)

    async def let_go(_: Object) -> bool:
        return await suspended(home) == dict.fromkeys(CLASSES, False)

    told = await until(home, let_go)
    assert [phase for phase, _ in phases(told)] == ["Running", "Waiting", "Waiting"]


async def test_a_stage_that_has_failed_opens_the_next_one(home: Home) -> None:
    await recovering(home)
    await home.step(REQUESTS, "back")
    await home.end_well((await jobs(home))["planning"])  # without a word: its result is lost
    told = await home.settle(REQUESTS, "back")
    assert [phase for phase, _ in phases(told)] == ["Failed", "Running", "Waiting"]
    [first, second, third] = told["status"]["stages"]
    assert first["message"].startswith("Not recovered: planning.")
    assert "usableAt" not in first
    assert "startedAt" in second
    assert "startedAt" not in third


async def test_a_cancelled_recovery_ends_those_who_wait(home: Home) -> None:
    await recovering(home)
    await home.step(REQUESTS, "back")
    order = {"policyRef": {"name": "wedding"}, "cancel": True}
    await home.cluster.patch(REQUESTS, "back", home.namespace, {"spec": order})
    told = await home.settle(REQUESTS, "back")
    assert told["status"]["phase"] == "Cancelled"
    for job in (await jobs(home)).values():
        assert job["metadata"].get("deletionTimestamp")


def scope(home: Home, body: Object, source: str) -> Scope:
    """What the broker found out of a source's worker while it waited for the timeline."""
    uids = {row["name"]: row["jobUid"] for row in body["status"]["sources"]}
    return Scope(
        purpose=Purpose.RESTORE,
        namespace=home.namespace,
        labels={},
        pod="p",
        pod_uid="p",
        owner=ObjectRef(namespace=home.namespace, name="back", uid=body["metadata"]["uid"]),
        job_uid=uids[source],
        policy="wedding",
        vault=VaultRef(id="v", prefix="x"),
        kit=Kit.found(),
        classes=frozenset({DataClass(CLASSES[source])}),
        planned=frozenset(),
        locations={},
        quorum=0,
        sources={source: DataClass(CLASSES[source])},
        waits_for=DataClass.TIMELINE,
    )


async def test_the_broker_opens_the_gate_by_the_status_alone(home: Home) -> None:
    body = await recovering(home)
    now = [0.0]
    known = KubernetesTurns(home.cluster, clock=lambda: now[0])
    guests, portfolio = scope(home, body, "guests"), scope(home, body, "portfolio")

    async def told() -> list[DataClass | None]:
        now[0] += turns._LOOK_SECONDS
        return [await known.waits_for(each) for each in (guests, portfolio)]

    assert await told() == [DataClass.TIMELINE, DataClass.TIMELINE]
    await home.step(REQUESTS, "back")
    await home.end_well((await jobs(home))["planning"])
    assert await told() == [DataClass.TIMELINE, DataClass.TIMELINE]  # nobody wrote it down yet
    await home.settle(REQUESTS, "back")
    assert await told() == [None, DataClass.GUESTS]
    await home.cluster.delete(
        JOBS, (await jobs(home))["guests"]["metadata"]["name"], home.namespace
    )
    await home.settle(REQUESTS, "back")
    assert await known.waits_for(portfolio) is DataClass.GUESTS  # remembered
    now[0] += turns._LOOK_SECONDS
    assert await known.waits_for(portfolio) is None
    now[0] += turns._LOOK_SECONDS
    with pytest.raises(RefusedError) as caught:
        await known.waits_for(guests)  # it has failed
    assert caught.value.refusal.code is RefusalCode.UNKNOWN_WORKER
