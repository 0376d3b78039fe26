"""Every manifest that we show people is taken by a real API server, to the last field."""

import re
from collections.abc import Iterator

import pytest

from tests.chart import INSTALL, NAMESPACE, PROJECT
from tests.cluster import Cluster

pytestmark = pytest.mark.integration

SAMPLES = sorted((PROJECT / "manifests" / "samples").glob("*.yaml"))


VENDOR = "bella-photography"


@pytest.fixture(scope="module")
def home(crds: Cluster) -> Iterator[None]:
    """The samples' namespaces, the operator's and a vendor's; removed if they were not there before."""
    made = []
    for namespace in (NAMESPACE, VENDOR):
        if not crds.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name"):
            crds.kubectl("create", "namespace", namespace)
            made.append(namespace)
    yield
    for namespace in made:
        crds.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@pytest.mark.usefixtures("home")
def test_a_sample_is_taken(crds: Cluster, path: object) -> None:
    crds.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(path))


@pytest.mark.usefixtures("home")
def test_what_the_readme_shows_is_taken(crds: Cluster) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert len(shown) == 2
    apply = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    taken = crds.kubectl(*apply, input="---\n".join(shown))
    assert taken.count("created") == len(shown)


@pytest.mark.usefixtures("home")
def test_the_plain_installation_is_taken(crds: Cluster) -> None:
    taken = crds.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
        *("--validate=strict", "--field-manager=tests", "-f", INSTALL),
    )
    assert "deployment.apps/wedding-backup-operator" in taken
    assert "Warning" not in taken
