"""Who may do what once the chart is installed, asked of a real API server."""

import secrets
import time
from collections.abc import Iterator

import pytest
import yaml

from tests import chart
from tests.cluster import Cluster

pytestmark = pytest.mark.integration

_RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_CLUSTER_KINDS = ("backuplocations", "backupdatabases")
_KINDS = (*_CLUSTER_KINDS, "weddingbackuppolicies", "backupjobs", "recoveryrequests")
_GROUP = "backup.wedsync.io"


class Rights:
    """Asks `kubectl auth can-i` for somebody."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self.namespace = namespace

    def operator(self, verb: str, what: str, namespace: str | None = None) -> bool:
        account = f"system:serviceaccount:{self.namespace}:{self.namespace}-operator"
        return self.ask(account, verb, what, namespace)

    def broker(self, verb: str, what: str, namespace: str | None = None) -> bool:
        account = f"system:serviceaccount:{self.namespace}:{self.namespace}-broker"
        return self.ask(account, verb, what, namespace)

    def worker(self, verb: str, what: str) -> bool:
        account = f"system:serviceaccount:{self.namespace}:{self.namespace}-worker"
        return self.ask(account, verb, what)

    def named(self, who: str, verb: str, what: str, namespace: str) -> bool:
        """The same of one object: resource/name."""
        account = f"system:serviceaccount:{self.namespace}:{self.namespace}-{who}"
        command = ("auth", "can-i", verb, what, f"--as={account}", "--namespace", namespace)
        return self._cluster.kubectl(*command, check=False).strip().endswith("yes")

    def ask(self, who: str, verb: str, what: str, namespace: str | None = None) -> bool:
        resource, _, subresource = what.partition("/")
        command = ["auth", "can-i", verb, resource, f"--as={who}"]
        command += [f"--subresource={subresource}"] if subresource else []
        command += ["--namespace", namespace or self.namespace]
        return self._cluster.kubectl(*command, check=False).strip().endswith("yes")


@pytest.fixture(scope="module")
def rights(crds: Cluster) -> Iterator[Rights]:
    """The chart's accounts and roles alone, in a namespace of their own: nothing runs."""
    name = f"test-{secrets.token_hex(6)}"
    crds.kubectl("create", "namespace", name)
    rendered = chart.template("--set=crds.install=false", release=name, namespace=name)
    mine = [body for body in chart.objects(rendered) if body["kind"] in _RIGHTS]
    manifest = yaml.safe_dump_all(mine)
    crds.kubectl("apply", "-f", "-", input=manifest)
    for role in ("view", "edit"):
        crds.kubectl(
            *("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er"),
            *("--namespace", name),
        )
    yield Rights(crds, name)
    crds.kubectl("delete", "--wait=false", "-f", "-", input=manifest)
    crds.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("resource", _KINDS)
def test_the_operator_watches_and_describes_our_kinds_everywhere(
    rights: Rights, resource: str
) -> None:
    what = f"{resource}.{_GROUP}"
    for verb in ("get", "list", "watch", "patch"):
        assert rights.operator(verb, what, "default"), verb
    assert rights.operator("patch", f"{what}/status", "default")
    mine = resource == "backupjobs"
    assert rights.operator("delete", what, "default") is mine
    assert rights.operator("create", what, "default") is mine


@pytest.mark.parametrize(
    "what",
    [
        *(f"{verb} jobs.batch" for verb in ("get", "list", "watch", "create", "patch", "delete")),
        "list pods",
        "get persistentvolumeclaims",
        *(f"{verb} events" for verb in ("get", "list", "create", "patch")),
        *(f"{verb} namespaces" for verb in ("get", "list", "watch")),
        "create serviceaccounts",
        "get serviceaccounts/weddingbackup-worker",
        "patch serviceaccounts/weddingbackup-worker",
        "create networkpolicies.networking.k8s.io",
        "patch networkpolicies.networking.k8s.io/weddingbackup-worker",
    ],
)
def test_the_operator_makes_workers_everywhere(rights: Rights, what: str) -> None:
    verb, resource = what.split()
    assert rights.named("operator", verb, resource, "default")


@pytest.mark.parametrize("verb", ["get", "create", "patch", "delete"])
def test_the_operator_keeps_secrets_at_home_only(rights: Rights, verb: str) -> None:
    assert rights.operator(verb, "secrets")
    assert not rights.operator(verb, "secrets", "default")


@pytest.mark.parametrize(
    "what",
    [
        "list secrets",
        "update secrets",
        "get pods/log",
        "create pods",
        "create pods/exec",
        "create serviceaccounts/token",
        "patch serviceaccounts",
        "patch networkpolicies.networking.k8s.io",
        "delete networkpolicies.networking.k8s.io",
        f"create weddingbackuppolicies.{_GROUP}",
        f"delete weddingbackuppolicies.{_GROUP}",
        "create rolebindings.rbac.authorization.k8s.io",
        "patch deployments.apps",
        "patch validatingadmissionpolicies.admissionregistration.k8s.io",
    ],
)
def test_the_operator_may_not(rights: Rights, what: str) -> None:
    assert not rights.operator(*what.split())


@pytest.mark.parametrize(
    "what",
    [
        "create tokenreviews.authentication.k8s.io",
        "get pods",
        "get namespaces",
        "get jobs.batch",
        *(f"get {kind}.{_GROUP}" for kind in _KINDS),
        f"list backuplocations.{_GROUP}",
        f"patch backupjobs.{_GROUP}/status",
        f"patch recoveryrequests.{_GROUP}/status",
    ],
)
def test_the_broker_finds_out_who_asks_everywhere(rights: Rights, what: str) -> None:
    verb, resource = what.split()
    assert rights.broker(verb, resource, "default")


def test_the_broker_reads_secrets_at_home_only(rights: Rights) -> None:
    assert rights.broker("get", "secrets")
    assert not rights.broker("get", "secrets", "default")


@pytest.mark.parametrize(
    "what",
    [
        "list secrets",
        "create secrets",
        "patch secrets",
        "list pods",
        "create pods",
        "create jobs.batch",
        "patch jobs.batch",
        "create serviceaccounts/token",
        f"patch backupjobs.{_GROUP}",
        f"patch weddingbackuppolicies.{_GROUP}/status",
        f"create recoveryrequests.{_GROUP}",
    ],
)
def test_the_broker_may_not(rights: Rights, what: str) -> None:
    assert not rights.broker(*what.split())


def test_a_worker_may_do_nothing(rights: Rights) -> None:
    for what in ("secrets", "pods", "configmaps", f"backupjobs.{_GROUP}"):
        for verb in ("get", "list", "create"):
            assert not rights.worker(verb, what)


def test_people_get_our_kinds_with_the_clusters_own_roles(rights: Rights) -> None:
    # The controller manager adds a role's rules to view and edit a moment after it is made.
    deadline = time.monotonic() + 60
    while not rights.ask("editer", "create", f"recoveryrequests.{_GROUP}"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for resource in _KINDS[len(_CLUSTER_KINDS) :]:
        what = f"{resource}.{_GROUP}"
        assert rights.ask("viewer", "list", what)
        assert not rights.ask("viewer", "create", what)
        assert rights.ask("editer", "delete", what)
        assert not rights.ask("editer", "patch", f"{what}/status")
    assert rights.ask("editer", "patch", f"backupalerts.{_GROUP}")
    for resource in _CLUSTER_KINDS:
        assert not rights.ask("editer", "create", f"{resource}.{_GROUP}")
        assert not rights.ask("editer", "patch", f"{resource}.{_GROUP}")


@pytest.mark.parametrize("name", ["operator", "broker", "release"])
def test_our_pods_are_taken_under_the_restricted_level(
    cluster: Cluster, namespace: str, name: str
) -> None:
    cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    (template,) = (
        body["spec"]["template"]
        for body in chart.objects(chart.template())
        if body["kind"] in {"Deployment", "Job"} and body["metadata"]["name"].endswith(f"-{name}")
    )
    # Made here: the namespace's own appears a moment later.
    cluster.kubectl("create", "serviceaccount", "someone", "--namespace", namespace)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod"},
        "spec": template["spec"] | {"serviceAccountName": "someone"},
    }
    dry_run = ("create", "--dry-run=server", "--validate=strict", "--namespace", namespace)
    cluster.kubectl(*dry_run, "-f", "-", input=yaml.safe_dump(pod))
