"""`weddingbackup doctor` on an installation whose parts are there, or not, or there without effect."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import yaml
from click.testing import CliRunner

from tests import chart
from tests.cluster import Cluster as TestCluster
from weddingbackup.cli import main
from weddingbackup.controller.doctor import Finding, Grade, examine, forgeries
from weddingbackup.kube.client import ApiError, Cluster, connect
from weddingbackup.resources.names import WORKER_ACCOUNT

pytestmark = pytest.mark.integration

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FORGED = ("a forged Pod", "a forged Job", "a forged ServiceAccount")


@pytest.fixture
async def kube(crds: TestCluster) -> AsyncIterator[Cluster]:
    async with connect(str(crds.kubeconfig)) as client:
        yield client


@pytest.fixture
def home(cluster: TestCluster, namespace: str) -> str:
    """A namespace in which pods could be made."""
    deadline = time.monotonic() + 60
    while "default" not in cluster.kubectl("get", "serviceaccounts", "-n", namespace):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return namespace


@pytest.fixture
def guarded(cluster: TestCluster, home: str) -> Iterator[str]:
    """The chart's admission policies, in effect in this namespace."""
    cluster.kubectl("label", "namespace", home, f"{home}=")
    cluster.kubectl("label", "namespace", home, "pod-security.kubernetes.io/enforce=restricted")
    manifest = yaml.safe_dump_all(chart.admission(home, release=home, namespace=home))
    cluster.kubectl("apply", "-f", "-", input=manifest)
    deadline = time.monotonic() + 60
    for _, body in forgeries(home):
        offer = ("create", "--dry-run=server", "-f", "-")
        while "denied" not in cluster.kubectl(*offer, input=json.dumps(body), check=False):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    yield home
    cluster.kubectl("delete", "-f", "-", input=manifest)


async def found(kube: Cluster, home: str) -> dict[str, Finding]:
    return {finding.subject: finding for finding in await examine(kube, home, NOW)}


async def test_where_nothing_is_installed_it_says_what_is_missing(kube: Cluster, home: str) -> None:
    findings = await found(kube, home)
    assert findings["kinds"].grade is Grade.OK
    for subject in ("operator", "broker", "broker's certificate", "admission policies", *FORGED):
        assert findings[subject].grade is Grade.FAILED, findings[subject]
    for subject in ("network policies", "pod security"):
        assert findings[subject].grade is Grade.WARNING, findings[subject]


async def test_policies_in_effect_refuse_what_is_forged(kube: Cluster, guarded: str) -> None:
    findings = await found(kube, guarded)
    for subject in ("admission policies", "pod security", *FORGED):
        assert findings[subject].grade is Grade.OK, findings[subject]


async def test_policies_without_effect_are_not_believed(
    kube: Cluster, cluster: TestCluster, guarded: str
) -> None:
    cluster.kubectl("label", "namespace", guarded, f"{guarded}-")
    deadline = time.monotonic() + 60
    findings = await found(kube, guarded)
    while any(findings[subject].grade is not Grade.FAILED for subject in FORGED):
        assert time.monotonic() < deadline
        findings = await found(kube, guarded)
    assert findings["admission policies"].grade is Grade.OK


async def test_nothing_forged_is_stored(kube: Cluster, cluster: TestCluster, home: str) -> None:
    await examine(kube, home, NOW)
    left = cluster.kubectl("get", "pods,jobs,serviceaccounts", "-n", home, "-o", "name")
    assert "doctor" not in left
    assert WORKER_ACCOUNT not in left


def test_it_ends_with_1_where_something_failed(crds: TestCluster, home: str) -> None:
    options = ("--kubeconfig", str(crds.kubeconfig), "--operator-namespace", home)
    done = CliRunner().invoke(main, ["doctor", *options])
    assert done.exit_code == 1
    assert "FAILED   operator" in done.output
    assert "ok       kinds" in done.output


async def test_who_may_not_look_is_told_so(kube: Cluster) -> None:
    with pytest.raises(ApiError):
        await kube.create(*forgeries("no-such-namespace")[0], dry_run=True)
