"""`python -m tests.cluster up|down|status [--name NAME] [--nodes COUNT]`."""

import argparse
import sys

from tests.cluster import Cluster, ClusterError, down, running, up
from tests.tools import ToolError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "status"])
    parser.add_argument("--name", default="test")
    parser.add_argument("--nodes", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        if options.action == "down":
            down(options.name)
            return 0
        cluster = (
            up(options.name, nodes=options.nodes)
            if options.action == "up"
            else running(options.name)
        )
    except (ClusterError, ToolError) as error:
        print(error, file=sys.stderr)
        return 1
    if cluster is None:
        print(f"{options.name} does not run")
        return 1
    _describe(cluster)
    return 0


def _describe(cluster: Cluster) -> None:
    print(cluster.kubectl("get", "nodes", "-o", "wide"), file=sys.stderr, end="")
    print(f"# pods reach this machine at {cluster.host_address}")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


if __name__ == "__main__":
    sys.exit(main())
