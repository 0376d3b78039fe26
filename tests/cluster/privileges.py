"""Namespaces, mounts and control groups take root; who is not root gets there by sudo."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.processes import ClusterError
from tests.tools import cache_folder

_PROJECT = Path(__file__).parents[2]


def done_by_root(module: str, *arguments: str | Path) -> bool:
    """Have root run one of our modules, and say so; False: we are root, and do it ourselves.

    Raises:
        ClusterError: it failed; what it said is on the terminal.
    """
    if os.geteuid() == 0:
        return False
    # The caller's cache: what is built there is neither built again nor left in root's home.
    cache = f"XDG_CACHE_HOME={cache_folder().parent}"
    command = ["sudo", "env", cache, sys.executable, "-m", module, *arguments]
    if subprocess.run(command, cwd=_PROJECT, check=False).returncode:
        raise ClusterError(
            f"root could not do it: python -m {' '.join(map(str, [module, *arguments]))}"
        )
    return True


def give_to_caller(path: Path) -> None:
    """Give a file to the user for whom root works."""
    if user := os.environ.get("SUDO_UID"):
        os.chown(path, int(user), int(os.environ["SUDO_GID"]))
