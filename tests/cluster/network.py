"""How a native cluster is wired: one segment for this machine, the control plane and the nodes.

    this machine ── veth ── bridge in the control plane's namespaces ── veth ── node ── veth ── pod

Routes, no masquerading: every side sees the true addresses, and nothing finds a way off the machine.
"""

import json

from tests.cluster.addresses import Addresses
from tests.cluster.processes import Namespaces, run


def routed_networks() -> list[str]:
    """The networks that this machine has routes to."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    return [route["dst"] for route in routes if route["dst"] != "default"]


def connect_host(addresses: Addresses, control_plane: Namespaces) -> None:
    """Join this machine and the control plane."""
    link, first = addresses.link, control_plane.first.pid
    run(
        *("ip", "-batch", "-"),
        stdin="\n".join(
            [
                f"link add {link} type veth peer name host netns {first}",
                f"address add {addresses.host}/24 dev {link}",
                f"link set {link} up",
            ]
        ),
    )
    control_plane.configure_links(
        [
            "link set lo up",
            "link add nodes type bridge",
            "link set host master nodes",
            "link set host up",
            f"address add {addresses.control_plane}/24 dev nodes",
            "link set nodes up",
            # Whoever wants to leave is told so at once instead of waiting for a timeout.
            "route add unreachable default",
        ]
    )
    _forward(control_plane)
    # Services: the first node's kube-proxy knows them, and masquerades what comes from outside.
    first_node = addresses.node(1)
    run("ip", "route", "add", str(addresses.services), "via", str(first_node))
    control_plane.configure_links([f"route add {addresses.services} via {first_node}"])


def connect_node(
    addresses: Addresses, number: int, node: Namespaces, control_plane: Namespaces
) -> None:
    """Join a node, and tell everybody the way to its pods."""
    here = addresses.node(number)
    # The same hardware address each time, or others would call in vain for the old one after a
    # power cut. The second bit marks it as made up.
    hardware = ":".join(f"{byte:02x}" for byte in (2, 0, *here.packed))
    control_plane.configure_links(
        [
            f"link add node-{number} type veth peer name eth0 netns {node.first.pid}",
            f"link set node-{number} master nodes",
            f"link set node-{number} up",
            f"route replace {addresses.node_pods(number)} via {here}",
        ]
    )
    node.configure_links(
        [
            "link set lo up",
            f"link set eth0 address {hardware}",
            f"address add {here}/24 dev eth0",
            "link set eth0 up",
            # Without a default route the node's own calls to Services fail before they are translated.
            f"route add default via {addresses.control_plane}",
        ]
    )
    _forward(node)
    run("ip", "route", "replace", str(addresses.node_pods(number)), "via", str(here))


def disconnect_host(addresses: Addresses) -> None:
    """Remove this machine's end and with it the routes over it, if it is still there."""
    if addresses.link in {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}:
        run("ip", "link", "delete", addresses.link)


def _forward(namespaces: Namespaces) -> None:
    namespaces.run("tee", "/proc/sys/net/ipv4/ip_forward", stdin="1")
