"""The operator's namespace with the chart's accounts, rights and admission policies, but no Deployment.

Operator and broker run as processes of this machine, with the tokens of their own accounts: what the
chart's roles do not allow fails here as it would in a pod.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import chart
from tests.cluster import Cluster
from tests.servers.process import free_port
from weddingbackup.resources.names import LABEL_TASK, WORKER_ACCOUNT

_RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Home:
    """Where operator and broker are at home, and how they reach the cluster.

    Attributes:
        namespace: it is also the chart's release, and a label of the namespaces that its admission policies
            are in effect in.
        folder: of this machine, for kubeconfigs and the broker's certificate.
        broker_port: where this machine's broker listens, at the cluster's host address.
    """

    cluster: Cluster
    namespace: str
    folder: Path
    broker_port: int

    @property
    def broker_url(self) -> str:
        return f"https://{self.cluster.host_address}:{self.broker_port}"

    @property
    def keeper(self) -> str:
        """The account of workers in this namespace, which hold credentials and no keys."""
        return f"{self.namespace}-worker"

    @property
    def broker_tls(self) -> str:
        return f"{self.namespace}-broker-tls"

    @property
    def broker_ca(self) -> str:
        return f"{self.namespace}-broker-ca"

    def add_namespace(self, name: str) -> None:
        """Make an organisation's namespace, under the admission policies."""
        metadata = {"name": name, "labels": {self.namespace: ""}}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.cluster.kubectl("create", "-f", "-", input=json.dumps(body))

    def kubeconfig(self, component: str) -> Path:
        """A kubeconfig that speaks as the operator or the broker."""
        return kubeconfig(
            self.cluster, self.namespace, f"{self.namespace}-{component}", self.folder / component
        )


@contextmanager
def home(cluster: Cluster, folder: Path) -> Iterator[Home]:
    """A home while the block runs."""
    name = f"home-{secrets.token_hex(4)}"
    made = Home(cluster, name, folder, free_port(cluster.host_address))
    made.add_namespace(name)
    rendered = chart.template("--set=crds.install=false", release=name, namespace=name)
    rights = [body for body in chart.objects(rendered) if body["kind"] in _RIGHTS]
    manifest = yaml.safe_dump_all(
        [*rights, *chart.admission(name, release=name, namespace=name)], sort_keys=False
    )
    cluster.kubectl("apply", "-f", "-", input=manifest)
    try:
        _wait_for_policies(made)
        yield made
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=manifest)
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def kubeconfig(cluster: Cluster, namespace: str, account: str, path: Path) -> Path:
    """Write a kubeconfig file for a ServiceAccount, with a token for a day."""
    token = cluster.kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()
    found = cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json")
    config: dict[str, Any] = json.loads(found)
    [user] = config["users"]
    user["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = namespace
    path.write_text(json.dumps(config))
    return path


def _wait_for_policies(made: Home) -> None:
    """The API server takes new policies up a moment after they were written."""
    labels = {LABEL_TASK: "backup"}
    spec = {
        "serviceAccountName": made.keeper,
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "example.invalid/image"}],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    forged: dict[str, dict[str, Any]] = {
        "worker-pods": {"apiVersion": "v1", "kind": "Pod", **template},
        "worker-jobs": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}},
        "worker-accounts": {"apiVersion": "v1", "kind": "ServiceAccount"},
    }
    create = ("create", "--dry-run=server", "-n", made.namespace, "-f", "-")
    deadline = time.monotonic() + _WAIT_SECONDS
    for policy, body in forged.items():
        metadata = {"name": WORKER_ACCOUNT, "labels": labels}
        text = json.dumps({**body, "metadata": metadata})
        while policy not in (answer := made.cluster.kubectl(*create, input=text, check=False)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.5)
