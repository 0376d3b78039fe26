"""A cluster made by kind, where a Docker engine answers."""

import functools
import json
import shutil
import subprocess
from pathlib import Path

from tests.cluster.interface import Cluster
from tests.cluster.processes import ClusterError, run
from tests.tools import binary, cache_folder

_KUBECONFIGS = cache_folder() / "kind"


@functools.cache
def available() -> bool:
    """Whether a Docker engine answers; its client alone is not enough."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return not subprocess.run([docker, "info"], capture_output=True, check=False).returncode


def owns(kubeconfig: Path) -> bool:
    return kubeconfig.is_relative_to(_KUBECONFIGS)


class KindCluster(Cluster):
    """A kind cluster; its nodes are containers of the Docker network `kind`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, _kubeconfig(name), _gateway())

    def load_image(self, archive: Path) -> None:
        run(binary("kind"), "load", "image-archive", archive, "--name", _kind_name(self.name))

    def power_cut(self, node: str) -> None:
        run("docker", "kill", self._container(node))

    def power_on(self, node: str) -> None:
        run("docker", "start", self._container(node))

    def _container(self, node: str) -> str:
        containers = run(binary("kind"), "get", "nodes", "--name", _kind_name(self.name)).split()
        if node not in containers:
            raise ClusterError(f"{node} is no node of {self.name}; there are {containers}")
        return node


def running(name: str) -> KindCluster | None:
    if _kind_name(name) not in run(binary("kind"), "get", "clusters").split():
        return None
    cluster = KindCluster(name)
    return cluster if cluster.kubectl("get", "--raw=/readyz", check=False) == "ok" else None


def up(name: str, nodes: int) -> KindCluster:
    cluster = running(name)
    if cluster:
        return cluster
    down(name)
    _KUBECONFIGS.mkdir(parents=True, exist_ok=True)
    # The first node holds the control plane and, when it is the only one, pods too.
    roles = ["control-plane", *["worker"] * (nodes if nodes > 1 else 0)]
    configuration = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role} for role in roles],
    }
    run(
        *(binary("kind"), "create", "cluster", "--name", _kind_name(name), "--config", "-"),
        *("--kubeconfig", _kubeconfig(name), "--wait", "120s"),
        stdin=json.dumps(configuration),
    )
    cluster = KindCluster(name)
    _share_volumes(cluster)
    return cluster


def _share_volumes(cluster: KindCluster) -> None:
    """Let claims be ReadWriteMany, as natively; on several nodes each still has its own folder."""
    storage = ("--namespace", "local-path-storage")
    shared = json.dumps({"sharedFileSystemPath": "/var/local-path-provisioner"})
    patch = json.dumps({"data": {"config.json": shared}})
    cluster.kubectl(*storage, "patch", "configmap", "local-path-config", "--patch", patch)
    deployment = "deployment/local-path-provisioner"
    cluster.kubectl(*storage, "rollout", "restart", deployment)
    cluster.kubectl(*storage, "rollout", "status", deployment, "--timeout=120s")


def down(name: str) -> None:
    run(
        *(binary("kind"), "delete", "cluster", "--name", _kind_name(name)),
        *("--kubeconfig", _kubeconfig(name)),
    )
    _kubeconfig(name).unlink(missing_ok=True)


def _kind_name(name: str) -> str:
    return f"weddings-{name}"


def _kubeconfig(name: str) -> Path:
    return _KUBECONFIGS / f"{name}.kubeconfig"


def _gateway() -> str:
    """The Docker network's address of this machine, at which containers reach it."""
    networks = json.loads(run("docker", "network", "inspect", "kind"))
    gateways = [str(entry.get("Gateway", "")) for entry in networks[0]["IPAM"]["Config"]]
    return next(address for address in gateways if "." in address)
