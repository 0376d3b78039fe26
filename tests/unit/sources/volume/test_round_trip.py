"""What is read from one volume and put back on another is the same, in every respect."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sources.child import drop_rights, in_child
from tests.unit.sources.volume.copying import copy, read_all
from tests.unit.sources.volume.kinds import every_kind
from tests.unit.sources.volume.trees import look
from weddingbackup.sources.volume import VolumeSource, VolumeTarget
from weddingbackup.sources.volume.names import join


def restore(origin: Path, goal: Path, *, small: bool = False) -> list[str]:
    with VolumeTarget(goal, privileged=os.geteuid() == 0) as target:
        copy(VolumeSource(origin), target, small=small)
        return target.warnings()


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


def test_a_user_without_rights_gets_back_all_of_its_own(place: Path) -> None:
    def as_nobody() -> None:
        origin, goal = place / "origin", place / "goal"
        origin.mkdir()
        every_kind(origin)
        for _ in range(2):  # the second time over read-only directories
            assert restore(origin, goal) == []
            assert look(goal) == look(origin)

    in_child(drop_rights, as_nobody)


def test_a_tree_may_be_deeper_than_the_longest_path(origin: Path, goal: Path) -> None:
    """1,100 levels of 20 bytes: 22 kB of path, where the kernel takes 4 kB at once."""
    levels = [b"%04d" % level + b"d" * 16 for level in range(1100)]
    fd = os.open(origin, os.O_RDONLY)
    for name in levels:
        os.mkdir(name, dir_fd=fd)
        fd = down(fd, name)
    os.close(os.open(b"bottom", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=fd))
    os.close(fd)
    assert restore(origin, goal) == []
    fd = os.open(goal, os.O_RDONLY)
    for name in levels:
        fd = down(fd, name)
    os.close(os.open(b"bottom", os.O_RDONLY, dir_fd=fd))
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o755
    os.close(fd)


def down(fd: int, name: bytes) -> int:
    below = os.open(name, os.O_RDONLY, dir_fd=fd)
    os.close(fd)
    return below


def test_many_threads_share_a_source_and_a_target(origin: Path, goal: Path) -> None:
    """More directories than handles are kept open, visited by all threads in no order."""
    for number in range(400):
        directory = origin / f"{number % 20:02}" / f"{number:03}"
        directory.mkdir(parents=True)
        for name in ("a", "b"):
            (directory / name).write_text(f"{number} {name}")
    source, target = VolumeSource(origin), VolumeTarget(goal, privileged=False)
    target.directory(b"", source.root())
    upper = source.children(b"")
    for entry in upper:
        target.directory(entry.name, entry)

    def carry(path: bytes) -> None:
        name = path.rpartition(b"/")[2]
        (entry,) = (child for child in source.children(path[:2]) if child.name == name)
        target.directory(path, entry)
        for child in source.children(path):
            read, data = read_all(source.open(join(path, child.name), child))
            target.small_file(join(path, child.name), read, data)
        target.finish_directory(path, entry)

    with ThreadPoolExecutor(8) as pool:
        paths = [f"{number % 20:02}/{number:03}".encode() for number in range(400)]
        list(pool.map(carry, paths))
    for entry in upper:
        target.finish_directory(entry.name, entry)
    target.finish_directory(b"", source.root())
    assert look(goal) == look(origin)


# A tree as a nested value: a directory is a dictionary, a file its bytes and mode.
_NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: name not in {b".", b"..", b"lost+found"} and b"/" not in name and b"\0" not in name
)
_FILES = st.tuples(
    st.sampled_from(["file", "link", "fifo", "sparse"]),
    st.binary(max_size=300),
    st.integers(0, 0o7777),
    st.integers(-(2**31) * 10**9, 2**33 * 10**9),
)
_TREES = st.recursive(
    st.dictionaries(_NAMES, _FILES, max_size=5),
    lambda inner: st.dictionaries(_NAMES, st.one_of(_FILES, inner), max_size=5),
    max_leaves=12,
)
Tree = dict[bytes, Any]


def plant(top: Path, tree: Tree) -> None:
    for name, value in tree.items():
        path = top / os.fsdecode(name)
        if isinstance(value, dict):
            path.mkdir()
            plant(path, value)
            continue
        kind, data, mode, mtime = value
        if kind == "link":
            path.symlink_to(os.fsdecode(data.replace(b"\0", b"-") or b"x"))
        elif kind == "fifo":
            os.mkfifo(path)
            path.chmod(mode)
        else:
            with path.open("wb") as file:
                file.seek(200_000 if kind == "sparse" else 0)
                file.write(data)
            path.chmod(mode)
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


@settings(max_examples=60, deadline=None)
@given(tree=_TREES, small=st.booleans())
def test_any_tree_comes_back_the_same(tree: Tree, small: bool) -> None:
    with TemporaryDirectory() as work:
        origin, goal = Path(work, "origin"), Path(work, "goal")
        origin.mkdir()
        plant(origin, tree)
        restore(origin, goal, small=small)
        assert look(goal) == look(origin)


@settings(max_examples=60, deadline=None)
@given(before=_TREES, after=_TREES)
def test_any_tree_comes_back_over_any_other(before: Tree, after: Tree) -> None:
    with TemporaryDirectory() as work:
        origin, goal = Path(work, "origin"), Path(work, "goal")
        origin.mkdir()
        goal.mkdir()
        plant(origin, after)
        plant(goal, before)
        restore(origin, goal)
        wanted, there = look(origin), look(goal)
        assert {path: there[path] for path in wanted} == wanted
