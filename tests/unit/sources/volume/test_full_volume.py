"""Volumes that cannot take what they are given, made of real file systems in a child's own mounts."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sources.child import in_child, own_mounts
from tests.unit.sources.volume.trees import names
from weddingbackup.sources.errors import TargetError
from weddingbackup.sources.volume import VolumeTarget
from weddingbackup.vault.entries import Entry, EntryType

MIB = 1024 * 1024
TOP = Entry(b"", EntryType.DIRECTORY, mode=0o755)


def on_a_volume(goal: Path, options: str, function: Callable[[], None]) -> None:
    def mount_and_run() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", goal], check=True)
        function()

    in_child(own_mounts, mount_and_run)


def file(size: int, *, segments: tuple[tuple[int, int], ...] = ()) -> Entry:
    return Entry(b"photo", EntryType.FILE, size=size, segments=segments)


def test_a_file_too_large_is_refused_before_its_first_byte(goal: Path) -> None:
    def run() -> None:
        (goal / "photo").write_bytes(b"old")
        target = VolumeTarget(goal, privileged=False)
        target.directory(b"", TOP)
        with pytest.raises(TargetError, match="photo could not be restored: the volume is full"):
            target.file(b"photo", file(20 * MIB))
        assert (goal / "photo").read_bytes() == b"old"
        assert names(goal) == {b"photo"}

    on_a_volume(goal, "size=8m", run)


def test_a_volume_that_fills_up_on_the_way_keeps_nothing_half_written(goal: Path) -> None:
    def run() -> None:
        target = VolumeTarget(goal, privileged=False)
        target.directory(b"", TOP)
        block = os.urandom(MIB)
        # A sparse file's space is not claimed beforehand.
        writer = target.file(b"photo", file(100 * MIB, segments=((0, 100 * MIB),)))
        with pytest.raises(TargetError, match="volume is full"):
            until_refused(lambda number: writer.write(number * MIB, block))
        writer.abort()
        assert names(goal) == set()
        with pytest.raises(TargetError, match="volume is full"):
            until_refused(lambda number: target.small_file(b"%d" % number, file(MIB), block))
        assert names(goal) == {b"%d" % number for number in range(7)}
        assert {(goal / str(number)).stat().st_size for number in range(7)} == {MIB}

    on_a_volume(goal, "size=7m", run)


def test_a_volume_without_inodes_is_full_too(goal: Path) -> None:
    def run() -> None:
        target = VolumeTarget(goal, privileged=False)
        entry = Entry(b"d", EntryType.DIRECTORY)
        with pytest.raises(TargetError, match="volume is full"):
            until_refused(lambda number: target.directory(b"%d" % number, entry))

    on_a_volume(goal, "nr_inodes=20", run)


def until_refused(act: Callable[[int], object]) -> None:
    for number in range(100):
        act(number)


def test_a_read_only_volume_is_refused_at_once(goal: Path) -> None:
    def run() -> None:
        with pytest.raises(TargetError, match="read-only"):
            VolumeTarget(goal, privileged=False).directory(b"", TOP)

    on_a_volume(goal, "ro", run)


def test_a_hard_link_that_cannot_be_made_becomes_a_copy(goal: Path) -> None:
    """Two file systems stand for one that knows no hard links."""
    (goal / "inner").mkdir()
    (goal / "there").mkdir()

    def run() -> None:
        target = VolumeTarget(goal, privileged=False)
        data = os.urandom(3 * MIB)
        photo = Entry(
            b"photo",
            EntryType.FILE,
            size=3 * MIB,
            mode=0o640,
            uid=os.geteuid(),
            gid=os.getegid(),
            mtime_ns=10**18,
        )
        target.small_file(b"inner/photo", photo, data)
        target.link(b"there/copy", b"inner/photo")
        copy = goal / "there" / "copy"
        assert copy.read_bytes() == data
        assert stat.S_IMODE(copy.stat().st_mode) == 0o640
        assert copy.stat().st_mtime_ns == 10**18
        mine: dict[str, Any] = {"uid": os.geteuid(), "gid": os.getegid(), "mtime_ns": 10**18}
        target.other(b"inner/link", Entry(b"link", EntryType.SYMLINK, target=b"/no\xff", **mine))
        target.other(b"inner/fifo", Entry(b"fifo", EntryType.FIFO, mode=0o620, **mine))
        target.link(b"there/link", b"inner/link")
        target.link(b"there/fifo", b"inner/fifo")
        assert os.readlink(os.fsencode(goal / "there" / "link")) == b"/no\xff"  # noqa: PTH115  bytes
        assert stat.S_ISFIFO((fifo := (goal / "there" / "fifo").stat()).st_mode)
        assert (stat.S_IMODE(fifo.st_mode), fifo.st_mtime_ns) == (0o620, 10**18)
        assert names(goal / "there") == {b"copy", b"link", b"fifo"}
        (warning,) = target.warnings()
        assert warning == (
            "A hard link could not be made, a copy stands in its place: 3 "
            "(there/copy, there/link, there/fifo)"
        )

    on_a_volume(goal / "inner", "size=8m", run)
