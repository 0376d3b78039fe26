"""Installs the Debian packages that a server needs, where they are missing."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers.process import ServerError
from tests.tools import cache_folder, locked


def ensure(*packages: str) -> None:
    """Install Debian packages unless they are there.

    Raises:
        ServerError: they are missing, and we may not install them, or apt failed.
    """
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    keep_ours = ["-o", "Dpkg::Options::=--force-confold"]  # see configure()
    # Two apt-gets at once do not wait for each other.
    with locked(cache_folder() / "packages.lock"):
        _as_root([*apt, "update"])
        _as_root([*apt, *keep_ours, "install", "--no-install-recommends", *missing])


def configure(path: str, text: str) -> None:
    """Write a package's configuration file before the package comes; one that is there stays."""
    if not Path(path).exists():
        _as_root(["install", "-D", "-m", "644", "/dev/stdin", path], text)


def _as_root(command: list[str], text: str = "") -> None:
    become = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if become and shutil.which("sudo") is None:
        raise ServerError(f"run as root: {' '.join(command)}")
    done = subprocess.run(
        [*become, *command],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"
