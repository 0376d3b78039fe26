"""Checks and collections of a policy's vault: when their Jobs are made, what those hold, what status tells."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.controller import maintenance, turns
from weddingbackup.kube import jobs
from weddingbackup.kube.client import BACKUPS, JOBS, PODS, POLICIES, REQUESTS, SECRETS, Object
from weddingbackup.resources import names
from weddingbackup.resources.base import Model
from weddingbackup.resources.reports import CheckedLocation, CheckReport, CollectReport
from weddingbackup.resources.tasks import VARIABLE
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules.maintenance import CHECK_REQUESTED, COLLECT_REQUESTED
from weddingbackup.rules.times import rfc3339
from weddingbackup.rules.turns import Bounds

pytestmark = pytest.mark.integration


async def protected(home: Home, *, new: bool = False) -> None:
    """A policy with one committed backup, in a vault that has been there for long, or is new."""
    await home.working_policy(answering="abc", schedule={"every": "168h"})
    [first] = await home.cluster.list(BACKUPS, home.namespace)
    now = rfc3339(home.context.now())
    policy = await home.get(POLICIES, "wedding")
    vault = await home.vault()
    assert vault is not None
    await home.set_status(
        BACKUPS,
        first["metadata"]["name"],
        {
            "phase": "Completed",
            "quorum": 2,
            "vault": {"id": vault.kit.vault_id, "prefix": vault.kit.prefix},
            "locations": [
                {"name": row["name"], "phase": "Committed"} for row in policy["status"]["locations"]
            ],
            "manifest": {"name": "snapshots/one", "sha256": "0" * 64},
            "sources": [{"name": "p", "dataClass": "Portfolio"}],
            "pointTime": now,
            "completedAt": now,
        },
    )
    if not new:
        # As one that was brought from another cluster: nobody knows how old its bytes are.
        imported = {"metadata": {"annotations": {f"{names.GROUP}/vault-imported": "now"}}}
        await home.cluster.patch(SECRETS, vault.secret, home.context.home, imported)


async def ask(home: Home, *annotations: str, policy: str = "wedding") -> None:
    told = dict.fromkeys(annotations, rfc3339(home.context.now()))
    await home.cluster.patch(POLICIES, policy, home.namespace, {"metadata": {"annotations": told}})


def task(job: Object) -> dict[str, Any]:
    [container] = job["spec"]["template"]["spec"]["containers"]
    [text] = [each["value"] for each in container["env"] if each["name"] == VARIABLE]
    found: dict[str, Any] = json.loads(text)
    return found


async def end(home: Home, job: Object, report: Model) -> None:
    """As Kubernetes tells it: a pod that ended with a report, and a Job that is done."""
    uid = job["metadata"]["uid"]
    name = f"ended-{uid[:8]}"
    labels = {"batch.kubernetes.io/controller-uid": uid}
    container = {"name": "worker", "image": "none:1"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": home.context.home, "labels": labels},
        "spec": {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [container]},
    }
    await home.cluster.create(PODS, pod)
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": report.to_json(),
        "finishedAt": rfc3339(home.context.now()),
    }
    row = {
        "name": "worker",
        "image": "none:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    status = {"phase": "Succeeded", "containerStatuses": [row]}
    await home.cluster.patch(
        PODS, name, home.context.home, {"status": status}, subresource="status"
    )
    await home.end_well(job)


async def end_check(home: Home) -> Object:
    """As if the check that is under way had found all well; the policy that tells of it."""
    rows = [CheckedLocation(name=home.full(name), objects=3) for name in "abc"]
    [job] = await under_way(home, "check")
    await end(home, job, CheckReport(locations=rows))
    return await home.settle(POLICIES, "wedding")


async def under_way(home: Home, work: str = "") -> list[Object]:
    """The maintenance Jobs of this organisation that have not ended."""
    return [
        job
        for job in await home.jobs(work)
        if job["metadata"]["labels"][names.LABEL_TASK] in {"check", "collect"}
        and (owner := jobs.owner_of(job, home.context.home))
        and owner.namespace == home.namespace
        and not turns.has_ended(job)
    ]


async def test_a_new_vault_is_left_in_peace(home: Home) -> None:
    await protected(home, new=True)
    await home.settle(POLICIES, "wedding")
    assert await home.jobs("check") == await home.jobs("collect") == []


async def test_a_vault_is_checked_and_collected_in_the_operators_namespace_without_keys(
    home: Home,
) -> None:
    await protected(home)
    before = await home.settle(POLICIES, "wedding")
    assert condition(before, "Protected")["reason"] == "ChecksDue"
    await end_check(home)
    [check], [collect] = await home.jobs("check"), await home.jobs("collect")
    vault = await home.vault()
    assert vault is not None
    for job in (check, collect):
        assert job["metadata"]["namespace"] == home.context.home
        pod = job["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        mounted = {
            source["secret"]["name"]
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", [volume])
            if "secret" in source
        }
        assert mounted
        assert all(name.startswith("credentials-") for name in mounted)
        text = json.dumps(job)
        for key in vault.kit.wrapping_keys.values():
            assert key.hex() not in text
        assert len(task(job)["locations"]) == 3
    assert task(check)["level"] == "Full"
    assert task(collect)["keep"]["keepLast"] == 7
    made = {job["metadata"]["uid"] for job in await home.jobs()}
    await home.settle(POLICIES, "wedding")
    assert {job["metadata"]["uid"] for job in await home.jobs()} == made


async def test_what_a_check_found_is_told_once_and_its_job_makes_room_for_the_next(
    home: Home,
) -> None:
    await protected(home)
    policy = await home.settle(POLICIES, "wedding")
    assert condition(policy, "Protected")["reason"] == "ChecksDue"
    [job] = await home.jobs("check")
    now = await end_check(home)
    assert {row["name"] for row in now["status"]["checked"]} == {home.full(x) for x in "abc"}
    assert "verifiedTime" in now["status"]["checked"][0]
    assert condition(now, "Protected")["reason"] == "AllConditionsMet"
    [collect] = await under_way(home)
    await end(home, collect, CollectReport())

    tomorrow = home.context.now() + timedelta(days=1)
    morrow = Home(replace(home.context, now=lambda: tomorrow), home.namespace, home.store)
    await ask(morrow, CHECK_REQUESTED)
    async with asyncio.timeout(60):
        while [job["metadata"]["uid"]] == [x["metadata"]["uid"] for x in await home.jobs("check")]:
            await morrow.settle(POLICIES, "wedding")
    await morrow.settle(POLICIES, "wedding")
    [check] = await under_way(home, "check")
    assert task(check)["level"] == "Full"


async def test_a_check_that_is_asked_for_again_on_the_same_day_waits_and_status_says_until_when(
    home: Home,
) -> None:
    await protected(home)
    await home.settle(POLICIES, "wedding")
    done = await end_check(home)
    [collect] = await under_way(home)
    assert "checkWaits" not in done["status"]
    await end(home, collect, CollectReport())
    await ask(home, CHECK_REQUESTED, COLLECT_REQUESTED)
    policy = await home.settle(POLICIES, "wedding")
    assert await under_way(home) == []
    assert "one a day" in policy["status"]["checkWaits"]
    assert "one an hour" in policy["status"]["collectionWaits"]


async def test_a_loss_is_told_and_orders_one_backup(home: Home) -> None:
    await protected(home)
    await home.settle(POLICIES, "wedding")
    [job] = await home.jobs("check")
    rows = [CheckedLocation(name=home.full("a"), damaged=1)]
    lost = CheckReport(locations=rows, lost=["packs/x"], lost_count=1, lossy=["snapshots/one"])
    await end(home, job, lost)
    policy = await home.settle(POLICIES, "wedding")
    assert condition(policy, "Protected")["reason"] in {"DataLost", "TooFewCopies"}
    repairs = [
        body
        for body in await home.cluster.list(BACKUPS, home.namespace)
        if body["spec"]["reason"] == "Repair"
    ]
    assert [body["metadata"]["name"] for body in repairs] == [policy["status"]["loss"]["backupJob"]]
    # Killed between the order and the word on it: the same name again.
    loss = {**policy["status"]["loss"], "backupJob": None}
    await home.set_status(POLICIES, "wedding", {"loss": loss})
    await home.settle(POLICIES, "wedding")
    orders = await home.cluster.list(BACKUPS, home.namespace, fields={"spec.reason": "Repair"})
    assert len(orders) == 1


async def test_what_a_collection_came_to_is_told(home: Home) -> None:
    await protected(home)
    await home.settle(POLICIES, "wedding")
    await end_check(home)
    [job] = await home.jobs("collect")
    await end(home, job, CollectReport(points=2, objects=9, bytes=100, marked=4))
    policy = await home.settle(POLICIES, "wedding")
    told = policy["status"]["lastCollection"]
    assert (told["points"], told["objects"], told["bytes"], told["marked"]) == (2, 9, 100, 4)


async def test_a_point_that_a_recovery_is_reading_is_pinned(home: Home) -> None:
    await protected(home, new=True)
    vault = await home.vault()
    assert vault is not None
    for name, phase in (("reading", "Recovering"), ("done", "Completed")):
        await home.make(
            REQUESTS,
            name,
            spec={"policyRef": {"name": "wedding"}},
            status={
                "phase": phase,
                "vault": {"id": vault.kit.vault_id, "prefix": vault.kit.prefix},
                "point": {
                    "manifest": f"snapshots/{name}",
                    "sha256": "0" * 64,
                    "time": rfc3339(home.context.now()),
                },
            },
        )
    await ask(home, COLLECT_REQUESTED)
    await home.settle(POLICIES, "wedding")
    [job] = await home.jobs("collect")
    assert task(job)["pins"] == ["snapshots/reading"]


async def test_an_older_point_is_not_pinned_while_a_collection_is_at_work(home: Home) -> None:
    await home.running_backup(answering="abc")
    old = await home.announce("abc", age=timedelta(hours=2))
    await home.end_worker()
    await home.settle(BACKUPS, "one")
    before = rfc3339(home.context.now() - timedelta(hours=1))
    await home.cluster.delete(BACKUPS, "one", home.namespace)
    await home.add_backup()
    await home.settle(BACKUPS, "one")
    new = await home.announce("abc")
    policy = WeddingBackupPolicy.model_validate(await home.get(POLICIES, "wedding"))
    name = jobs.job_name("gc", "wedding", uid=policy.metadata.uid)
    container = {"name": "worker", "image": "none:1"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    spec = {"suspend": True, "template": {"spec": pod}}
    await home.make(JOBS, name, namespace=home.context.home, spec=spec)
    reference = {"policyRef": {"name": "wedding"}}
    await home.make(REQUESTS, "latest", spec=reference)
    await home.make(REQUESTS, "older", spec={**reference, "pointInTime": before})
    latest = await home.step(REQUESTS, "latest")
    assert latest["status"]["point"]["manifest"] == new
    waiting = await home.step(REQUESTS, "older")
    assert condition(waiting, "Ready")["reason"] == "CollectionUnderWay"
    await home.cluster.delete(JOBS, name, home.context.home)
    pinned = await home.step(REQUESTS, "older")
    assert pinned["status"]["point"]["manifest"] == old


async def test_too_many_locations_without_credentials_stop_a_collection_and_no_check(
    home: Home,
) -> None:
    await protected(home)
    for name in "ab":
        await home.cluster.delete(SECRETS, home.secret(name), home.context.home)
    policy = await home.settle(POLICIES, "wedding")
    assert await home.jobs("collect") == []
    assert "Secrets" in policy["status"]["lastCollection"]["message"]
    [check] = await home.jobs("check")
    assert len(task(check)["locations"]) == 1


async def test_a_policys_check_and_collection_run_together_where_nobody_else_waits(
    home: Home,
) -> None:
    await protected(home)
    policy = await home.settle(POLICIES, "wedding")
    assert [len(await home.jobs(work)) for work in ("check", "collect")] == [1, 1]
    assert not {"checkWaits", "collectionWaits"} & set(policy["status"])


async def test_a_policys_check_and_collection_take_turns_where_nothing_is_lent(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE", Bounds(all=4, each=1))
    await protected(home)
    policy = await home.settle(POLICIES, "wedding")
    assert [len(await home.jobs(work)) for work in ("check", "collect")] == [1, 0]
    assert "of this namespace" in policy["status"]["collectionWaits"]
    assert "checkWaits" not in policy["status"]
    done = await end_check(home)
    assert len(await home.jobs("collect")) == 1
    assert "collectionWaits" not in done["status"]


async def test_of_all_organisations_so_many_at_once(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE", Bounds(all=1, each=1))
    for each in (home, other):
        await protected(each)
    told = await asyncio.gather(*(each.settle(POLICIES, "wedding") for each in (home, other)))
    [waiting] = [body for body in told if "checkWaits" in body["status"]]
    assert "turn" in waiting["status"]["checkWaits"]
    made = [*await under_way(home), *await under_way(other)]
    assert len(made) == 1
    # Started anew, the operator knows nobody who waits, and everything that runs.
    anew = Home(replace(home.context, lines={}), home.namespace, home.store)
    for each in (anew, anew.beside(other.namespace)):
        await each.settle(POLICIES, "wedding")
    assert [*await under_way(home), *await under_way(other)] == made


async def test_one_that_asks_for_ever_keeps_nobody_elses_check_away(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many policies, one place: before its second check comes the other organisation's first."""
    monkeypatch.setattr(maintenance, "MAINTENANCE", Bounds(all=1, each=1))
    for each in (home, other):
        await protected(each)
    weddings = await more_weddings(home, 3)
    for name in weddings:
        await ask(home, CHECK_REQUESTED, COLLECT_REQUESTED, policy=name)
        await home.settle(POLICIES, name)
    [first] = await under_way(home)
    assert await home.jobs("check") == [first]
    waiting = await other.settle(POLICIES, "wedding")
    assert "turn" in waiting["status"]["checkWaits"]
    await home.end_well(first)
    for name in weddings * 2:
        told = await home.settle(POLICIES, name)
        assert "turn" in told["status"]["collectionWaits"]
    assert await under_way(home) == []
    served = await other.settle(POLICIES, "wedding")
    assert "checkWaits" not in served["status"]
    [check] = await under_way(other, "check")
    await other.end_well(check)
    for name in weddings:
        await home.settle(POLICIES, name)
    assert len(await under_way(home)) == 1


async def more_weddings(home: Home, count: int) -> list[str]:
    """Policies beside the first, each with a vault and a point of its own; their names."""
    [done] = await home.cluster.list(BACKUPS, home.namespace)
    weddings = [f"wedding-{number}" for number in range(count)]
    for name in weddings:
        await home.add_policy(name, schedule={"suspend": True})
        await home.settle(POLICIES, name)
        vault = await home.vault(name)
        assert vault is not None
        kept = {key: done["status"][key] for key in ("quorum", "locations", "manifest", "sources")}
        ended = {key: done["status"][key] for key in ("phase", "pointTime", "completedAt")}
        held = {"vault": {"id": vault.kit.vault_id, "prefix": vault.kit.prefix}}
        await home.add_backup(f"of-{name}", name)
        await home.set_status(BACKUPS, f"of-{name}", {**kept, **ended, **held})
    return weddings


async def test_a_job_of_its_name_that_is_not_ours_is_told_and_left_alone(home: Home) -> None:
    await protected(home)
    await home.settle(POLICIES, "wedding")
    [job] = await home.jobs("check")
    name = job["metadata"]["name"]
    mine = job["metadata"]["labels"][names.LABEL_OWNER]
    labels = {"metadata": {"labels": {names.LABEL_OWNER: f"not-{mine[:8]}"}}}
    await home.cluster.patch(JOBS, name, home.context.home, labels)
    policy = await home.settle(POLICIES, "wedding")
    assert name in policy["status"]["lastCheck"]["message"]
    assert await home.cluster.get(JOBS, name, home.context.home) is not None
