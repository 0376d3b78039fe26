"""`python -m tests.tools NAME…` builds programs and prints their paths; without names, all of them."""

import sys

from tests.tools import MODULES, ToolError, binary


def main(names: list[str]) -> int:
    try:
        for name in names or [name for module in MODULES for name in module.programs]:
            print(binary(name))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
