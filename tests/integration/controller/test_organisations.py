"""Organisations beside each other: what each may use, and what one may have of another."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster import Cluster as TestCluster
from tests.integration.controller.conftest import Home, condition
from weddingbackup.kube import organisations, registry
from weddingbackup.kube.client import (
    BACKUPS,
    DATABASES,
    JOBS,
    NAMESPACES,
    NETWORK_POLICIES,
    POLICIES,
    REQUESTS,
    Object,
)
from weddingbackup.resources import broker, names, tasks
from weddingbackup.rules import quotas
from weddingbackup.rules.measures import Measured
from weddingbackup.rules.quotas import Quotas

pytestmark = pytest.mark.integration


async def annotate(home: Home, **more: object) -> None:
    await home.cluster.patch(NAMESPACES, home.namespace, None, {"metadata": more})


def reason(body: Object, kind: str = "Ready") -> str:
    found: str = condition(body, kind)["reason"]
    return found


async def measure(home: Home, policy: str, size: int) -> None:
    """As if this policy's vault had been listed, and took so many bytes."""
    vault = await home.vault(policy)
    assert vault is not None
    measured = Measured(at={home.full("a"): size}, looked_at=datetime.now(UTC))
    await registry.measure(home.cluster, home.context.home, vault, measured, ())


async def stored(home: Home) -> int:
    """The bytes that count for an organisation."""
    organisation = await organisations.read(home.cluster, home.namespace)
    rows = await registry.account(home.cluster, home.context.home, organisation.uid)
    return sum(row.bytes for row in rows.values())


class TestSideBySide:
    async def test_each_has_its_own_vault_and_workers_under_the_same_names(
        self, home: Home, other: Home
    ) -> None:
        for each in (home, other):
            going = await each.running_backup()
            assert going["status"]["phase"] == "Running"
        first, second = await home.vault(), await other.vault()
        assert first is not None
        assert second is not None
        assert first.kit.vault_id != second.kit.vault_id
        for each, vault in ((home, first), (other, second)):
            [job] = await each.cluster.list(JOBS, each.namespace)
            assert job["metadata"]["labels"][names.LABEL_VAULT] == vault.kit.vault_id

    async def test_a_workers_pod_holds_a_token_for_the_broker_and_nothing_else(
        self, home: Home
    ) -> None:
        await home.running_backup()
        [job] = await home.jobs("backup")
        pod = job["spec"]["template"]["spec"]
        assert job["metadata"]["namespace"] == home.namespace
        assert pod["serviceAccountName"] == names.WORKER_ACCOUNT
        assert pod["automountServiceAccountToken"] is False
        [projected] = [each["projected"] for each in pod["volumes"] if "projected" in each]
        [source] = projected["sources"]
        assert source["serviceAccountToken"]["audience"] == broker.AUDIENCE
        assert not any("secret" in each for each in pod["volumes"])
        [container] = pod["containers"]
        [text] = [each["value"] for each in container["env"] if each["name"] == tasks.VARIABLE]
        told = json.loads(text)
        assert told["broker"] == {"url": "https://broker.example", "authorities": "an authority"}
        assert sorted(told["locations"]) == sorted(home.full(name) for name in "abc")

    async def test_a_wall_stands_around_workers_where_it_is_asked_for(self, home: Home) -> None:
        where = (NETWORK_POLICIES, names.WORKER_ACCOUNT, home.namespace)
        await home.running_backup()
        assert await home.cluster.get(*where) is None
        walled = home.with_(network_policies=True)
        [job] = await home.jobs("backup")
        await home.cluster.delete(JOBS, job["metadata"]["name"], home.namespace)
        await walled.settle(BACKUPS, "one")
        wall = await home.cluster.get(*where)
        assert wall is not None
        assert "ingress" not in wall["spec"]
        # Somebody takes it down; it is back with the next worker.
        await home.cluster.patch(*where, {"spec": {"egress": [{}]}})
        [job] = await home.jobs("backup")
        await home.cluster.delete(JOBS, job["metadata"]["name"], home.namespace)
        await walled.settle(BACKUPS, "one")
        again = await home.cluster.get(*where)
        assert again is not None
        assert again["spec"] == wall["spec"]

    async def test_no_worker_starts_before_the_brokers_certificate_is_made(
        self, home: Home
    ) -> None:
        early = home.with_(broker_secret="not-yet")
        await early.working_policy(schedule={"suspend": True})
        await early.add_backup()
        told = await early.settle(BACKUPS, "one")
        assert (told["status"]["phase"], reason(told)) == ("Running", "BrokerNotReady")
        assert await home.jobs() == []
        await home.settle(BACKUPS, "one")
        assert len(await home.jobs()) == 1


class TestLocations:
    async def test_a_location_serves_only_whom_it_chooses(self, home: Home) -> None:
        await annotate(home, labels={"tier": "gold"})
        await home.add_claim()
        for name in "ab":
            await home.add_location(name)
        gold = {"matchLabels": {"tier": "gold"}}
        await home.add_location("c", allowedNamespaces=gold)
        await home.add_policy()
        settled = await home.settle(POLICIES, "wedding")
        assert {row["name"] for row in settled["status"]["locations"]} == {
            home.full(name) for name in "abc"
        }
        await annotate(home, labels={"tier": "tin"})
        settled = await home.settle(POLICIES, "wedding")
        assert home.full("c") not in {row["name"] for row in settled["status"]["locations"]}
        assert "leaves this namespace out" in condition(settled, "Placed")["message"]


class TestQuotas:
    async def test_a_backup_waits_while_too_many_jobs_are_under_way(self, home: Home) -> None:
        await annotate(home, annotations={quotas.JOBS: "1"})
        await home.running_backup()
        await home.add_policy("second", schedule={"suspend": True})
        await home.settle(POLICIES, "second")
        await home.add_backup("two", policy="second")
        waits = await home.settle(BACKUPS, "two")
        assert (waits["status"]["phase"], reason(waits)) == ("Pending", "QuotaExceeded")
        assert quotas.JOBS in waits["status"]["message"]
        await home.set_status(BACKUPS, "one", {"phase": "Failed"})
        assert (await home.settle(BACKUPS, "two"))["status"]["phase"] == "Running"

    async def test_the_fleets_default_holds_where_the_namespace_says_nothing(
        self, home: Home
    ) -> None:
        limited = home.with_(quotas=Quotas(jobs=0))
        await limited.working_policy(schedule={"suspend": True})
        await limited.add_backup()
        assert reason(await limited.settle(BACKUPS, "one")) == "QuotaExceeded"
        await annotate(home, annotations={quotas.JOBS: "1"})
        assert (await limited.settle(BACKUPS, "one"))["status"]["phase"] == "Running"

    async def test_a_backup_waits_while_too_much_is_stored(self, home: Home) -> None:
        await annotate(home, annotations={quotas.BYTES: "1Ki"})
        await home.working_policy(schedule={"suspend": True})
        await measure(home, "wedding", 1024)
        await home.add_backup()
        assert reason(await home.settle(BACKUPS, "one")) == "QuotaExceeded"
        await measure(home, "wedding", 1023)
        assert (await home.settle(BACKUPS, "one"))["status"]["phase"] == "Running"

    async def test_vaults_count_until_they_are_erased_and_nobody_elses_do(
        self, home: Home, other: Home
    ) -> None:
        await annotate(home, annotations={quotas.BYTES: "1Ki"})
        await home.working_policy(schedule={"suspend": True})
        await home.add_policy("older", schedule={"suspend": True})
        await home.settle(POLICIES, "older")
        await measure(home, "older", 1024)
        await home.cluster.delete(POLICIES, "older", home.namespace)
        assert await home.vault("older") is not None  # Retain is the default
        await home.add_backup()
        waits = await home.settle(BACKUPS, "one")
        assert reason(waits) == "QuotaExceeded"
        assert "1024 bytes" in waits["status"]["message"]
        assert await stored(other) == 0
        await registry.destroy(
            home.cluster, home.context.home, namespace=home.namespace, policy="older"
        )
        assert (await home.settle(BACKUPS, "one"))["status"]["phase"] == "Running"

    async def test_what_is_left_is_written_down_with_those_who_share_it(self, home: Home) -> None:
        await home.running_backup()  # before there was a limit
        await annotate(home, annotations={quotas.BYTES: "1Ki"})
        await home.add_policy("second", schedule={"suspend": True})
        await home.settle(POLICIES, "second")
        await measure(home, "second", 24)
        await home.add_backup("two", policy="second")
        two = await home.settle(BACKUPS, "two")
        one = (await home.get(BACKUPS, "one"))["metadata"]["uid"]
        assert two["status"]["quota"] == {"limit": 1024, "stored": 24, "beside": [one]}
        lacks = {row["name"]: row["lacks"] for row in two["status"]["locations"]}
        assert lacks == {home.full("a"): 0, home.full("b"): 24, home.full("c"): 24}

    async def test_what_was_stored_before_a_policy_was_deleted_counts(self, home: Home) -> None:
        await annotate(home, annotations={quotas.BYTES: "1Ki"})
        await home.running_backup(answering="abc")
        vault = await home.vault()
        assert vault is not None
        data = b"x" * 1024
        name = f"packs/{hashlib.sha256(data).hexdigest()}"
        home.put(home.full("b"), vault.kit.prefix, name, data)
        await home.cluster.delete(POLICIES, "wedding", home.namespace)
        await home.cluster.delete(BACKUPS, "one", home.namespace)
        await home.add_policy("second", schedule={"suspend": True})
        await home.settle(POLICIES, "second")
        await home.add_backup("two", policy="second")
        waits = await home.settle(BACKUPS, "two")
        assert reason(waits) == "QuotaExceeded"
        assert "1024 bytes" in waits["status"]["message"]

    @pytest.mark.parametrize("said", ["2", "several"])
    async def test_a_policy_with_more_copies_than_locations_is_blocked(
        self, home: Home, said: str
    ) -> None:
        await annotate(home, annotations={quotas.LOCATIONS: said})
        blocked = await home.working_policy()
        assert (blocked["status"]["phase"], reason(blocked)) == ("Blocked", "QuotaExceeded")
        assert quotas.LOCATIONS in blocked["status"]["message"]


TARGETS = [{"source": "p", "volume": {"claimName": "mine"}}]


class TestGrants:
    async def ask(self, other: Home, namespace: str, policy: str) -> Object:
        spec = {"policyRef": {"name": policy, "namespace": namespace}, "targets": TARGETS}
        await other.make(REQUESTS, f"from-{policy}", spec=spec)
        return await other.settle(REQUESTS, f"from-{policy}")

    async def test_nobody_learns_of_a_policy_that_is_not_for_them(
        self, home: Home, other: Home
    ) -> None:
        await home.working_policy(schedule={"suspend": True})
        there = await self.ask(other, home.namespace, "wedding")
        nowhere = await self.ask(other, home.namespace, "nothing")
        for told in (there, nowhere):
            assert (told["status"]["phase"], reason(told)) == ("Planning", "NotGranted")
        message = there["status"]["message"].replace("wedding", "nothing")
        assert message == nowhere["status"]["message"]
        late = datetime.now(UTC) + timedelta(minutes=2)
        later = Home(replace(other.context, now=lambda: late), other.namespace, other.store)
        assert (await later.settle(REQUESTS, "from-wedding"))["status"]["phase"] == "Failed"

    async def test_a_grant_lets_it_into_the_requests_own_places(
        self, home: Home, other: Home
    ) -> None:
        grant = {"allowedNamespaces": [other.namespace]}
        await home.running_backup(answering="abc", recovery=grant)
        name = await home.announce("abc")
        await home.end_worker()
        await home.settle(BACKUPS, "one")
        told = await self.ask(other, home.namespace, "wedding")
        assert told["status"]["phase"] == "Recovering"
        vault = await home.vault()
        assert vault is not None
        assert told["status"]["vault"]["id"] == vault.kit.vault_id
        assert told["status"]["point"]["manifest"] == name
        assert {row["name"] for row in told["status"]["locations"]} == {
            home.full(each) for each in "abc"
        }
        [job] = await other.cluster.list(JOBS, other.namespace)
        assert told["status"]["sources"][0]["jobUid"] == job["metadata"]["uid"]
        claims = [
            each["persistentVolumeClaim"]["claimName"]
            for each in job["spec"]["template"]["spec"]["volumes"]
            if "persistentVolumeClaim" in each
        ]
        assert claims == ["mine"]

    async def test_a_namespace_made_anew_has_no_part_in_the_old_ones_grant(
        self, home: Home, other: Home, cluster: TestCluster
    ) -> None:
        grant = {"allowedNamespaces": [other.namespace]}
        granted = await home.working_policy(schedule={"suspend": True}, recovery=grant)
        first = granted["status"]["grants"]
        cluster.kubectl("delete", "namespace", other.namespace)
        cluster.kubectl("create", "namespace", other.namespace)
        told = await home.settle(POLICIES, "wedding")
        assert told["status"]["grants"] == first
        assert condition(told, "Granted")["reason"] == "NamespaceReplaced"
        refused = await self.ask(other, home.namespace, "wedding")
        assert (refused["status"]["phase"], reason(refused)) == ("Planning", "NotGranted")
        for named in ([], [other.namespace]):
            patch = {"spec": {"recovery": {"allowedNamespaces": named}}}
            await home.cluster.patch(POLICIES, "wedding", home.namespace, patch)
            told = await home.settle(POLICIES, "wedding")
        assert told["status"]["grants"] != first
        assert condition(told, "Granted")["status"] == "True"
        let = await other.settle(REQUESTS, "from-wedding")
        assert reason(let) != "NotGranted"

    async def test_a_grant_that_is_taken_back_makes_no_worker(
        self, home: Home, other: Home
    ) -> None:
        await home.working_policy(schedule={"suspend": True})
        spec = {
            "policyRef": {"name": "wedding", "namespace": home.namespace},
            "targets": TARGETS,
        }
        pinned = {
            "phase": "Recovering",
            "vault": {"id": "v", "prefix": "x"},
            "point": {"manifest": "snapshots/m", "sha256": "ab" * 32},
            "sources": [{"name": "p", "dataClass": "Portfolio"}],
        }
        await other.make(REQUESTS, "back", spec=spec, status=pinned)
        told = await other.settle(REQUESTS, "back")
        assert (told["status"]["phase"], reason(told)) == ("Failed", "NotGranted")
        assert await other.cluster.list(JOBS, other.namespace) == []


class TestSharedDatabase:
    async def test_the_broker_gives_the_rows_and_no_secret_is_mounted(self, home: Home) -> None:
        shared = f"shared-{home.namespace[-8:]}"
        source = {
            "name": "p",
            "dataClass": "Timeline",
            "postgres": {
                "databaseRef": {"name": shared},
                "tables": [{"name": "events", "match": {"wedding_id": "w-1"}}],
            },
        }
        blocked = await home.working_policy(sources=[source], schedule={"suspend": True})
        assert reason(blocked) == "DatabaseNotFound"
        table = {"name": "events", "owner": {"column": "vendor", "namespaceLabel": "vendor-id"}}
        spec = {
            "connectionSecretRef": {"name": "db"},
            "allowedNamespaces": {},
            "tables": [table],
        }
        await home.make(DATABASES, shared, spec=spec)
        try:
            blocked = await home.settle(POLICIES, "wedding")
            assert reason(blocked) == "NamespaceLabelMissing"
            await annotate(home, labels={"vendor-id": "7"})
            assert (await home.settle(POLICIES, "wedding"))["status"]["phase"] == "Suspended"
            await home.add_backup()
            await home.settle(BACKUPS, "one")
            [job] = await home.jobs("backup")
            assert f'"shared":{{"database":"{shared}"}}' in json.dumps(job).replace("\\", "")
            volumes = job["spec"]["template"]["spec"]["volumes"]
            assert not any("secret" in each for each in volumes)
        finally:
            await home.cluster.delete(DATABASES, shared)
