"""A tree with one of each thing that can be on a volume, with unusual metadata."""

import errno
import os
import socket
import stat
import struct
from pathlib import Path

LONG_AGO = 1_000_000_000_123_456_789


def has_xattrs(path: Path) -> bool:
    try:
        os.setxattr(path, "user.probe", b"")
        os.removexattr(path, "user.probe")
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return True


def posix_acl(permission: int, user: int) -> bytes:
    """The kernel's form of an access list: owner, one more user, group, mask, others."""
    entries = [(1, 7, 0xFFFFFFFF), (2, permission, user), (4, 5, 0xFFFFFFFF)]
    entries += [(16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def every_kind(top: Path) -> None:
    """Make one of each; what only root may make, only as root."""
    (top / "plain").write_bytes(b"a timeline")
    (top / "empty").write_bytes(b"")
    (top / "large").write_bytes(os.urandom(300_000) * 7)
    (top / "program").write_bytes(b"#!/bin/sh\n")
    (top / "program").chmod(0o6755)
    (top / "secret").write_bytes(b"guests")
    (top / "secret").chmod(0o000 if os.geteuid() == 0 else 0o400)
    directory = top / "shared"
    directory.mkdir()
    (directory / "inside").write_bytes(b"x" * 5000)
    directory.chmod(0o3777)
    closed = top / "closed"
    closed.mkdir()
    (closed / "photo").write_bytes(b"jpeg")
    (top / "hollow").mkdir()
    (top / "relative").symlink_to("shared/inside")
    (top / "dangling").symlink_to(b"/nowhere/\xff\xfe".decode("utf-8", "surrogateescape"))
    (top / "outward").symlink_to("/etc")
    os.link(top / "plain", directory / "second name of plain")
    os.link(top / "dangling", top / "second name of dangling")
    os.mkfifo(top / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
    (top / b"latin-\xe9\n\x1b[31m".decode("utf-8", "surrogateescape")).write_bytes(b"1")
    (top / ("n" * 255)).write_bytes(b"2")
    with (top / "sparse").open("wb") as file:
        file.seek(1_000_000)
        file.write(b"island")
        file.truncate(5_000_000)
    with (top / "one hole").open("wb") as file:
        file.truncate(3_000_000)
    if has_xattrs(top):
        os.setxattr(top / "plain", "user.wedding", b"\x00\xff")
        os.setxattr(directory, "user.empty", b"")
        os.setxattr(directory, "system.posix_acl_default", posix_acl(6, 1234))
        os.setxattr(top / "empty", "system.posix_acl_access", posix_acl(4, 4321))
    if os.geteuid() == 0:
        os.mknod(top / "character", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(top / "block", stat.S_IFBLK | 0o660, os.makedev(7, 200))
        os.chown(top / "plain", 1000, 2000)
        os.chown(top / "outward", 12, 34, follow_symlinks=False)
        os.chown(top / "program", 5, 6)
        (top / "program").chmod(0o6755)
        # CAP_NET_BIND_SERVICE, revision 2, effective
        capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
        os.setxattr(top / "large", "security.capability", capability)
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, LONG_AGO + number), follow_symlinks=False)
    closed.chmod(0o500)
    top.chmod(0o750)
    os.utime(top, ns=(0, -5_000_000_001))
