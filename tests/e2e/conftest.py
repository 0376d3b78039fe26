"""What every end-to-end test stands on: the cluster with image and kinds, five stores, one operator, one broker."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import cluster as clusters
from tests.cluster import Cluster
from tests.cluster.given import GivenCluster
from tests.cluster.image import build
from tests.e2e.broker_process import Broker
from tests.e2e.operator_process import Operator
from tests.e2e.world import World, living
from tests.home import Home, home
from tests.servers.locations import Location, five_locations
from tests.servers.postgres import postgres
from weddingbackup.resources import schema


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    # Not the one of the integration tests: an operator serves all namespaces, and would serve theirs.
    cluster = clusters.up("e2e")
    if not isinstance(cluster, GivenCluster):
        cluster.load_image(build())
    definitions = "\n---\n".join(schema.render().values())
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=tests", "-f", "-")
    cluster.kubectl(*apply, input=definitions)
    crds = [f"crd/{schema.crd(kind)['metadata']['name']}" for kind in schema.KINDS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    return cluster


@pytest.fixture(scope="session")
def stores(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Location]]:
    directory = tmp_path_factory.mktemp("stores")
    with five_locations(directory, host=cluster.host_address) as locations:
        yield locations


@pytest.fixture(scope="session")
def database(cluster: Cluster) -> Iterator[str]:
    """A connection string to a database with the guests of two weddings."""
    with postgres(host=cluster.host_address) as server:
        uri = server.create_database("weddings")
        with psycopg.connect(uri) as connection:
            connection.execute(
                "CREATE TABLE guests (id int PRIMARY KEY, wedding_id text NOT NULL, name text)"
            )
            guests = [(number, f"w-{number % 2}", f"Guest {number}") for number in range(1, 7)]
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO guests VALUES (%s, %s, %s)", guests)
        yield uri


@pytest.fixture(scope="session", name="home")
def home_(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home(cluster, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def world(home: Home, stores: list[Location]) -> Iterator[World]:
    with living(home, stores) as world:
        yield world


@pytest.fixture
def other(world: World) -> World:
    """Another organisation beside the first, which may use the same locations."""
    return world.neighbour()


@pytest.fixture
def operator(world: World, tmp_path: Path) -> Iterator[Operator]:
    with Operator(world.home, tmp_path / "operator.log").running() as process:
        yield process


@pytest.fixture
def broker(operator: Operator, tmp_path: Path) -> Iterator[Broker]:
    with Broker(operator.home, tmp_path / "broker.log").running() as process:
        yield process
