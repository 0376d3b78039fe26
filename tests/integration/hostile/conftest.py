"""A person with the cluster's own role `edit` in one namespace, and all that this person would like to have."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import objects
from tests.cluster import Cluster
from tests.home import Home, home, kubeconfig
from tests.tools import binary
from weddingbackup.resources.names import LABEL_TASK, WORKER_ACCOUNT

Object = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Somebody with a kubeconfig of their own."""

    kubeconfig: Path
    namespace: str

    def tries(self, *arguments: str, body: Object | None = None) -> str:
        """What kubectl says to them, errors included."""
        done = subprocess.run(
            [str(binary("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=None if body is None else json.dumps(body),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def creates(self, body: Object, *options: str) -> str:
        return self.tries("create", *options, "-f", "-", body=body)

    def patches(self, what: str, patch: Object, *options: str) -> str:
        return self.tries("patch", what, "--type=merge", "-p", json.dumps(patch), *options)


@dataclass(frozen=True)
class Town:
    """Two organisations' namespaces, and a worker at work in the first.

    Attributes:
        vendor: may edit `mine`, and has no right elsewhere.
        worker: the pod's name; it is on no node.
    """

    home: Home
    mine: str
    theirs: str
    vendor: Person
    worker: str
    backup: Object

    def refused_by(self, answer: str, policy: str) -> bool:
        name = f"{self.home.namespace}-{self.home.namespace}-{policy}"
        return f"'{name}' with binding" in answer and "denied" in answer


@pytest.fixture(scope="package")
def town(crds: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with home(crds, tmp_path_factory.mktemp("home")) as at:
        name = f"hostile-{secrets.token_hex(4)}"
        mine, theirs = f"{name}-mine", f"{name}-theirs"
        for namespace in (mine, theirs):
            at.add_namespace(namespace)
            crds.kubectl("create", "serviceaccount", "vendor", "-n", namespace)
        bind = ("create", "rolebinding", "edit", "--clusterrole=edit")
        crds.kubectl(*bind, f"--serviceaccount={mine}:vendor", "-n", mine)
        operator = Person(at.kubeconfig("operator"), at.namespace)
        vendor = Person(kubeconfig(crds, mine, "vendor", at.folder / "vendor"), mine)
        backup = _given(crds, mine, theirs)
        worker = _worker(crds, operator, mine, backup)
        yield Town(at, mine, theirs, vendor, worker, backup)
        for namespace in (mine, theirs):
            crds.kubectl("delete", "namespace", namespace, "--timeout=120s")
        crds.kubectl("delete", "bl", mine)


def _given(cluster: Cluster, mine: str, theirs: str) -> Object:
    """What is there before anybody is hostile; gives the first organisation's BackupJob."""
    given = (
        (mine, objects.policy()),
        (mine, objects.backup_job()),
        (mine, objects.recovery_request()),
        (mine, objects.alert()),
        (theirs, objects.policy()),
        (theirs, objects.backup_job()),
    )
    for namespace, body in given:
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(body))
    cluster.kubectl("create", "-f", "-", input=json.dumps(objects.location(mine)))
    found = cluster.kubectl("get", "bj", "before-the-weekend", "-n", mine, "-o", "json")
    backup: Object = json.loads(found)
    return backup


def _worker(cluster: Cluster, operator: Person, namespace: str, backup: Object) -> str:
    """A worker's pod, made as all are: the operator makes account and Job, a controller the pod."""
    metadata = {"name": WORKER_ACCOUNT, "namespace": namespace}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    for body in (account, worker_job("backup", namespace, backup)):
        answer = operator.creates(body)
        assert "created" in answer, answer
    there = ("-n", namespace, "-l", "batch.kubernetes.io/job-name=backup")
    cluster.kubectl("wait", "--for=create", "pod", *there, "--timeout=60s")
    return cluster.kubectl("get", "pod", *there, "-o", "jsonpath={.items[0].metadata.name}")


def pod_spec(account: str = WORKER_ACCOUNT) -> Object:
    """On no node: such a pod is made, and never runs."""
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "nodeSelector": {"no-such-node": "true"},
        "containers": [{"name": "worker", "image": "example.invalid/image"}],
    }


def worker_job(name: str, namespace: str, backup: Object) -> Object:
    """A worker's Job, as good as a forger can make it."""
    owner = {
        "apiVersion": backup["apiVersion"],
        "kind": backup["kind"],
        "name": backup["metadata"]["name"],
        "uid": backup["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    labels = {LABEL_TASK: "backup"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod_spec()}},
    }
