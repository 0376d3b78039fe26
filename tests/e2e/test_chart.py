"""The chart, installed and uninstalled as a platform engineer does it: it leaves nothing that hangs.

In a cluster of its own, since an operator of a release watches all namespaces.
"""

import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests import chart, objects
from tests import cluster as clusters
from tests.cluster import Cluster, image
from tests.cluster.given import GivenCluster
from tests.tools import binary
from weddingbackup.resources.names import FINALIZER

pytestmark = pytest.mark.e2e

NAMESPACE = chart.NAMESPACE
POLICY = f"wbp/{objects.policy()['metadata']['name']}"
Helm = Callable[..., None]


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    cluster = clusters.up("chart")
    if not isinstance(cluster, GivenCluster):  # who gives a cluster has put the image there
        cluster.load_image(image.build())
    yield cluster
    clusters.down("chart")


@pytest.fixture
def helm(own_cluster: Cluster) -> Helm:
    def run(*arguments: str) -> None:
        where = ("--kubeconfig", str(own_cluster.kubeconfig), "--namespace", NAMESPACE)
        subprocess.run([str(binary("helm")), *arguments, *where], check=True, capture_output=True)

    return run


@pytest.fixture
def installed(own_cluster: Cluster, helm: Helm) -> Iterator[Cluster]:
    """The chart under the restricted level, and one policy that the operator has seen."""
    # The first object of install.yaml is the namespace, with its Pod Security labels.
    namespace = chart.objects(chart.INSTALL.read_text())[0]
    own_cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(namespace))
    tag = image.NAME.rpartition(":")[2]
    options = (f"--set=image.tag={tag}", "--wait", "--timeout=180s")
    helm("install", chart.RELEASE, str(chart.CHART), *options)
    apply = ("apply", "--namespace", NAMESPACE, "-f", "-")
    own_cluster.kubectl(*apply, input=yaml.safe_dump(objects.policy()))
    # It names a claim that is not there: the operator has read it, and says so.
    own_cluster.kubectl(
        *("wait", POLICY, "--for=condition=Stalled", "--timeout=60s", "--namespace", NAMESPACE)
    )
    yield own_cluster
    own_cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def finalizers(cluster: Cluster) -> list[str]:
    shown = ("-o", "jsonpath={.metadata.finalizers[*]}", "--namespace", NAMESPACE)
    return cluster.kubectl("get", POLICY, *shown).split()


def test_uninstalling_keeps_policies_and_lets_go_of_them(installed: Cluster, helm: Helm) -> None:
    assert finalizers(installed) == [FINALIZER]
    helm("uninstall", chart.RELEASE, "--wait", "--timeout=180s")
    assert finalizers(installed) == []
    installed.kubectl("delete", POLICY, "--namespace", NAMESPACE, "--timeout=30s")
    roles = installed.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert chart.RELEASE not in roles


def test_a_chart_that_takes_its_kinds_along_does_not_hang(installed: Cluster, helm: Helm) -> None:
    tag = image.NAME.rpartition(":")[2]
    gone = ("--set=crds.keep=false", f"--set=image.tag={tag}", "--wait", "--timeout=180s")
    helm("upgrade", chart.RELEASE, str(chart.CHART), *gone)
    helm("uninstall", chart.RELEASE, "--wait", "--timeout=180s")
    assert "wedsync" not in installed.kubectl("get", "crd", "-o", "name")
