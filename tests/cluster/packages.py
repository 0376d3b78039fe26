"""The Debian packages that a native cluster and image builds without Docker take."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.processes import ClusterError
from tests.tools import cache_folder, locked

# A program of each package, by which one sees whether it is there.
_PACKAGES = {
    "buildah": "buildah",
    "busybox-static": "/bin/busybox",
    "catatonit": "catatonit",
    "containerd": "containerd",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iproute2": "ip",
    "mmdebstrap": "mmdebstrap",
    "nftables": "nft",
    "runc": "runc",
}
_NO_SERVICES = Path("/usr/sbin/policy-rc.d")  # Debian asks it before it starts a service


def ensure_packages() -> None:
    """Install what is missing; no service is started.

    Raises:
        ClusterError: something is missing on a system without apt-get, or could not be installed.
    """
    missing = [package for package, program in _PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"missing: {', '.join(missing)}. On a system without apt-get install Docker, or set "
            "KUBECONFIG to a cluster for tests."
        )
    # Two apt-gets at once do not wait for each other.
    with locked(cache_folder() / "packages.lock"), _without_services():
        _apt_get("update", "-qq")
        _apt_get("install", "-y", "-qq", "--no-install-recommends", *missing)


def _apt_get(*arguments: str) -> None:
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"apt-get {' '.join(arguments)} failed:\n{done.stderr}")


@contextmanager
def _without_services() -> Iterator[None]:
    """Debian starts an installed service, containerd's too; ours runs in the nodes alone."""
    if _NO_SERVICES.exists():  # somebody else's, and likely with the same answer
        yield
        return
    _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
    _NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        _NO_SERVICES.unlink()
