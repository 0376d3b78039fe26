"""A real Kubernetes for tests and the demo, three ways behind one interface.

`KUBECONFIG` set: that cluster as it is. A Docker engine that answers: kind. Else, on Linux as root:
the same real parts as native processes in namespaces of their own. `python -m tests.cluster up`.
"""

import os
from pathlib import Path

from tests.cluster import given, kind, native
from tests.cluster.interface import Cluster
from tests.cluster.layout import CLUSTERS
from tests.cluster.processes import ClusterError

__all__ = ["Cluster", "ClusterError", "down", "running", "up"]


def up(name: str = "test", *, nodes: int = 1) -> Cluster:
    """Bring the cluster up; one that runs is returned as it is.

    Raises:
        ClusterError: it could not be brought up.
    """
    if foreign := _given():
        return foreign
    return kind.up(name, nodes) if kind.available() else native.up(name, nodes)


def running(name: str = "test") -> Cluster | None:
    """The cluster if it runs."""
    if foreign := _given():
        return foreign
    return kind.running(name) if kind.available() else native.running(name)


def down(name: str = "test") -> None:
    """Take the cluster down and leave nothing; a cluster that was given to us is left alone."""
    if _given():
        return
    if kind.available():
        kind.down(name)
    else:
        native.down(name)


def _given() -> Cluster | None:
    """The cluster of `KUBECONFIG`, unless that is one of ours, which keeps its own powers."""
    path = os.environ.get("KUBECONFIG")
    if not path or Path(path).is_relative_to(CLUSTERS) or kind.owns(Path(path)):
        return None
    return given.GivenCluster(Path(path))
