"""What is read from one volume and put back on another is the same, in every respect."""

import errno
import os
import socket
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sources.child import NOBODY, drop_rights, in_child
from tests.unit.sources.volume.copying import copy
from tests.unit.sources.volume.trees import look
from weddingbackup.sources.volume import VolumeSource, VolumeTarget

ROOT = os.geteuid() == 0
LONG_AGO = 1_000_000_000_123_456_789


def restore(origin: Path, goal: Path, *, small: bool = False, privileged: bool = ROOT) -> list[str]:
    with VolumeTarget(goal, privileged=privileged) as target:
        copy(VolumeSource(origin), target, small=small)
        return target.warnings()


def has_xattrs(path: Path) -> bool:
    try:
        os.setxattr(path, "user.probe", b"")
        os.removexattr(path, "user.probe")
    except OSError as error:
        assert error.errno == errno.ENOTSUP
        return False
    return True


def posix_acl(permission: int, user: int) -> bytes:
    """The kernel's form of an access list: owner, one more user, group, mask, others."""
    entries = [(1, 7, 0xFFFFFFFF), (2, permission, user), (4, 5, 0xFFFFFFFF)]
    entries += [(16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def every_kind(top: Path) -> None:
    """One of each thing that can be on a volume, with unusual metadata."""
    (top / "plain").write_bytes(b"a timeline")
    (top / "empty").write_bytes(b"")
    (top / "large").write_bytes(os.urandom(300_000) * 7)
    (top / "program").write_bytes(b"#!/bin/sh\n")
    (top / "program").chmod(0o6755)
    (top / "secret").write_bytes(b"guests")
    (top / "secret").chmod(0o000)
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
    if ROOT:
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


@pytest.mark.parametrize("small", [False, True], ids=["one at a time", "small files"])
def test_every_kind_comes_back_the_same(origin: Path, goal: Path, small: bool) -> None:
    every_kind(origin)
    assert restore(origin, goal, small=small) == []
    assert look(goal) == look(origin)


def test_a_second_recovery_over_the_first_changes_nothing(origin: Path, goal: Path) -> None:
    every_kind(origin)
    restore(origin, goal)
    assert restore(origin, goal) == []
    assert look(goal) == look(origin)


def test_sparse_files_stay_sparse(origin: Path, goal: Path) -> None:
    with (origin / "sparse").open("wb") as file:
        for position in range(0, 50_000_000, 5_000_000):
            file.seek(position)
            file.write(os.urandom(70_000))
        file.truncate(60_000_000)
    restore(origin, goal)
    before, after = (origin / "sparse").stat(), (goal / "sparse").stat()
    assert (goal / "sparse").read_bytes() == (origin / "sparse").read_bytes()
    assert after.st_size == 60_000_000
    assert after.st_blocks <= before.st_blocks < 10_000


def test_without_rights_all_but_owners_comes_back_and_the_rest_is_said(place: Path) -> None:
    origin = place / "origin"
    origin.mkdir()
    goal = place / "goal"

    def as_nobody() -> None:
        every_kind(origin)
        (origin / "secret").chmod(0o400)
        os.utime(origin / "secret", ns=(0, LONG_AGO))
        assert restore(origin, goal, privileged=False) == []
        assert look(goal) == look(origin)

    global ROOT  # noqa: PLW0603
    was, ROOT = ROOT, False
    try:
        if os.geteuid() == 0:
            os.chown(origin, NOBODY, NOBODY)
        in_child(drop_rights, as_nobody)
    finally:
        ROOT = was
