"""Files that are there with the same bytes are kept where they stand; all else is put back as ever."""

import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from threading import Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns import examples
from tests.unit.sources.child import drop_rights, in_child
from tests.unit.sources.volume.kinds import LONG_AGO, every_kind, has_xattrs
from tests.unit.sources.volume.trees import look
from tests.unit.vault.fakes import MemoryStore, World
from weddingbackup.sources.volume import VolumeSource, VolumeTarget
from weddingbackup.vault import read
from weddingbackup.vault.catalog import points
from weddingbackup.vault.entries import SMALL
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.opened import OpenedSource
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import RestoreResult

ROOT = os.geteuid() == 0


def protect(origin: Path) -> World:
    world = World([MemoryStore("a")], quorum=1, limits=Limits(grace_seconds=30.0))
    # Files that were written just now are taken for settled, so that none is waited for.
    world.backup(VolumeSource(origin, clock=lambda: time.time_ns() + 10**10))
    return world


def restore(world: World, goal: Path, *, privileged: bool = ROOT) -> tuple[RestoreResult, set[str]]:
    """Restore; gives also the packs of data that were read."""
    vault = world.vault()
    point = points(vault.stores)[0]
    indexes = OpenedSource(vault, point, "photos").data().indexes
    packs = {pack.name for index in indexes for pack in index.packs}
    (store,) = world.stores
    store.gets.clear()
    with VolumeTarget(goal, privileged=privileged) as target:
        result = read.restore(vault, point, "photos", target, progress=Progress())
    return result, packs & {name for name, _ in store.gets}


def inodes(top: Path) -> dict[Path, int]:
    return {path: path.lstat().st_ino for path in sorted(top.rglob("*"))}


def stamps(top: Path) -> dict[Path, int]:
    found = (path for path in sorted(top.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path: path.lstat().st_ctime_ns for path in found}


def simple(origin: Path) -> World:
    (origin / "day").mkdir(parents=True)
    for number in range(20):
        (origin / "day" / str(number)).write_bytes(os.urandom(1000 + number))
    (origin / "film").write_bytes(os.urandom(3 * SMALL))
    return protect(origin)


def damage(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def test_what_was_restored_is_kept_and_not_touched(origin: Path, goal: Path) -> None:
    world = simple(origin)
    first, packs = restore(world, goal)
    assert first.kept_files == 0
    assert packs
    before = inodes(goal), stamps(goal)
    second, packs = restore(world, goal)
    assert packs == set()
    assert (inodes(goal), stamps(goal)) == before
    assert (second.files, second.bytes) == (first.files, first.bytes)
    assert (second.kept_files, second.kept_bytes) == (first.files, first.bytes)
    assert look(goal) == look(origin)


def test_every_kind_comes_back_over_itself(origin: Path, goal: Path) -> None:
    every_kind(origin)
    world = protect(origin)
    restore(world, goal)
    result, _ = restore(world, goal)
    assert look(goal) == look(origin)
    assert result.warnings == []
    several = {path.lstat().st_ino for path in origin.rglob("*") if path.lstat().st_nlink > 1}
    files = [path for path in origin.rglob("*") if path.is_file() and not path.is_symlink()]
    assert result.kept_files == sum(path.lstat().st_ino not in several for path in files)


def test_metadata_is_mended_where_the_bytes_are_the_same(origin: Path, goal: Path) -> None:
    world = simple(origin)
    if has_xattrs(origin):
        os.setxattr(origin / "film", "user.wedding", b"yes")
        world = protect(origin)
    restore(world, goal)
    (goal / "film").chmod(0o604)
    (goal / "day" / "3").chmod(0o777)
    os.utime(goal / "day" / "4", ns=(0, LONG_AGO))
    if has_xattrs(goal):
        os.setxattr(goal / "film", "user.wedding", b"no")
        os.setxattr(goal / "film", "user.planted", b"!")
    before = inodes(goal)
    result, packs = restore(world, goal)
    assert result.kept_files == result.files
    assert packs == set()
    assert inodes(goal) == before
    assert look(goal) == look(origin)


def test_the_time_of_a_file_proves_nothing(origin: Path, goal: Path) -> None:
    world = simple(origin)
    restore(world, goal)
    status = (goal / "film").stat()
    damage(goal / "film", SMALL)
    os.utime(goal / "film", ns=(status.st_atime_ns, status.st_mtime_ns))
    result, packs = restore(world, goal)
    assert result.kept_files == result.files - 1
    assert packs
    assert look(goal) == look(origin)


def test_a_file_with_another_name_is_written_anew(origin: Path, goal: Path, place: Path) -> None:
    """The other name may lie outside of what is restored: nothing of it may change."""
    world = simple(origin)
    restore(world, goal)
    (place / "other name").hardlink_to(goal / "film")
    (goal / "film").chmod(0o640)
    before = (place / "other name").stat()
    result, _ = restore(world, goal)
    assert result.kept_files == result.files - 1
    after = (place / "other name").stat()
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, 1)
    assert look(goal) == look(origin)


def test_no_link_is_followed_to_a_file_with_the_same_bytes(
    origin: Path, goal: Path, place: Path
) -> None:
    world = simple(origin)
    restore(world, goal)
    (goal / "film").rename(place / "film")
    (goal / "film").symlink_to(place / "film")
    (goal / "day").rename(place / "day")
    (goal / "day").symlink_to(place / "day")
    result, _ = restore(world, goal)
    assert result.kept_files == 0
    assert not (goal / "film").is_symlink()
    assert {path: facts for path, facts in look(goal).items() if b"before" not in path} == look(
        origin
    )


def test_what_is_no_file_is_not_kept_for_an_empty_one(origin: Path, goal: Path) -> None:
    (origin / "empty").touch()
    world = protect(origin)
    os.mkfifo(goal / "empty")
    assert restore(world, goal)[0].kept_files == 0
    assert look(goal) == look(origin)


@pytest.mark.skipif(not ROOT, reason="takes root")
def test_a_file_of_somebody_else_is_not_given_away(origin: Path, goal: Path) -> None:
    """Who owned it may have it open, and would go on writing to what is now another's."""
    world = simple(origin)
    restore(world, goal)
    os.chown(goal / "film", 4321, 4321)
    (goal / "film").chmod(0o644)
    old = (goal / "film").stat().st_ino
    with (goal / "film").open("r+b") as held:
        result, _ = restore(world, goal)
        held.write(b"planted")
    assert result.kept_files == result.files - 1
    assert (goal / "film").stat().st_ino != old
    assert look(goal) == look(origin)


def test_no_file_in_place_gets_a_set_user_id_bit(origin: Path, goal: Path) -> None:
    (origin / "program").write_bytes(b"#!/bin/sh\n")
    (origin / "program").chmod(0o4755)
    world = protect(origin)
    restore(world, goal)
    assert restore(world, goal)[0].kept_files == 1
    (goal / "program").chmod(0o755)
    assert restore(world, goal)[0].kept_files == 0
    assert look(goal) == look(origin)


def test_a_file_that_changes_while_it_is_read_is_written_anew(
    origin: Path, goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = simple(origin)
    restore(world, goal)
    os.utime(goal / "film", ns=(0, LONG_AGO))
    fill = os.preadv

    def disturbed(fd: int, buffers: list[memoryview], offset: int) -> int:
        count = fill(fd, buffers, offset)
        if Path(f"/proc/self/fd/{fd}").readlink() == goal / "film":
            os.utime(fd, ns=(0, LONG_AGO - 1))
        return count

    monkeypatch.setattr(os, "preadv", disturbed)
    result, _ = restore(world, goal)
    assert result.kept_files == result.files - 1
    assert look(goal) == look(origin)


def test_a_file_is_read_from_the_disk(
    origin: Path, goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page cache may hold what the disk has refused."""
    world = simple(origin)
    restore(world, goal)
    forgotten: set[tuple[int, int]] = set()
    forget, fill = os.posix_fadvise, os.preadv

    def noted(fd: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        inode = os.fstat(fd).st_ino
        forgotten.update((inode, page) for page in range(offset, offset + length, 4096))
        forget(fd, offset, length, advice)

    def checked(fd: int, buffers: list[memoryview], offset: int) -> int:
        inode, end = os.fstat(fd).st_ino, offset + len(buffers[0])
        assert all((inode, page) in forgotten for page in range(offset // 4096 * 4096, end, 4096))
        return fill(fd, buffers, offset)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    monkeypatch.setattr(os, "preadv", checked)
    result, _ = restore(world, goal)
    assert result.kept_files == result.files


def test_a_dense_file_becomes_sparse_again(origin: Path, goal: Path) -> None:
    with (origin / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(os.urandom(70_000))
        file.truncate(9_000_000)
    world = protect(origin)
    restore(world, goal)
    assert restore(world, goal)[0].kept_files == 1
    data = (goal / "sparse").read_bytes()
    (goal / "sparse").write_bytes(data)
    dense = (goal / "sparse").stat().st_blocks
    assert restore(world, goal)[0].kept_files == 0
    assert (goal / "sparse").stat().st_blocks < dense
    with (goal / "sparse").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"where a hole was")
    assert restore(world, goal)[0].kept_files == 0
    assert look(goal) == look(origin)


def test_a_recovery_that_was_killed_keeps_what_it_finished(origin: Path, goal: Path) -> None:
    for number in range(12):
        (origin / f"film {number}").write_bytes(os.urandom(SMALL))
    world = protect(origin)
    rename, lock = os.rename, Lock()
    log = goal.with_name("finished")

    def be_killed() -> None:
        def finish(old: bytes, new: bytes, **where: int) -> None:
            with lock, log.open("a") as told:
                rename(old, new, **where)
                told.write(f"{os.fsdecode(new)}\n")
                told.flush()
                if len(log.read_text().splitlines()) == 5:
                    os._exit(0)

        os.rename = finish  # type: ignore[assignment]  # of this child alone
        restore(world, goal)
        raise AssertionError("it was to end before")

    in_child(lambda: None, be_killed)
    finished = log.read_text().splitlines()
    before = {name: (goal / name).stat().st_ino for name in finished}
    assert len(before) == 5
    assert restore(world, goal)[0].kept_files == 5
    assert {name: (goal / name).stat().st_ino for name in finished} == before
    assert look(goal) == look(origin)


def test_a_user_without_rights_keeps_its_own_files(place: Path) -> None:
    def as_nobody() -> None:
        origin, goal = place / "origin", place / "goal"
        world = simple(origin)
        restore(world, goal, privileged=False)
        (goal / "film").chmod(0o600)
        result, packs = restore(world, goal, privileged=False)
        assert result.kept_files == result.files
        assert packs == set()
        assert look(goal) == look(origin)

    in_child(drop_rights, as_nobody)


_STATES = [
    *("same", "same", "absent", "damaged", "shorter", "longer", "link", "other name"),
    *("directory", "fifo", "mode", "time"),
]


def disturb(path: Path, state: str, aside: Path) -> None:
    """Make a file that was restored into something else."""
    match state:
        case "absent":
            path.unlink()
        case "damaged":
            damage(path, 0)
        case "shorter" | "longer":
            os.truncate(path, max(0, path.stat().st_size + (1 if state == "longer" else -1)))
        case "link":
            path.rename(aside)
            path.symlink_to(aside)
        case "other name":
            aside.hardlink_to(path)
        case "directory" | "fifo":
            path.unlink()
            path.mkdir() if state == "directory" else os.mkfifo(path)
        case "mode":
            path.chmod(0o606)
        case "time":
            os.utime(path, ns=(0, LONG_AGO))


@examples(15, 1500)
@given(st.data())
def test_any_tree_comes_back_over_anything(data: st.DataObject) -> None:
    """And what is fetched is what holds a file that is not as it was."""
    seed = random.Random(data.draw(st.integers(0, 2**32)))
    place = Path(tempfile.mkdtemp(prefix="weddingbackup-kept-"))
    origin, goal = place / "origin", place / "goal"
    try:
        origin.mkdir()
        states: dict[str, str] = {}
        for number in range(data.draw(st.integers(1, 12))):
            directory = data.draw(st.sampled_from([".", "a", "a/b", "c"]))
            path = origin / directory / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            size = data.draw(st.sampled_from([0, 1, 700, 5000, SMALL - 1, SMALL, 3 * SMALL]))
            path.write_bytes(seed.randbytes(size))
            if size >= SMALL and data.draw(st.integers(0, 2)) == 0:
                os.truncate(path, size + 300_000)
            if data.draw(st.integers(0, 5)) == 0:
                path.with_name(f"{number} again").hardlink_to(path)
            possible = [state for state in _STATES if size or state not in {"damaged", "shorter"}]
            states[str(path.relative_to(origin))] = data.draw(st.sampled_from(possible))
        world = protect(origin)
        restore(world, goal)
        for number, (name, state) in enumerate(states.items()):
            disturb(goal / name, state, place / f"aside {number}")
        asides = {path: path.read_bytes() for path in place.glob("aside *")}
        first = inodes(goal)
        result, fetched = restore(world, goal)
        found = look(goal)
        assert {path: facts for path, facts in found.items() if b"before" not in path} == look(
            origin
        )
        assert {path: path.read_bytes() for path in place.glob("aside *")} == asides
        once = {name for name in states if (origin / name).stat().st_nlink == 1}
        same = {name for name in once if states[name] in {"same", "mode", "time"}}
        assert {n for n in once if first.get(goal / n) == (goal / n).stat().st_ino} >= same
        assert result.kept_files == len(same)
        assert bool(fetched) == any((origin / name).stat().st_size for name in set(states) - same)
    finally:
        shutil.rmtree(place)
