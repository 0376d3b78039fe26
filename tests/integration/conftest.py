"""One real API server for all integration tests: the test cluster, brought up if it does not run."""

import secrets
from collections.abc import Iterator

import pytest

from tests import cluster as clusters
from tests.cluster import Cluster
from weddingbackup.resources import schema


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster `test`; it stays up for the next run, `python -m tests.cluster down` ends it."""
    return clusters.up("test")


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The cluster with our kinds as the models now describe them."""
    definitions = "\n---\n".join(schema.render().values())
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=tests", "-f", "-")
    cluster.kubectl(*apply, input=definitions)
    names = [f"crd/{schema.crd(kind)['metadata']['name']}" for kind in schema.KINDS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, gone with all that is in it afterwards."""
    name = f"test-{secrets.token_hex(6)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
