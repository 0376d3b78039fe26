"""A Kubernetes cluster of native processes in namespaces: no Docker, nothing left when it is down."""

import contextlib
import json
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, network, node
from tests.cluster.addresses import choose
from tests.cluster.control_plane import STORAGE, ControlPlane
from tests.cluster.interface import Cluster
from tests.cluster.layout import CLUSTERS, Layout, State
from tests.cluster.packages import ensure_packages
from tests.cluster.privileges import done_by_root
from tests.cluster.processes import ClusterError, Namespaces, Process, run, wait_until
from tests.tools import binary, locked

_COMMAND = "tests.cluster"
_PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns"),
    *("local-path-provisioner", "kubelet", "kube-proxy", "kubectl"),
)


class NativeCluster(Cluster):
    """A running cluster, found again by its files."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        super().__init__(layout.name, layout.kubeconfig, str(self._state.addresses.host))

    @property
    def _state(self) -> State:
        """Read anew each time: another process may have cut a node's power."""
        state = State.load(self._layout.state)
        if state is None:
            raise ClusterError(f"the cluster {self._layout.name} was taken down")
        return state

    @property
    def answers(self) -> bool:
        """Whether the API server says that it is ready."""
        question = ("get", "--raw=/readyz", "--request-timeout=5s")
        return self.alive and self.kubectl(*question, check=False) == "ok"

    @property
    def alive(self) -> bool:
        """Whether its processes have not been ended, however slow they may be now."""
        return self._state.control_plane.alive

    @property
    def complete(self) -> bool:
        """Whether it was brought up to the end."""
        return self._state.complete

    @property
    def size(self) -> int:
        """How many nodes it was made with, also those without power."""
        return len(self._state.nodes)

    def load_image(self, archive: Path) -> None:
        archive = archive.absolute()
        if done_by_root(_COMMAND, "load", archive, "--name", self.name):
            return
        for process in self._state.nodes.values():
            if process.alive:
                node.load_image(Namespaces(process), archive)

    def power_cut(self, node: str) -> None:
        if done_by_root(_COMMAND, "power-cut", node, "--name", self.name):
            return
        self._power(_number(node)).kill()
        cgroups.remove(f"{self._layout.cgroup}/{node}")

    def power_on(self, node: str) -> None:
        if done_by_root(_COMMAND, "power-on", node, "--name", self.name):
            return
        number = _number(node)
        if not self._power(number).alive:
            self.start_node(number)

    def _power(self, number: int) -> Process:
        """A node's first process."""
        nodes = self._state.nodes
        if number not in nodes:
            raise ClusterError(f"{self.name} has {len(nodes)} nodes, and no node-{number}")
        return nodes[number]

    def start_node(self, number: int) -> None:
        state = self._state
        inside = node.start(self._layout, state.addresses, state.namespaces, number)
        state.nodes[number] = inside.first
        state.save(self._layout.state)

    def finish(self, names: list[str]) -> None:
        """Wait until the nodes take pods and new pods find what every one needs; then say so."""

        def ready() -> bool:
            # One question for all: kubectl takes a good part of a second each time.
            answer = self.kubectl(
                "get", "nodes,serviceaccounts", "-n", "default", "-o", "json", check=False
            )
            try:
                items = json.loads(answer)["items"]
            except ValueError:
                return False
            return names_ready(items) >= {*names, "default"}

        wait_until(ready, f"the nodes to be ready; see {self._layout.logs}", seconds=60)
        state = self._state
        state.complete = True
        state.save(self._layout.state)


def names_ready(items: list[dict[str, Any]]) -> set[str]:
    """The names of what is there, of nodes only of those that are ready. Pure."""
    return {
        item["metadata"]["name"]
        for item in items
        if item["kind"] != "Node"
        or any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"])
    }


def running(name: str) -> NativeCluster | None:
    """The cluster, if it was brought up to the end and its API server answers."""
    cluster = _found(Layout(name))
    return cluster if cluster and cluster.complete and cluster.answers else None


def _found(layout: Layout) -> NativeCluster | None:
    return NativeCluster(layout) if layout.state.exists() else None


def up(name: str, nodes: int) -> NativeCluster:
    """Bring a cluster up, or find it running.

    Raises:
        ClusterError: it could not be brought up, or runs with another number of nodes.
    """
    layout = Layout(name)
    cluster = running(name)
    if cluster is None:
        for program in _PROGRAMS:
            binary(program)  # by whoever calls, before root takes over
        if done_by_root(_COMMAND, "up", "--name", name, "--nodes", str(nodes)):
            return NativeCluster(layout)
        with locked(layout.lock):
            cluster = _recovered(layout) or _start(layout, nodes)
    if cluster.size != nodes:
        raise ClusterError(f"{name} runs with {cluster.size} nodes: take it down first")
    return cluster


def _recovered(layout: Layout) -> NativeCluster | None:
    """A cluster that somebody else has just brought up, or that was too busy to answer."""
    cluster = _found(layout)
    if cluster is None or not cluster.complete or not cluster.alive:
        return None
    wait_until(
        lambda: cluster.answers,
        f"{layout.name} to answer; see {layout.logs}, or take it down and up again",
        seconds=60,
    )
    return cluster


def down(name: str) -> None:
    """Take a cluster down and remove all that it left; nothing happens where there is none."""
    layout = Layout(name)
    if not layout.folder.exists() or done_by_root(_COMMAND, "down", "--name", name):
        return
    with locked(layout.lock):
        _down(layout)
    for folder in (CLUSTERS, CLUSTERS.parent):
        with contextlib.suppress(OSError):  # another cluster's files are there
            folder.rmdir()


def _start(layout: Layout, nodes: int) -> NativeCluster:
    ensure_packages()
    _down(layout)  # what is left of a cluster that broke
    for folder in (layout.logs, layout.volumes):
        folder.mkdir(parents=True)
    with locked(Layout.networks_lock()):
        addresses = choose(network.routed_networks())
        inside = Namespaces.create(layout.logs / "namespaces.log")
        state = State(str(addresses.network), inside.first)
        state.save(layout.state)  # from here on `down` finds everything, whatever fails
        network.connect_host(addresses, inside)
    control_plane = ControlPlane(layout, addresses)
    control_plane.start_api(inside)
    cluster = NativeCluster(layout)
    numbers = range(1, nodes + 1)
    for number in numbers:
        node.prepare(layout, addresses, control_plane, number)
    wait_until(lambda: cluster.answers, f"the API server; see {layout.logs}", seconds=60)
    control_plane.start_controllers(inside)
    for number in numbers:
        cluster.start_node(number)
    cluster.kubectl(
        "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": STORAGE})
    )
    cluster.finish([node.node_name(number) for number in numbers])
    return cluster


def _down(layout: Layout) -> None:
    state = State.load(layout.state)
    if state:
        state.control_plane.kill()
        network.disconnect_host(state.addresses)
    cgroups.remove(layout.cgroup)
    if layout.folder.exists():
        # Should a mount still be there, what is mounted is not ours to delete.
        run("rm", "-rf", "--one-file-system", layout.folder)


def _number(name: str) -> int:
    number = name.removeprefix("node-")
    if not number.isdigit():
        raise ClusterError(f"nodes are called node-1, node-2 and so on, not {name}")
    return int(number)
