"""Trees of files on disk as plain values: looked at with the standard library alone."""

import os
import stat
from pathlib import Path

Facts = dict[str, object]


def look(root: Path) -> dict[bytes, Facts]:
    """Give everything that a restore has to bring back, by relative path."""
    top = os.fsencode(root)
    found: dict[bytes, Facts] = {b"": _facts(top)}
    groups: dict[tuple[int, int], list[bytes]] = {}
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        for name in os.listdir(os.path.join(top, directory)):  # noqa: PTH118, PTH208  bytes
            path = directory + b"/" + name if directory else name
            full = os.path.join(top, path)  # noqa: PTH118  bytes
            found[path] = _facts(full)
            status = os.lstat(full)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            else:
                groups.setdefault((status.st_dev, status.st_ino), []).append(path)
    for paths in groups.values():
        for path in paths:
            found[path]["same file as"] = sorted(paths)
    return found


def _facts(path: bytes) -> Facts:
    status = os.lstat(path)
    mode = status.st_mode
    facts: Facts = {
        "mode": oct(mode),
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "xattrs": {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
            if name != "security.selinux"
        },
    }
    if stat.S_ISREG(mode):
        facts["data"] = Path(os.fsdecode(path)).read_bytes()
    if stat.S_ISLNK(mode):
        facts["target"] = os.readlink(path)  # noqa: PTH115  bytes
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        facts["device"] = status.st_rdev
    return facts


def names(root: Path) -> set[bytes]:
    return set(look(root)) - {b""}
