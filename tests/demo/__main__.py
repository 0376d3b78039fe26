"""`python -m tests.demo up|down`: what `make demo` and `make demo-down` run."""

import sys

from tests.cluster import ClusterError
from tests.demo.narrator import DemoError, Narrator
from tests.demo.photographs import PhotographsError
from tests.demo.story import Demo, down
from tests.servers.process import ServerError
from tests.tools import ToolError


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["up"]:
                Demo(Narrator()).up()
            case ["down"]:
                down()
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (DemoError, ClusterError, ServerError, PhotographsError, ToolError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
