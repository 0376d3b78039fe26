"""The operator is killed between any two lines: what the next reconcile makes of what it finds."""

import asyncio
import base64
import json

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.controller import backups
from weddingbackup.controller.erasure import erase
from weddingbackup.kube import registry
from weddingbackup.kube.client import (
    BACKUPS,
    EVENTS,
    JOBS,
    POLICIES,
    REQUESTS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Object,
)
from weddingbackup.resources import names

pytestmark = pytest.mark.integration

VAULTS = {"app.kubernetes.io/managed-by": names.MANAGER}


async def jobs(home: Home) -> list[Object]:
    return await home.jobs()


class TestBackup:
    async def test_planned_but_its_job_not_made(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        planned = await home.step(BACKUPS, "one")
        assert planned["status"]["phase"] == "Running"
        assert await jobs(home) == []  # killed here
        locations = planned["status"]["locations"]
        await home.add_location("d")  # what is planned stays planned
        going = await home.step(BACKUPS, "one")
        [job] = await jobs(home)
        assert going["status"]["job"]["uid"] == job["metadata"]["uid"]
        assert going["status"]["locations"] == locations

    async def test_its_job_made_but_not_written_down(self, home: Home) -> None:
        """It has never run; whose it was nobody knows. So another one is made."""
        first = await home.running_backup()
        await home.set_status(BACKUPS, "one", {"job": {"uid": ""}})  # as if killed before the write
        again = await home.settle(BACKUPS, "one")
        [job] = await jobs(home)
        assert again["status"]["job"]["uid"] == job["metadata"]["uid"]
        assert job["metadata"]["uid"] != first["status"]["job"]["uid"]
        assert job["spec"]["suspend"] is False

    async def test_its_job_written_down_but_not_let_go(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        await home.step(BACKUPS, "one")
        made = await home.step(BACKUPS, "one")
        [job] = await jobs(home)
        assert job["spec"]["suspend"] is True  # killed here
        assert made["status"]["job"]["uid"] == job["metadata"]["uid"]
        await home.step(BACKUPS, "one")
        [job] = await jobs(home)
        assert job["spec"]["suspend"] is False
        assert made["status"]["job"]["uid"] == job["metadata"]["uid"]

    async def test_a_job_of_its_name_that_only_claims_to_be_its_own_is_made_anew(
        self, home: Home
    ) -> None:
        await home.working_policy(schedule={"suspend": True})
        backup = await home.add_backup()
        planned = await home.step(BACKUPS, "one")
        owner = {
            "apiVersion": backup["apiVersion"],
            "kind": "BackupJob",
            "name": "one",
            "uid": backup["metadata"]["uid"],
            "controller": True,
        }
        pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
        forged = await home.make(
            JOBS,
            planned["status"]["job"]["name"],
            metadata={"ownerReferences": [owner]},
            spec={"suspend": True, "template": {"spec": pod}},
        )
        await home.settle(BACKUPS, "one")
        told = await home.settle(BACKUPS, "one")
        [job] = await jobs(home)
        assert job["metadata"]["uid"] != forged["metadata"]["uid"]
        assert told["status"]["job"]["uid"] == job["metadata"]["uid"]
        assert job["spec"]["template"]["spec"]["serviceAccountName"] == names.WORKER_ACCOUNT

    async def test_its_job_gone_without_a_report(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        before = await home.settle(BACKUPS, "one")
        await home.cluster.delete(JOBS, before["status"]["job"]["name"], home.namespace)
        after = await home.settle(BACKUPS, "one")
        assert after["status"]["phase"] == "Running"
        assert after["status"]["job"]["name"] == before["status"]["job"]["name"]
        assert after["status"]["job"]["uid"] != before["status"]["job"]["uid"]

    async def test_a_job_of_that_name_that_is_not_ours_is_left_alone(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        planned = await home.step(BACKUPS, "one")
        name = planned["status"]["job"]["name"]
        pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
        await home.make(JOBS, name, spec={"suspend": True, "template": {"spec": pod}})
        failed = await home.step(BACKUPS, "one")
        assert failed["status"]["phase"] == "Failed"
        assert name in failed["status"]["message"]
        assert len(await jobs(home)) == 1

    async def test_deciding_twice_writes_once(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        await home.settle(BACKUPS, "one")
        first = await refused(home)
        again = await home.settle(BACKUPS, "one")
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    async def test_of_several_made_at_once_one_runs(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        made = [await home.add_backup(name) for name in ("one", "two", "three")]
        await asyncio.gather(*(backups.reconcile(home.context, body) for body in made))
        told = [await home.get(BACKUPS, body["metadata"]["name"]) for body in made]
        phases = sorted(body["status"]["phase"] for body in told)
        assert phases == ["Pending", "Pending", "Running"]


class TestSchedule:
    async def test_a_backup_ordered_but_not_written_down(self, home: Home) -> None:
        await home.working_policy()
        [made] = await home.cluster.list(BACKUPS, home.namespace)
        # Failed, so that it serves its slot by name alone; and as if killed before the policy's status.
        await home.set_status(BACKUPS, made["metadata"]["name"], {"phase": "Failed"})
        await home.set_status(POLICIES, "wedding", {"lastScheduledTime": None})
        policy = await home.settle(POLICIES, "wedding")
        assert len(await home.cluster.list(BACKUPS, home.namespace)) == 1
        assert policy["status"]["lastScheduledTime"] == made["spec"]["scheduledAt"]

    async def test_a_trigger_served_but_not_written_down(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True}, trigger={"manual": "now"})
        assert len(await home.cluster.list(BACKUPS, home.namespace)) == 1
        unwritten = {"lastManualTrigger": None, "lastManualGeneration": None}
        await home.set_status(POLICIES, "wedding", unwritten)
        # Somebody edits the policy before the operator is back.
        edit = {"spec": {"worker": {"deadline": "2h"}}}
        await home.cluster.patch(POLICIES, "wedding", home.namespace, edit)
        policy = await home.settle(POLICIES, "wedding")
        assert len(await home.cluster.list(BACKUPS, home.namespace)) == 1
        assert policy["status"]["lastManualTrigger"] == "now"


RECOVERING = {
    "phase": "Recovering",
    "vault": {"id": "v", "prefix": "x"},
    "point": {"manifest": "snapshots/m", "sha256": "ab" * 32},
    "sources": [{"name": "p", "dataClass": "Portfolio", "phase": "Pending"}],
}


class TestRecovery:
    async def test_its_point_pinned_but_no_job_made(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.make(
            REQUESTS,
            "back",
            spec={"policyRef": {"name": "wedding"}},
            status=RECOVERING,
        )
        first = await home.step(REQUESTS, "back")
        [job] = await jobs(home)
        assert job["spec"]["suspend"] is True  # its UID was written down in this very step
        assert first["status"]["sources"][0]["jobUid"] == job["metadata"]["uid"]
        await home.step(REQUESTS, "back")
        [job] = await jobs(home)
        assert job["spec"]["suspend"] is False
        assert job["metadata"]["labels"][names.LABEL_SOURCE] == "p"
        assert first["status"]["point"] == {"manifest": "snapshots/m", "sha256": "ab" * 32}
        [task] = [
            variable["value"]
            for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]
            if variable["name"] == "WEDDINGBACKUP_TASK"
        ]
        assert '"manifest":"snapshots/m"' in task

    async def test_its_job_made_but_not_written_down(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        order = {"policyRef": {"name": "wedding"}}
        await home.make(REQUESTS, "back", spec=order, status=RECOVERING)
        await home.step(REQUESTS, "back")
        [first] = await jobs(home)
        await home.set_status(REQUESTS, "back", RECOVERING)  # as if killed before the write
        again = await home.settle(REQUESTS, "back")
        again = await home.settle(REQUESTS, "back")
        [job] = await jobs(home)
        assert job["metadata"]["uid"] != first["metadata"]["uid"]
        assert again["status"]["sources"][0]["jobUid"] == job["metadata"]["uid"]
        assert again["status"]["phase"] == "Recovering"

    async def test_its_job_gone_with_its_result(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.make(
            REQUESTS, "back", spec={"policyRef": {"name": "wedding"}}, status=RECOVERING
        )
        await home.step(REQUESTS, "back")
        [job] = await jobs(home)
        await home.cluster.delete(JOBS, job["metadata"]["name"], home.namespace)
        after = await home.step(REQUESTS, "back")
        assert after["status"]["phase"] == "Failed"
        assert condition(after, "Failed")["reason"] == "ResultUnknown"
        assert await jobs(home) == []

    async def test_a_refusal_leaves_no_job_at_work(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        order = {"policyRef": {"name": "wedding"}}
        await home.make(REQUESTS, "back", spec=order, status=RECOVERING)
        begun = await home.step(REQUESTS, "back")
        assert len(await jobs(home)) == 1
        rows = [*begun["status"]["sources"], {"name": "gone", "dataClass": "Guests"}]
        await home.set_status(REQUESTS, "back", {"sources": rows})
        after = await home.step(REQUESTS, "back")
        assert condition(after, "Failed")["reason"] == "NoPlaceForSource"
        assert [row["phase"] for row in after["status"]["sources"]] == ["Failed", "Failed"]
        assert await jobs(home) == []

    async def test_a_job_that_the_api_server_refuses_fails_its_recovery(self, home: Home) -> None:
        too_much = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
        await home.working_policy(schedule={"suspend": True}, worker={"resources": too_much})
        order = {"policyRef": {"name": "wedding"}}
        await home.make(REQUESTS, "back", spec=order, status=RECOVERING)
        after = await home.step(REQUESTS, "back")
        assert condition(after, "Failed")["reason"] == "JobRefused"


class TestVault:
    async def test_two_founders_get_one_vault(self, home: Home) -> None:
        first, second = [
            await registry.adopt(
                home.cluster, home.context.home, namespace=home.namespace, policy="wedding"
            )
            for _ in range(2)
        ]
        assert first == second
        [secret] = await home.cluster.list(
            SECRETS, home.context.home, labels={names.LABEL_VAULT: first.kit.vault_id}
        )
        assert "ownerReferences" not in secret["metadata"]


class TestErasure:
    async def erase(self, home: Home) -> str | None:
        return await erase(home.context, await home.get(POLICIES, "wedding"))

    async def suspended(self, home: Home) -> bool:
        [job] = [
            each
            for each in await jobs(home)
            if each["metadata"]["labels"][names.LABEL_TASK] == "erase"
        ]
        found: bool = job["spec"]["suspend"]
        return found

    async def vault(self, home: Home) -> registry.Registered | None:
        return await home.vault()

    async def test_the_plan_is_safe_before_the_keys_are_destroyed(self, home: Home) -> None:
        await home.working_policy()
        await home.settle(
            BACKUPS, (await home.cluster.list(BACKUPS, home.namespace))[0]["metadata"]["name"]
        )
        assert await self.erase(home)
        assert await self.suspended(home)
        assert await self.vault(home) is not None  # killed here: nothing is lost, nothing forgotten

        assert await self.erase(home)
        assert await self.vault(home) is None
        assert await self.erase(home)
        assert not await self.suspended(home)
        [job] = await jobs(home)  # the backup's is gone
        assert job["metadata"]["labels"][names.LABEL_TASK] == "erase"

    async def warnings(self, home: Home) -> list[str]:
        events = await home.cluster.list(EVENTS, home.namespace, fields={"reason": "NotErased"})
        return [event["message"] for event in events]

    async def damage(self, home: Home) -> str:
        [secret] = await home.cluster.list(SECRETS, home.context.home, labels=VAULTS)
        name: str = secret["metadata"]["name"]
        damaged = {"data": {"kit.json": base64.b64encode(b"{").decode()}}
        await home.cluster.patch(SECRETS, name, home.context.home, damaged)
        return name

    async def test_its_status_says_that_nothing_is_protected_any_more(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await self.erase(home)
        told = await home.get(POLICIES, "wedding")
        assert told["status"]["phase"] == "Erasing"
        for kind in ("Ready", "Protected"):
            assert condition(told, kind)["status"] == "False"
            assert condition(told, kind)["reason"] == "Erasing"

    async def test_a_location_without_its_secret_holds_up_no_erasure(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.cluster.delete(SECRETS, home.secret("a"), home.context.home)
        await self.erase(home)
        [job] = await jobs(home)
        volumes = json.dumps(job["spec"]["template"]["spec"]["volumes"])
        assert home.secret("b") in volumes
        assert home.secret("a") not in volumes
        assert any(f"a-{home.namespace[-8:]}" in said for said in await self.warnings(home))

    async def test_an_erasure_that_failed_is_told_before_the_policy_goes(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await self.erase(home)
        [job] = await jobs(home)
        at_once = {"spec": {"activeDeadlineSeconds": 1}}
        await home.cluster.patch(JOBS, job["metadata"]["name"], home.context.home, at_once)
        async with asyncio.timeout(60):
            while True:
                if await self.erase(home) is None:
                    break
                await asyncio.sleep(0.2)
        # Locations are the cluster's: those of tests beside this one may be told of, too.
        [told] = [said for said in await self.warnings(home) if "objects are left" in said]
        assert "keys are destroyed" in told

    async def test_damaged_keys_are_destroyed_and_the_objects_found_all_the_same(
        self, home: Home
    ) -> None:
        await home.working_policy(schedule={"suspend": True})
        prefix = (await self.vault(home) or pytest.fail("no vault")).kit.prefix
        secret = await self.damage(home)
        assert await self.erase(home)
        assert await self.erase(home)
        assert await home.cluster.get(SECRETS, secret, home.context.home) is None
        [job] = await jobs(home)
        assert prefix in json.dumps(job["spec"]["template"]["spec"]["containers"][0]["env"])

    async def test_keys_that_tell_no_place_are_destroyed_and_that_is_told(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        secret = await self.damage(home)
        nothing = {"metadata": {"annotations": None}}
        await home.cluster.patch(SECRETS, secret, home.context.home, nothing)
        assert await self.erase(home) is None
        assert await home.cluster.get(SECRETS, secret, home.context.home) is None
        assert len(await self.warnings(home)) == 1

    async def test_damaged_keys_are_told_on_the_backup(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        await home.add_backup()
        await self.damage(home)
        assert condition(await home.step(BACKUPS, "one"), "Stalled")["reason"] == "VaultDamaged"

    async def test_a_policy_that_never_had_a_vault_goes_at_once(self, home: Home) -> None:
        await home.add_policy()
        assert await self.erase(home) is None


class TestStaleWrites:
    async def test_an_operator_on_its_way_out_cannot_put_the_clock_back(self, home: Home) -> None:
        await home.working_policy(schedule={"suspend": True})
        stale = await home.add_backup()
        await home.set_status(BACKUPS, "one", {"phase": "Cancelled"})
        assert await backups.reconcile(home.context, stale)  # look again, it says
        assert (await home.get(BACKUPS, "one"))["status"] == {"phase": "Cancelled"}
        assert await jobs(home) == []


async def refused(home: Home) -> Object:
    """The backup once it says that Kubernetes refuses its pod."""
    async with asyncio.timeout(60):
        while True:
            body = await home.step(BACKUPS, "one")
            if condition(body, "Ready")["reason"] == "PodRefused":
                return body
            await asyncio.sleep(0.2)


async def test_a_pod_that_kubernetes_refuses_is_told(home: Home) -> None:
    await home.running_backup()
    assert "exceeded quota" in (await refused(home))["status"]["message"]


async def test_an_account_that_is_gone_is_made_again(home: Home) -> None:
    await home.running_backup()
    where = (SERVICE_ACCOUNTS, names.WORKER_ACCOUNT, home.namespace)
    assert await home.cluster.get(*where)
    await home.cluster.delete(*where)
    await refused(home)
    assert await home.cluster.get(*where)
