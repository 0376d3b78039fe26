"""The control groups below which a native cluster's pods live, on cgroup v1, v2 and hybrids."""

import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def create(name: str) -> None:
    """Make the group `name` (a relative path) in every hierarchy, ready to take the kubelet's."""
    for hierarchy in _hierarchies():
        folder = hierarchy
        for part in Path(name).parts:
            _hand_down(folder)
            folder /= part
            folder.mkdir(exist_ok=True)
            _fill_cpuset(folder)
        _hand_down(folder)


def remove(name: str) -> None:
    """Remove the group and all below it; its processes have ended."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            _remove_one(Path(folder))


def _hand_down(folder: Path) -> None:
    """On v2 a group's children get only the controllers that it hands down."""
    control = folder / "cgroup.subtree_control"
    if control.exists():
        controllers = (folder / "cgroup.controllers").read_text().split()
        control.write_text(" ".join(f"+{name}" for name in controllers))


def _fill_cpuset(folder: Path) -> None:
    """On v1 a new cpuset group is empty, and no process may enter it."""
    for kind in ("cpuset.cpus", "cpuset.mems"):
        path = folder / kind
        if path.exists() and not (folder / "cgroup.controllers").exists():
            path.write_text((folder.parent / kind).read_text())


def _remove_one(folder: Path) -> None:
    # A group is busy for some milliseconds after its last process was killed.
    for _ in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    folder.rmdir()
