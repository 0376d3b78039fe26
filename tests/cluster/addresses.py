"""Which addresses a native cluster uses: one private /16, so that clusters run side by side. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

_CANDIDATES = [IPv4Network(f"10.{second}.0.0/16") for second in range(192, 224)]


@dataclass(frozen=True)
class Addresses:
    """The plan of one cluster's network.

    `.0.x` is the segment that this machine, the control plane and the nodes share; `.64.0/18` are
    pods, a /24 a node; `.128.0/20` are Services.
    """

    network: IPv4Network

    def _at(self, third: int, fourth: int) -> IPv4Address:
        return self.network.network_address + (third << 8) + fourth

    @property
    def host(self) -> IPv4Address:
        """This machine, as pods see it."""
        return self._at(0, 1)

    @property
    def control_plane(self) -> IPv4Address:
        return self._at(0, 2)

    def node(self, number: int) -> IPv4Address:
        """A node's address; numbers count from 1."""
        return self._at(0, 10 + number)

    def node_pods(self, number: int) -> IPv4Network:
        return IPv4Network(f"{self._at(64 + number, 0)}/24")

    @property
    def pods(self) -> IPv4Network:
        """All nodes' pods. The segment is left out: kube-proxy masquerades what comes from outside."""
        return IPv4Network(f"{self._at(64, 0)}/18")

    @property
    def services(self) -> IPv4Network:
        return IPv4Network(f"{self._at(128, 0)}/20")

    @property
    def kubernetes_service(self) -> IPv4Address:
        """The API server's Service has the range's first address."""
        return self.services.network_address + 1

    @property
    def link(self) -> str:
        """The name of this machine's end of the link."""
        return f"weddings{self.network.network_address.packed[1]}"


def choose(routed: Iterable[str]) -> Addresses:
    """The first plan that meets none of the networks that this machine already routes.

    Raises:
        RuntimeError: every candidate is taken.
    """
    taken = [IPv4Network(network, strict=False) for network in routed]
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in taken if network.prefixlen):
            return Addresses(candidate)
    raise RuntimeError(
        f"every network from {_CANDIDATES[0]} to {_CANDIDATES[-1]} is in use: "
        "take clusters down with `python -m tests.cluster down --name NAME`"
    )
