"""What every end-to-end test stands on: the cluster with image and kinds, five stores, one operator, one broker."""

import secrets
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
from tests.e2e.world import IMAGE, World
from tests.home import Home, home
from tests.servers.locations import Location, five_locations
from tests.servers.postgres import postgres
from weddingbackup.kube.client import OUR_KINDS
from weddingbackup.resources import names, schema


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    cluster = clusters.up("test")
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
    namespace = f"e2e-{secrets.token_hex(5)}"
    locations = {location.name: location for location in stores}
    world = World(home, namespace, locations, mark=namespace)
    _found(world)
    try:
        yield world
    finally:
        for location in stores:
            location.proxy.heal()
        _clean(world)


@pytest.fixture
def other(world: World) -> World:
    """Another organisation beside the first, which may use the same locations."""
    other = world.elsewhere(f"{world.namespace}-other")
    _found(other)
    return other


@pytest.fixture
def operator(world: World, tmp_path: Path) -> Iterator[Operator]:
    with Operator(world.home, IMAGE, tmp_path / "operator.log").running() as process:
        yield process


@pytest.fixture
def broker(operator: Operator, tmp_path: Path) -> Iterator[Broker]:
    with Broker(operator.home, tmp_path / "broker.log").running() as process:
        yield process


def _found(world: World) -> None:
    world.home.add_namespace(world.namespace)
    world.cluster.kubectl("label", "namespace", world.namespace, f"mark={world.mark}")
    world.apply(world.claim("portfolio"))


def _clean(world: World) -> None:
    """The operator is gone by now, so its finalizers are taken off by hand."""
    cluster, marked = world.cluster, ["-l", f"mark={world.mark}"]
    found = ("get", "namespaces", *marked, "-o", "jsonpath={.items[*].metadata.name}")
    namespaces = cluster.kubectl(*found).split()
    patch = '{"metadata":{"finalizers":null}}'
    for resource in OUR_KINDS:
        chosen = [["-n", each] for each in namespaces] if resource.namespaced else [marked]
        for place in chosen:
            where = place if resource.namespaced else []
            for name in cluster.kubectl("get", resource.plural, *place, "-o", "name").split():
                cluster.kubectl("patch", name, *where, "--type=merge", "-p", patch, check=False)
                cluster.kubectl("delete", name, *where, "--wait=false", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", *namespaces, "--wait=false")
    here = ("-n", world.home.namespace, "--wait=false")
    cluster.kubectl("delete", "jobs", *here, "-l", names.LABEL_TASK)
    cluster.kubectl("delete", "secrets", *here, "-l", names.LABEL_VAULT)
