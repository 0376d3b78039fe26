"""`python -m tests.cluster ACTION`: a Kubernetes cluster for tests, up and down.

Actions: up, down, status; load ARCHIVE; power-cut NODE, power-on NODE.
"""

import argparse
import sys
from pathlib import Path

from tests.cluster import Cluster, ClusterError, down, running, up
from tests.tools import ToolError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="test")
    actions.add_parser("up", parents=[common]).add_argument("--nodes", type=int, default=1)
    for action in ("down", "status"):
        actions.add_parser(action, parents=[common])
    for action in ("load", "power-cut", "power-on"):
        actions.add_parser(action, parents=[common]).add_argument("what")
    try:
        return _act(parser.parse_args(arguments))
    except (ClusterError, ToolError) as error:
        print(error, file=sys.stderr)
        return 1


def _act(options: argparse.Namespace) -> int:
    if options.action == "down":
        down(options.name)
        return 0
    if options.action == "up":
        _describe(up(options.name, nodes=options.nodes))
        return 0
    cluster = running(options.name)
    if cluster is None:
        print(f"{options.name} does not run")
        return 1
    match options.action:
        case "status":
            _describe(cluster)
        case "load":
            cluster.load_image(Path(options.what))
        case "power-cut":
            cluster.power_cut(options.what)
        case "power-on":
            cluster.power_on(options.what)
    return 0


def _describe(cluster: Cluster) -> None:
    print(cluster.kubectl("get", "nodes", "-o", "wide"), file=sys.stderr, end="")
    print(f"# pods reach this machine at {cluster.host_address}")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


if __name__ == "__main__":
    sys.exit(main())
