"""Every manifest that we show people is taken by a real API server, to the last field."""

import re
from collections.abc import Iterator

import pytest

from tests.chart import INSTALL, NAMESPACE, PROJECT
from tests.cluster import Cluster

pytestmark = pytest.mark.integration

SAMPLES = sorted((PROJECT / "manifests" / "samples").glob("*.yaml"))


@pytest.fixture(scope="module")
def home(crds: Cluster) -> Iterator[str]:
    """The samples' namespace, as install.yaml makes it; removed if it was not there before."""
    before = crds.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
    if not before:
        crds.kubectl("create", "namespace", NAMESPACE)
    yield NAMESPACE
    if not before:
        crds.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


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
