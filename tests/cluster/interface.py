"""What a test cluster can do, however it was made."""

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from tests.cluster.processes import ClusterError
from tests.tools import binary


class Cluster(ABC):
    """A running Kubernetes cluster."""

    def __init__(self, name: str, kubeconfig: Path, host_address: str) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        #: The IP address at which pods reach servers that were started on this machine.
        self.host_address = host_address

    def kubectl(self, *arguments: str | Path, input: str | None = None, check: bool = True) -> str:  # noqa: A002  as in subprocess.run
        """Run kubectl as an administrator and give its output; with `check=False` also its errors.

        Raises:
            ClusterError: kubectl failed and `check` is set.
        """
        done = subprocess.run(
            [binary("kubectl"), "--kubeconfig", self.kubeconfig, *arguments],
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if check else subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    @property
    def nodes(self) -> list[str]:
        return self.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()

    @abstractmethod
    def load_image(self, archive: Path) -> None:
        """Give all nodes the image of a docker-archive."""

    def power_cut(self, node: str) -> None:
        """End all of a node at once, as if its power were cut."""
        raise ClusterError(f"the nodes of {self.name} have no power switch, {node} neither")

    def power_on(self, node: str) -> None:
        """Start a node whose power was cut."""
        raise ClusterError(f"the nodes of {self.name} have no power switch, {node} neither")
