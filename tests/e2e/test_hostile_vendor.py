"""A vendor with `edit` in one namespace orders what belongs to others, and has operator and broker try to serve it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests import objects
from tests.e2e.world import Object, World, condition, phase, secret
from tests.home import kubeconfig
from tests.servers.postgres import postgres
from weddingbackup.resources import names

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("broker")]

THREE = ("london", "frankfurt", "paris")
VENDOR = "wedsync.io/vendor-id"
WRITE = "import pathlib; pathlib.Path('/data/photo.jpg').write_bytes(b'theirs' * 1000)"


@dataclass(frozen=True)
class Shared:
    """A database of two vendors' guests, registered for whoever carries the label."""

    uri: str
    name: str

    def rows(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri) as connection:
            return connection.execute("SELECT * FROM guests ORDER BY id").fetchall()

    def source(self, table: str = "guests", **match: str) -> Object:
        tables = [{"name": table, "match": match or {"wedding_id": "w-1"}}]
        chosen = {"databaseRef": {"name": self.name}, "tables": tables}
        return {"name": "planning", "dataClass": "Guests", "postgres": chosen}


@pytest.fixture
def shared(world: World, other: World) -> Iterator[Shared]:
    """The first organisation is vendor 1, the other one vendor 2; three guests are each one's."""
    with postgres(host=world.cluster.host_address) as server:
        uri = server.create_database("shared")
        with psycopg.connect(uri) as connection:
            connection.execute(
                "CREATE TABLE guests (id int PRIMARY KEY, vendor_id int, wedding_id text, name text)"
            )
            connection.execute("CREATE TABLE secrets (id int PRIMARY KEY, wedding_id text)")
            connection.execute("INSERT INTO secrets VALUES (1, 'w-1')")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO guests VALUES (%s, %s, 'w-1', %s)",
                    [(n, 1 + n % 2, f"Guest {n}") for n in range(6)],
                )
        for number, each in enumerate((world, other), start=1):
            label = f"{VENDOR}={number}"
            world.cluster.kubectl("label", "namespace", each.namespace, label)
        name = f"shared-{world.mark[-6:]}"
        owner = {"column": "vendor_id", "namespaceLabel": VENDOR}
        database = {
            "apiVersion": names.API_VERSION,
            "kind": "BackupDatabase",
            "metadata": {"name": name, "labels": {"mark": world.mark}},
            "spec": {
                "connectionSecretRef": {"name": name},
                "allowedNamespaces": {"matchLabels": {"mark": world.mark}},
                "tables": [{"name": "guests", "owner": owner}],
            },
        }
        world.at_home.apply(secret(name, {"uri": uri}), database)
        world.add_locations(THREE)
        yield Shared(uri, name)


def settled(world: World, name: str = "now") -> Object:
    return world.wait_phase("bj", name, "Completed", "Failed")


class TestRows:
    def test_a_match_that_names_everybodys_wedding(
        self, world: World, other: World, shared: Shared
    ) -> None:
        for each in (world, other):
            each.apply(each.policy(sources=[shared.source()], schedule={"suspend": True}))
            each.apply(each.backup("now"))
        for each in (world, other):
            done = settled(each)
            assert phase(done) == "Completed", done["status"]
            assert done["status"]["sources"][0]["rows"] == 3
        before = shared.rows()
        with psycopg.connect(shared.uri) as connection:
            connection.execute("UPDATE guests SET name = 'lost'")
        world.apply(world.request("back"))
        done = world.wait_phase("rr", "back", "Completed", "Failed")
        assert phase(done) == "Completed", done["status"]
        mine = [row for row in before if row[1] == 1]
        assert [row for row in shared.rows() if row[1] == 1] == mine
        assert {row[3] for row in shared.rows() if row[1] == 2} == {"lost"}

    def test_a_match_that_names_another_vendor(self, world: World, shared: Shared) -> None:
        source = shared.source(vendor_id="2")
        world.apply(world.policy(sources=[source], schedule={"suspend": True}))
        world.apply(world.backup("now"))
        done = settled(world)
        assert phase(done) == "Completed", done["status"]
        assert done["status"]["sources"][0]["rows"] == 0

    def test_a_table_that_is_not_registered(self, world: World, shared: Shared) -> None:
        source = shared.source("secrets")
        world.apply(world.policy(sources=[source], schedule={"suspend": True}))
        world.apply(world.backup("now"))
        blocked = world.wait(
            *("bj", "now"),
            lambda body: "secrets" in str(body["status"]) or phase(body) in {"Completed", "Failed"},
        )
        # A worker's own words about the table's rows would name it, too.
        assert "does not share table" in str(blocked["status"]), blocked["status"]
        assert phase(blocked) != "Completed"
        assert not blocked["status"].get("manifest")


class TestRecovery:
    def test_another_organisations_policy(self, world: World, other: World) -> None:
        other.shell("portfolio", WRITE)
        world.add_locations(THREE)
        other.apply(other.policy(schedule={"suspend": True}), other.backup("now"))
        assert phase(settled(other)) == "Completed"
        account = ("sa", "vendor", "-n", world.namespace)
        world.cluster.kubectl("create", *account)
        bind = ("create", "rolebinding", "edit", "--clusterrole=edit", "-n", world.namespace)
        world.cluster.kubectl(*bind, f"--serviceaccount={world.namespace}:vendor")
        person = kubeconfig(
            world.cluster, world.namespace, "vendor", world.home.folder / world.namespace
        )
        request = objects.recovery_request(
            "theirs",
            policyRef={"name": "wedding", "namespace": other.namespace},
            targets=[{"source": "portfolio", "volume": {"claimName": "portfolio"}}],
        )
        world.cluster.kubectl(
            *("create", "--kubeconfig", str(person), "-f", "-"), input=json.dumps(request)
        )
        told = world.wait("rr", "theirs", lambda body: condition(body, "Ready").get("reason"))
        assert phase(told) != "Completed"
        assert not told["status"].get("vault")
        assert not world.list("jobs")
        assert world.shell("portfolio", "import os; print(os.listdir('/data'))").strip() == "[]"
