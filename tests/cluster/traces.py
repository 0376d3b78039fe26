"""What a cluster could leave on this machine, compared from before it with from afterwards."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.layout import Layout
from tests.cluster.processes import ClusterError, run, wait_until

_FOLDERS = (
    *("/etc/cni", "/opt/cni", "/run/cni-addresses", "/run/containerd", "/run/netns", "/run/runc"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet"),
    *("/var/log/containers", "/var/log/pods"),
)


def traces(name: str, *own: Path) -> set[str]:
    """All that the cluster `name` could leave: mounts, links, routes, rules, groups, processes, files.

    Args:
        name: the cluster's.
        own: folders that go with it; processes that name them count too.
    """
    layout = Layout(name)
    groups = Path("/sys/fs/cgroup").glob(f"**/{layout.cgroup}")
    own = (layout.folder, *own)
    return {
        *Path("/proc/self/mountinfo").read_text().splitlines(),
        *run("ip", "-oneline", "link").splitlines(),
        *run("ip", "route", "show", "table", "all").splitlines(),
        *run("nft", "list", "tables").splitlines(),
        *map(str, groups),
        *(command for command in _commands() if any(str(folder) in command for folder in own)),
        *(str(folder) for folder in (*own, *map(Path, _FOLDERS)) if folder.exists()),
    }


def left_behind(name: str, before: set[str], host_address: str, *own: Path) -> set[str]:
    """What is still there of a cluster that was taken down; the kernel gets a moment for it.

    Args:
        name: the cluster's.
        before: its traces from before it came up.
        host_address: this machine's address in the cluster, which tells its links and routes.
        own: as for `traces`.
    """
    left: set[str] = set()

    def clean() -> bool:
        left.clear()
        left.update(traces(name, *own) - before - _traces_of_others(name, host_address))
        return not left

    with contextlib.suppress(ClusterError):
        wait_until(clean, "the cluster's last traces to go", seconds=20)
    return left


def _traces_of_others(name: str, host_address: str) -> set[str]:
    """Of these traces, the ones of other clusters, which come and go while a test runs."""
    own = f"weddings{host_address.split('.')[1]}"
    return {
        trace
        for trace in traces(name)
        if "weddings" in trace and own not in trace and name not in trace
    }


def _commands() -> Iterator[str]:
    """The command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            yield path.read_bytes().decode(errors="replace").replace("\0", " ")
