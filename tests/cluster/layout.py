"""Where a native cluster keeps its files, and what of it must be known to find it again."""

import base64
import json
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster.addresses import Addresses
from tests.cluster.certificates import Pair
from tests.cluster.processes import Namespaces, Process
from tests.tools import cache_folder

# Not below /run or /var/lib: a node has its own ones, and would not see these files.
CLUSTERS = Path("/var/cache/wedding-backup-operator/clusters")


@dataclass(frozen=True)
class Layout:
    """The folders of the cluster `name`."""

    name: str

    @property
    def folder(self) -> Path:
        return CLUSTERS / self.name

    @property
    def state(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"

    @property
    def lock(self) -> Path:
        # Not in the folder that goes: who waits for a lock that is deleted would hold one of its own.
        return cache_folder() / f"cluster-{self.name}.lock"

    @staticmethod
    def networks_lock() -> Path:
        """Held from the choice of a network until its routes are there, for the next to see."""
        return cache_folder() / "cluster-networks.lock"

    @property
    def cgroup(self) -> str:
        return f"weddings-{self.name}"

    def node(self, node: str) -> Path:
        return self.folder / node


@dataclass
class State:
    """What runs: the network, the control plane's first process and each node's (by its number)."""

    network: str
    control_plane: Process
    nodes: dict[int, Process] = field(default_factory=dict)
    complete: bool = False  # brought up to the end

    @property
    def addresses(self) -> Addresses:
        return Addresses(IPv4Network(self.network))

    @property
    def namespaces(self) -> Namespaces:
        return Namespaces(self.control_plane)

    def save(self, path: Path) -> None:
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(asdict(self)))
        whole.rename(path)

    @classmethod
    def load(cls, path: Path) -> "State | None":
        try:
            state = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        nodes = {int(number): Process(**process) for number, process in state["nodes"].items()}
        control_plane = Process(**state["control_plane"])
        return cls(state["network"], control_plane, nodes, state["complete"])


def kubeconfig(server: str, authority: Path, user: Pair) -> str:
    """A kubeconfig that holds everything in itself (JSON is YAML)."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
            "clusters": [
                {
                    "name": "default",
                    "cluster": {"server": server, "certificate-authority-data": _base64(authority)},
                }
            ],
            "users": [
                {
                    "name": "default",
                    "user": {
                        "client-certificate-data": _base64(user.certificate),
                        "client-key-data": _base64(user.key),
                    },
                }
            ],
        }
    )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
