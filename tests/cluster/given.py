"""A cluster that somebody gave us by `KUBECONFIG`: used as it is, never taken down."""

import json
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster.interface import Cluster
from tests.cluster.processes import ClusterError


class GivenCluster(Cluster):
    """Somebody's cluster. `TEST_HOST_ADDRESS` says how its pods reach this machine."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__("given", kubeconfig, "")
        self.host_address = os.environ.get("TEST_HOST_ADDRESS") or self._address_towards_server()

    def load_image(self, archive: Path) -> None:
        raise ClusterError(
            f"cannot load {archive} into the cluster of KUBECONFIG: give its nodes the image "
            "by your own means, or unset KUBECONFIG"
        )

    def _address_towards_server(self) -> str:
        """Our own address on the way to the API server: pods near it most likely reach us there."""
        view = json.loads(self.kubectl("config", "view", "--minify", "-o", "json"))
        server = urlsplit(view["clusters"][0]["cluster"]["server"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((server.hostname or "", server.port or 443))  # sends nothing
            return str(probe.getsockname()[0])
