"""BackupDatabase: what an administrator is told of it, and what the broker makes of it for a namespace."""

import secrets
from typing import Any

import psycopg
import pytest

from tests.integration.controller.conftest import Home
from tests.servers.fixtures import postgres
from tests.servers.postgres import Postgres
from weddingbackup.broker.rows import KubernetesDatabases
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.controller import databases
from weddingbackup.kube.client import BACKUPS, DATABASES, POLICIES, REQUESTS, SECRETS, Object
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.vault.kit import Kit

__all__ = ["postgres"]

pytestmark = pytest.mark.integration

LABEL = "wedsync.io/vendor-id"
TABLES = [
    {"name": "weddings", "owner": {"column": "vendor_id", "namespaceLabel": LABEL}},
    {"name": "guests", "via": {"table": "weddings", "foreignKey": "wedding_id"}},
]
CHOSEN = [{"name": "guests", "match": {"wedding_id": "w"}}]
SCHEMA = """
CREATE TABLE weddings (id text PRIMARY KEY, vendor_id int);
CREATE TABLE guests (id int PRIMARY KEY, wedding_id text REFERENCES weddings);
"""


@pytest.fixture
async def name(home: Home) -> Any:
    """Databases are the whole cluster's."""
    found = f"platform-{secrets.token_hex(4)}"
    yield found
    await home.cluster.delete(DATABASES, found)


async def register(home: Home, name: str, uri: str, tables: Any = TABLES) -> Object:
    await home.make(
        SECRETS, name, namespace=home.context.home, stringData={"uri": uri}, metadata={}
    )
    spec = {"connectionSecretRef": {"name": name}, "allowedNamespaces": {}, "tables": tables}
    return await home.make(DATABASES, name, spec=spec)


async def told(home: Home, name: str) -> tuple[str, str]:
    await databases.reconcile(home.context, await home.get(DATABASES, name))
    conditions = (await home.get(DATABASES, name))["status"]["conditions"]
    (true,) = [each for each in conditions if each["status"] == "True"]
    return true["type"], f"{true['reason']}: {true.get('message', '')}"


async def test_a_database_that_is_as_it_is_said_is_ready(
    home: Home, name: str, postgres: Postgres
) -> None:
    uri = postgres.create_database(name)
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(SCHEMA)
    await register(home, name, uri)
    assert (await told(home, name))[0] == "Ready"
    version = (await home.get(DATABASES, name))["metadata"]["resourceVersion"]
    await told(home, name)
    assert (await home.get(DATABASES, name))["metadata"]["resourceVersion"] == version
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("ALTER TABLE weddings DROP vendor_id")
    state, message = await told(home, name)
    assert state == "Stalled"
    assert "DatabaseRefused: table public.weddings has no column vendor_id" in message


async def test_a_database_that_is_away_is_waited_for(home: Home, name: str) -> None:
    await register(home, name, "postgresql://u:hunter2@127.0.0.1:9/x")
    state, message = await told(home, name)
    assert state == "Reconciling"
    assert message.startswith("DatabaseUnavailable: PostgreSQL at 127.0.0.1:9 does not answer")
    assert "hunter2" not in message


async def test_a_database_without_a_connection_says_where_it_goes(home: Home, name: str) -> None:
    spec = {"connectionSecretRef": {"name": name}, "allowedNamespaces": {}, "tables": TABLES}
    await home.make(DATABASES, name, spec=spec)
    state, message = await told(home, name)
    assert state == "Stalled"
    assert f"Secret {name} of namespace {home.context.home} has no key uri" in message


def scope(home: Home, owner: Object, purpose: Purpose, **more: Any) -> Scope:
    metadata = owner["metadata"]
    return Scope(
        **{
            "purpose": purpose,
            "namespace": home.namespace,
            "labels": {LABEL: "7"},
            "pod": "p",
            "pod_uid": "p",
            "owner": ObjectRef(
                namespace=home.namespace, name=metadata["name"], uid=metadata["uid"]
            ),
            "job_uid": "job",
            "policy": "wedding",
            "vault": VaultRef(id="v", prefix="v"),
            "kit": Kit.found(),
            "classes": frozenset(),
            "planned": frozenset(),
            "locations": {},
            "quorum": 0,
            "sources": {"planning": DataClass.TIMELINE},
            **more,
        }
    )


async def policy(home: Home, **postgres_: Any) -> None:
    wedding = {
        "id": "w",
        "date": "2026-12-05",
        "timeZone": "Europe/London",
        "venue": {"latitude": 51, "longitude": 0, "country": "GB"},
    }
    source = {
        "name": "planning",
        "dataClass": "Timeline",
        "postgres": {"tables": CHOSEN, **postgres_},
    }
    await home.make(POLICIES, "wedding", spec={"wedding": wedding, "sources": [source]})


async def test_the_broker_goes_by_the_cluster_alone(home: Home, name: str) -> None:
    await register(home, name, "postgresql://there")
    await policy(home, databaseRef={"name": name})
    backup = await home.make(BACKUPS, "one", spec={"policyRef": {"name": "wedding"}})
    known = KubernetesDatabases(home.cluster, home.context.home)
    rows = await known.rows(scope(home, backup, Purpose.BACKUP), "planning")
    assert rows.uri == "postgresql://there"
    assert [table.match for table in rows.tables] == [{"wedding_id": "w"}]
    assert {table.name: table.match for table in rows.fence} == {
        "guests": None,
        "weddings": {"vendor_id": "7"},
    }
    assert "there" not in repr(rows)
    with pytest.raises(RefusedError, match="has no label"):
        await known.rows(scope(home, backup, Purpose.BACKUP, labels={}), "planning")
    with pytest.raises(RefusedError, match="source photos is in no shared database"):
        await known.rows(scope(home, backup, Purpose.BACKUP), "photos")
    gone = {"metadata": {**backup["metadata"], "uid": "another"}}
    with pytest.raises(RefusedError, match="the job is gone"):
        await known.rows(scope(home, gone, Purpose.BACKUP), "planning")


async def test_a_recovery_goes_where_its_request_says(home: Home, name: str) -> None:
    await register(home, name, "postgresql://there")
    await policy(home, connectionSecretRef={"name": "own"})
    known = KubernetesDatabases(home.cluster, home.context.home)

    async def rows(request: str, **spec: Any) -> Any:
        spec = {"policyRef": {"name": "wedding"}, **spec}
        made = await home.make(REQUESTS, request, spec=spec)
        return await known.rows(scope(home, made, Purpose.RESTORE), "planning")

    with pytest.raises(RefusedError, match="in no shared database"):
        await rows("in-place")
    with pytest.raises(RefusedError, match=r"does not share table restored\.guests"):
        await rows(
            "elsewhere",
            targets=[
                {
                    "source": "planning",
                    "postgres": {"databaseRef": {"name": name}, "schema": "restored"},
                }
            ],
        )
    found = await rows(
        "here", targets=[{"source": "planning", "postgres": {"databaseRef": {"name": name}}}]
    )
    assert found.schema is None
    assert {table.name for table in found.fence} == {"guests", "weddings"}
