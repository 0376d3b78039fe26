"""Faults at the worst moments: each ends in a correct result, or in a status that says what to do."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.broker_process import Broker
from tests.e2e.operator_process import Operator
from tests.e2e.world import Object, World, condition, phase, secret
from tests.servers.gcs import gcs
from tests.servers.locations import BUCKET
from weddingbackup.resources import names

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("broker")]

THREE = ("london", "frankfurt", "paris")
AWAY_SECONDS = 65
WRITE = """
import os, pathlib
for number in range({count}):
    pathlib.Path(f"/data/photo-{{number}}.jpg").write_bytes(os.urandom({size}))
"""
DIGESTS = """
import hashlib, pathlib
for path in sorted(pathlib.Path("/data").rglob("*.jpg")):
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
"""
LOSS = "import pathlib; [path.unlink() for path in pathlib.Path('/data').glob('*.jpg')]"


def only_backup(world: World) -> str:
    """The name of the policy's one BackupJob."""
    world.wait("wbp", "wedding", lambda _: bool(world.list("bj")))
    [job] = world.list("bj")
    name: str = job["metadata"]["name"]
    return name


def is_because(reason: str) -> Callable[[Object], bool]:
    return lambda body: condition(body, "Ready").get("reason") == reason


def has_served(trigger: str) -> Callable[[Object], bool]:
    return lambda body: body["status"].get("lastManualTrigger") == trigger


def worker_pods(world: World, task: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in world.list("pods", f"{names.LABEL_TASK}={task}")
        if phase(pod) == "Running"
    ]


def kill_worker(world: World, task: str) -> None:
    """Kill the running worker of a task, without a goodbye."""
    world.wait("wbp", "wedding", lambda _: bool(worker_pods(world, task)))
    for pod in worker_pods(world, task):
        world.delete("pod", pod, "--grace-period=0", "--force")


class TestLocations:
    def test_what_is_wrong_with_a_location_is_said(self, world: World) -> None:
        world.at_home.apply(
            world.secret_of("london"),
            secret("wrong", {"accessKeyId": "wedding", "secretAccessKey": "wrong"}),
        )
        right = world.location("london")["spec"]["credentialsSecretRef"]
        reference = {"credentialsSecretRef": right}
        variants: dict[str, dict[str, Any]] = {
            "right": reference,
            "wrong": {"credentialsSecretRef": {"name": "wrong"}},
            "nosecret": {"credentialsSecretRef": {"name": "nowhere"}},
            "nobucket": {**reference, "bucket": "nowhere"},
            "noanswer": {**reference, "endpoint": f"http://{world.cluster.host_address}:9"},
        }
        for suffix, spec in variants.items():
            body = world.location("london", **spec)
            body["metadata"]["name"] += suffix
            world.apply(body)
        for suffix, (expected, reason) in {
            "right": ("Healthy", "ProbeSucceeded"),
            "wrong": ("Unavailable", "AccessDenied"),
            "nosecret": ("Unavailable", "CredentialsMissing"),
            "nobucket": ("Unavailable", "BucketMissing"),
            "noanswer": ("Unavailable", "Unreachable"),
        }.items():
            name = world.location_name("london") + suffix
            body = world.wait("bl", name, is_because(reason))
            assert phase(body) == expected
            assert body["status"]["message"]

    def test_a_location_that_lets_objects_be_overwritten_holds_no_backup(
        self, world: World, tmp_path: Path
    ) -> None:
        world.shell("portfolio", WRITE.format(count=2, size=1000))
        with gcs(tmp_path, host=world.cluster.host_address, careless=True) as server:
            server.create_bucket(BUCKET)
            careless = world.location("zurich", endpoint=server.endpoint)
            reference = careless["spec"]["credentialsSecretRef"]["name"]
            world.at_home.apply(secret(reference, server.credentials), careless)
            name = world.location_name("zurich")
            refused = world.wait_phase("bl", name, "Refused", "Healthy")
            assert phase(refused) == "Refused"
            assert condition(refused, "CreateOnly")["status"] == "False"
            assert condition(refused, "Stalled")["status"] == "True"
            assert "overwrit" in refused["status"]["message"]

            world.add_locations(("london", "paris"))
            world.apply(world.policy(redundancy={"copies": 2, "quorum": 2}))
            done = world.wait_phase("bj", only_backup(world), "Completed", "Failed")
            rows = {row["name"] for row in done["status"]["locations"]}
            assert rows == {world.location_name("london"), world.location_name("paris")}

    def test_a_location_that_is_down_from_the_start_is_caught_up_when_it_comes(
        self, world: World
    ) -> None:
        world.shell("portfolio", WRITE.format(count=5, size=100_000))
        world.locations["paris"].proxy.cut()
        world.add_locations(THREE)
        world.apply(world.policy())
        name = only_backup(world)
        done = world.wait_phase("bj", name, "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert done["status"]["committedCopies"] == "2/3"
        assert condition(done, "Replicated")["status"] == "False"
        policy = world.wait("wbp", "wedding", lambda body: body["status"].get("copies") == "2/3")
        assert condition(policy, "Protected")["status"] == "False"

        world.locations["paris"].proxy.heal()
        done = world.wait(
            "bj", name, lambda body: condition(body, "Replicated")["status"] == "True"
        )
        assert done["status"]["committedCopies"] == "3/3"
        world.wait("wbp", "wedding", lambda body: condition(body, "Protected")["status"] == "True")

    def test_a_location_that_drops_out_half_way_stalls_nothing(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=20, size=2_000_000))
        world.add_locations(THREE)
        world.locations["paris"].proxy.toxic("bandwidth", "upstream", rate=500)
        try:
            world.apply(world.policy())
            name = only_backup(world)
            world.wait(
                "bj",
                name,
                lambda body: any(row["bytes"] for row in body["status"].get("locations", [])),
            )
        finally:
            world.locations["paris"].proxy.cut()
        done = world.wait_phase("bj", name, "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        world.locations["paris"].proxy.heal()
        world.wait("bj", name, lambda body: condition(body, "Replicated")["status"] == "True")


class TestKilledOperator:
    def test_while_a_backup_runs(self, world: World, operator: Operator) -> None:
        world.shell("portfolio", WRITE.format(count=5, size=100_000))
        world.add_locations(THREE)
        world.apply(world.policy())
        name = only_backup(world)
        operator.kill()
        operator.start()
        world.wait_phase("bj", name, "Running")
        operator.kill()
        world.wait("bj", name, lambda _: not worker_pods(world, "backup"))
        operator.start()
        done = world.wait_phase("bj", name, "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert len(world.list("jobs", f"{names.LABEL_TASK}=backup")) == 1
        assert len(world.list("bj")) == 1

    def test_while_a_recovery_runs(self, world: World, operator: Operator) -> None:
        world.shell("portfolio", WRITE.format(count=5, size=100_000))
        before = world.shell("portfolio", DIGESTS)
        world.add_locations(THREE)
        world.apply(world.policy())
        world.wait_phase("bj", only_backup(world), "Completed")
        world.shell("portfolio", LOSS)
        world.apply(world.request("back"))
        world.wait("rr", "back", lambda body: phase(body) is not None)
        operator.kill()
        operator.start()
        world.wait_phase("rr", "back", "Recovering", "Completed")
        operator.kill()
        operator.start()
        done = world.wait_phase("rr", "back", "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert world.shell("portfolio", DIGESTS) == before
        assert len(world.list("jobs", f"{names.LABEL_TASK}=restore")) == 1

    def test_its_return_writes_nothing_that_is_not_new(
        self, world: World, operator: Operator
    ) -> None:
        world.add_locations(THREE)
        world.apply(world.policy())
        backup = only_backup(world)
        world.wait("bj", backup, lambda body: condition(body, "Replicated").get("status") == "True")
        world.wait("wbp", "wedding", lambda body: body["status"].get("copies") == "3/3")
        world.wait("bj", backup, lambda body: not body["metadata"].get("finalizers"))
        operator.kill()
        before = versions(world)
        operator.start()
        world.apply(world.policy("later", schedule={"suspend": True}))
        world.wait_phase("wbp", "later", "Suspended")
        assert before.items() <= versions(world).items()


def versions(world: World) -> dict[str, str]:
    """The resourceVersion of each object of ours."""
    return {
        body["metadata"]["uid"]: body["metadata"]["resourceVersion"]
        for kind, selector in (("wbp", ""), ("bj", ""), ("bl", f"mark={world.mark}"))
        for body in world.list(kind, selector)
    }


class TestKilledWorker:
    def test_during_the_upload_the_next_one_goes_on(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=20, size=2_000_000))
        world.add_locations(THREE)
        for name in THREE:
            world.locations[name].proxy.toxic("bandwidth", "upstream", rate=8000)
        world.apply(world.policy())
        name = only_backup(world)
        world.wait("bj", name, lambda body: (body["status"].get("progress") or {}).get("bytesDone"))
        kill_worker(world, "backup")
        done = world.wait_phase("bj", name, "Completed", "Failed", seconds=180)
        assert phase(done) == "Completed", done["status"]

    def test_during_the_restore_the_next_one_goes_on(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=20, size=2_000_000))
        before = world.shell("portfolio", DIGESTS)
        world.add_locations(THREE)
        world.apply(world.policy())
        world.wait_phase("bj", only_backup(world), "Completed")
        world.shell("portfolio", LOSS)
        # Slow enough to be killed long before the end: of one that ends while it is killed nothing is told.
        for name in THREE:
            world.locations[name].proxy.toxic("bandwidth", "downstream", rate=1000)
        world.apply(world.request("back"))
        kill_worker(world, "restore")
        done = world.wait_phase("rr", "back", "Completed", "Failed", seconds=180)
        assert phase(done) == "Completed", done["status"]
        assert world.shell("portfolio", DIGESTS) == before


class TestAbsentBroker:
    def test_a_minute_without_it_delays_a_backup_and_fails_none(
        self, world: World, broker: Broker
    ) -> None:
        world.shell("portfolio", WRITE.format(count=30, size=2_000_000))
        world.add_locations(THREE)
        for name in THREE:
            world.locations[name].proxy.toxic("bandwidth", "upstream", rate=3000)
        world.apply(world.policy())
        name = only_backup(world)
        world.wait("bj", name, lambda body: (body["status"].get("progress") or {}).get("bytesDone"))
        broker.kill()
        away = time.monotonic()
        # The promise is about this time, so it has to pass.
        while time.monotonic() < away + AWAY_SECONDS:
            assert phase(world.get("bj", name)) == "Running"
            time.sleep(2)
        broker.start()
        done = world.wait_phase("bj", name, "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert done["status"]["job"]["attempt"] == 1


class TestBadInput:
    def test_a_missing_claim_blocks_the_policy_until_it_is_there(self, world: World) -> None:
        source = {"name": "p", "dataClass": "Portfolio", "volume": {"claimName": "later"}}
        world.add_locations(THREE)
        world.apply(world.policy(sources=[source]))
        blocked = world.wait_phase("wbp", "wedding", "Blocked")
        ready = condition(blocked, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ClaimNotFound")
        assert "later" in ready["message"]
        assert "ClaimNotFound" in world.events()
        assert not world.list("bj")
        world.apply(world.claim("later"))
        world.wait_phase("wbp", "wedding", "Active")
        world.wait_phase("bj", only_backup(world), "Completed")

    def test_a_missing_secret_and_a_missing_key_are_named(self, world: World) -> None:
        source = {
            "name": "planning",
            "dataClass": "Timeline",
            "postgres": {
                "connectionSecretRef": {"name": "db"},
                "tables": [{"name": "events", "match": {"wedding_id": "1"}}],
            },
        }
        world.add_locations(THREE)
        world.apply(world.policy(sources=[source]))
        name = only_backup(world)
        # No operator reads an organisation's Secrets: it tells what the kubelet says.
        told = world.wait("bj", name, is_because("SecretNotFound"))
        assert "Secret db" in told["status"]["message"]
        world.apply(secret("db", {"password": "x"}))
        world.wait("bj", name, lambda body: "has no key uri" in str(body["status"]))

    def test_an_empty_source_is_a_point_too(self, world: World) -> None:
        world.add_locations(THREE)
        world.apply(world.policy())
        done = world.wait_phase("bj", only_backup(world), "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert done["status"]["sources"][0]["files"] == 0
        world.apply(world.request("back"))
        done = world.wait_phase("rr", "back", "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]


class TestPeople:
    def test_a_trigger_makes_one_backup_for_each_new_text(self, world: World) -> None:
        world.add_locations(THREE)
        world.apply(world.policy(schedule={"suspend": True}))
        world.wait_phase("wbp", "wedding", "Suspended")
        for text, count in (("one", 1), ("two", 2), ("one", 3)):
            world.apply(world.policy(schedule={"suspend": True}, trigger={"manual": text}))
            world.wait("wbp", "wedding", has_served(text))
            assert len(world.list("bj")) == count

    def test_a_cancelled_backup_stops_and_says_so(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=20, size=2_000_000))
        world.add_locations(THREE)
        for name in THREE:
            world.locations[name].proxy.toxic("bandwidth", "upstream", rate=200)
        world.apply(world.policy())
        name = only_backup(world)
        world.wait("bj", name, lambda _: bool(worker_pods(world, "backup")))
        patch = json.dumps({"spec": {"cancel": True}})
        world.cluster.kubectl(
            "patch", "bj", name, "-n", world.namespace, "--type=merge", "-p", patch
        )
        done = world.wait_phase("bj", name, "Cancelled", "Completed")
        assert phase(done) == "Cancelled"
        assert not world.list("jobs")

    def test_a_root_worker_is_refused_by_a_restricted_namespace_in_plain_words(
        self, world: World
    ) -> None:
        world.cluster.kubectl(
            *("label", "namespace", world.namespace),
            "pod-security.kubernetes.io/enforce=restricted",
        )
        world.add_locations(THREE)
        world.apply(world.policy(worker={"privilege": "Root"}))
        name = only_backup(world)
        told = world.wait(
            "bj",
            name,
            lambda body: condition(body, "Ready").get("reason") == "PodSecurityForbids",
        )
        assert "baseline" in condition(told, "Ready")["message"]


class TestDeletion:
    def test_retain_keeps_the_points_and_a_new_policy_finds_them(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=5, size=100_000))
        before = world.shell("portfolio", DIGESTS)
        world.add_locations(THREE)
        world.apply(world.policy())
        first = world.wait_phase("bj", only_backup(world), "Completed")
        world.delete("wbp", "wedding")
        world.shell("portfolio", LOSS)
        assert world.at_home.list("secrets", names.LABEL_VAULT)

        world.apply(world.policy(schedule={"suspend": True}))
        policy = world.wait_phase("wbp", "wedding", "Suspended")
        assert policy["status"]["vault"]["id"] == first["status"]["vault"]["id"]
        world.apply(world.request("back"))
        world.wait_phase("rr", "back", "Completed")
        assert world.shell("portfolio", DIGESTS) == before

    def test_erase_leaves_neither_keys_nor_objects(self, world: World) -> None:
        world.shell("portfolio", WRITE.format(count=5, size=100_000))
        world.add_locations(THREE)
        world.apply(world.policy(retention={"deletionPolicy": "Erase"}))
        done = world.wait(
            "bj",
            only_backup(world),
            lambda body: condition(body, "Replicated").get("status") == "True",
        )
        prefix = done["status"]["vault"]["prefix"]
        assert all(list(world.locations[name].open_keeper(prefix).list("")) for name in THREE)
        world.delete("wbp", "wedding", "--timeout=120s")
        assert not world.at_home.list("secrets", names.LABEL_VAULT)
        for name in THREE:
            assert list(world.locations[name].open_keeper(prefix).list("")) == []


class TestDatabase:
    def test_a_missing_table_or_column_is_named_and_not_tried_again(
        self, world: World, database: str
    ) -> None:
        world.add_locations(THREE)
        world.apply(secret("db", {"uri": database}))
        for name, table, column in (
            ("table", "nowhere", "wedding_id"),
            ("column", "guests", "nowhere"),
        ):
            tables = [{"name": table, "match": {column: "w-1"}}]
            postgres = {"connectionSecretRef": {"name": "db"}, "tables": tables}
            source = {"name": "planning", "dataClass": "Guests", "postgres": postgres}
            world.apply(world.policy(name, sources=[source], schedule={"suspend": True}))
            world.apply(world.backup(name, name))
            failed = world.wait_phase("bj", name, "Failed", "Completed")
            assert phase(failed) == "Failed"
            assert "nowhere" in failed["status"]["message"]
            assert failed["status"]["job"]["attempt"] == 1

    def test_rows_go_and_come_back(self, world: World, database: str) -> None:
        world.add_locations(THREE)
        world.apply(secret("db", {"uri": database}))
        tables = [{"name": "guests", "match": {"wedding_id": "w-1"}}]
        postgres = {"connectionSecretRef": {"name": "db"}, "tables": tables}
        source = {"name": "planning", "dataClass": "Guests", "postgres": postgres}
        world.apply(world.policy(sources=[source]))
        done = world.wait_phase("bj", only_backup(world), "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert done["status"]["sources"][0]["rows"] == 3
        before = rows(database)
        with psycopg.connect(database) as connection:
            connection.execute("DELETE FROM guests WHERE wedding_id = 'w-1'")
        world.apply(world.request("back"))
        done = world.wait_phase("rr", "back", "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        assert rows(database) == before


def rows(database: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute("SELECT * FROM guests ORDER BY id").fetchall()
