"""Putting files back among things that are in the way, planted, closed, or half done."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.unit.sources.child import drop_rights, in_child
from tests.unit.sources.volume.kinds import LONG_AGO, has_xattrs, posix_acl
from tests.unit.sources.volume.trees import look, names
from weddingbackup.sources.errors import SourceUnavailableError
from weddingbackup.sources.volume import VolumeTarget
from weddingbackup.vault.entries import Entry, EntryType

ROOT = os.geteuid() == 0
TOP = Entry(b"", EntryType.DIRECTORY, mode=0o755, uid=os.geteuid(), gid=os.getegid())


def file(name: bytes, size: int, mode: int = 0o644) -> Entry:
    return Entry(
        name,
        EntryType.FILE,
        size=size,
        mode=mode,
        uid=os.geteuid(),
        gid=os.getegid(),
        mtime_ns=LONG_AGO,
    )


def directory(name: bytes, mode: int = 0o755) -> Entry:
    return Entry(name, EntryType.DIRECTORY, mode=mode, uid=os.geteuid(), gid=os.getegid())


def open_target(goal: Path, *, privileged: bool = ROOT) -> VolumeTarget:
    target = VolumeTarget(goal, privileged=privileged)
    target.directory(b"", TOP)
    return target


def put(target: VolumeTarget, path: bytes, data: bytes = b"new", mode: int = 0o644) -> None:
    target.small_file(path, file(path.rpartition(b"/")[2], len(data), mode), data)


def test_a_file_is_seen_whole_or_not_at_all(goal: Path) -> None:
    (goal / "photo").write_bytes(b"old")
    target = open_target(goal)
    writer = target.file(b"photo", file(b"photo", 10))
    writer.write(5, b"67890")
    assert (goal / "photo").read_bytes() == b"old"
    writer.write(0, b"12345")
    assert (goal / "photo").read_bytes() == b"old"
    writer.commit()
    assert (goal / "photo").read_bytes() == b"1234567890"
    writer.abort()
    assert names(goal) == {b"photo"}


def test_an_abandoned_file_leaves_nothing(goal: Path) -> None:
    (goal / "photo").write_bytes(b"old")
    target = open_target(goal)
    writer = target.file(b"photo", file(b"photo", 10_000_000))
    writer.write(0, b"12345")
    writer.abort()
    writer.abort()
    assert names(goal) == {b"photo"}
    assert (goal / "photo").read_bytes() == b"old"


def test_a_file_given_up_while_it_is_written_to_harms_no_other_file(
    goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next file that is opened gets the number of one that was closed."""
    write, arrived, go_on = os.pwrite, Event(), Event()

    def held_up(fd: int, data: bytes, offset: int) -> int:
        if bytes(data) == b"damaged":
            arrived.set()
            assert go_on.wait(30)
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", held_up)
    target = open_target(goal)
    broken = target.file(b"broken", file(b"broken", 7))
    with ThreadPoolExecutor(1) as other:
        writing = other.submit(broken.write, 0, b"damaged")
        try:
            assert arrived.wait(30)
            with pytest.raises(ValueError, match="not whole"):
                broken.commit()
            broken.abort()
            good = target.file(b"good", file(b"good", 9))
            good.write(0, b"untouched")
        finally:
            go_on.set()
        writing.result()
    good.commit()
    assert (goal / "good").read_bytes() == b"untouched"
    with pytest.raises(OSError, match="canceled"):
        broken.write(0, b"more")
    assert open_temporaries() == []
    assert names(goal) == {b"good"}


def open_temporaries() -> list[str]:
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [path for path in opened if ".weddingbackup-" in path]


def test_a_file_with_missing_bytes_gets_no_name(goal: Path) -> None:
    target = open_target(goal)
    writer = target.file(b"photo", file(b"photo", 10))
    writer.write(0, b"123456789")
    with pytest.raises(ValueError, match="photo is not whole: 9 of 10 bytes"):
        writer.commit()
    writer.abort()
    with pytest.raises(ValueError, match="small is not whole"):
        target.small_file(b"small", file(b"small", 4), b"123")
    assert names(goal) == set()


@pytest.mark.parametrize("offset", [-1, 8])
def test_bytes_outside_of_a_file_are_refused(goal: Path, offset: int) -> None:
    writer = open_target(goal).file(b"photo", file(b"photo", 10))
    with pytest.raises(ValueError, match="outside"):
        writer.write(offset, b"123")
    writer.abort()


def test_other_names_of_a_replaced_file_keep_their_bytes(goal: Path) -> None:
    (goal / "photo").write_bytes(b"old")
    os.link(goal / "photo", goal / "kept")
    put(open_target(goal), b"photo")
    assert (goal / "kept").read_bytes() == b"old"
    assert (goal / "photo").read_bytes() == b"new"


def test_a_link_in_the_way_of_a_file_is_replaced_not_followed(place: Path, goal: Path) -> None:
    (place / "outside").write_bytes(b"precious")
    (goal / "small").symlink_to(place / "outside")
    (goal / "large").symlink_to(place / "outside")
    target = open_target(goal)
    put(target, b"small")
    writer = target.file(b"large", file(b"large", 3))
    writer.write(0, b"new")
    writer.commit()
    assert (place / "outside").read_bytes() == b"precious"
    assert (goal / "small").read_bytes() == (goal / "large").read_bytes() == b"new"


def test_a_link_in_the_way_of_a_directory_is_moved_aside_not_followed(
    place: Path, goal: Path
) -> None:
    (place / "outside").mkdir(mode=0o700)
    (goal / "album").symlink_to(place / "outside")
    target = open_target(goal)
    target.directory(b"album", directory(b"album"))
    put(target, b"album/photo")
    target.finish_directory(b"album", directory(b"album", 0o777))
    assert names(place / "outside") == set()
    assert stat.S_IMODE((place / "outside").stat().st_mode) == 0o700
    assert (goal / "album" / "photo").read_bytes() == b"new"
    assert (goal / "album.before-recovery").is_symlink()
    assert target.warnings()[0].endswith("<name>.before-recovery: 1 (album)")


def test_a_link_planted_for_a_directory_in_use_is_not_followed(place: Path, goal: Path) -> None:
    (place / "outside").mkdir()
    (goal / "album").mkdir()
    target = open_target(goal)
    (goal / "album").rename(goal / "moved")
    (goal / "album").symlink_to(place / "outside")
    with pytest.raises(OSError, match="album/photo"):
        put(target, b"album/photo")
    with pytest.raises(OSError, match="album/large"):
        target.file(b"album/large", file(b"large", 3))
    with pytest.raises(OSError, match="album"):
        target.finish_directory(b"album", directory(b"album", 0o777))
    assert names(place / "outside") == set()


def test_things_of_another_kind_are_moved_aside_and_kept(goal: Path) -> None:
    (goal / "file").mkdir()
    (goal / "file" / "inside").write_bytes(b"kept")
    (goal / "file.before-recovery").write_bytes(b"an earlier one")
    (goal / "directory").write_bytes(b"kept too")
    target = open_target(goal)
    put(target, b"file")
    target.directory(b"directory", directory(b"directory"))
    put(target, b"directory/inside")
    assert (goal / "file").read_bytes() == b"new"
    assert (goal / "file.before-recovery-2" / "inside").read_bytes() == b"kept"
    assert (goal / "file.before-recovery").read_bytes() == b"an earlier one"
    assert (goal / "directory.before-recovery").read_bytes() == b"kept too"
    assert "2 (file, directory)" in target.warnings()[0]


def test_a_name_too_long_to_be_marked_is_moved_aside_all_the_same(goal: Path) -> None:
    name = b"n" * 255
    (goal / os.fsdecode(name)).mkdir()
    put(open_target(goal), name)
    assert names(goal) == {name, b"n" * 239 + b".before-recovery"}


@pytest.mark.parametrize(
    "path",
    [b"..", b".", b"a/..", b"a/.", b"../b", b"a/../b", b"/etc/x", b"a//b", b"a/", b"x\0y", b"./b"],
)
def test_a_name_that_leads_elsewhere_is_refused(place: Path, goal: Path, path: bytes) -> None:
    target = open_target(goal)
    target.directory(b"a", directory(b"a"))
    link = Entry(b"x", EntryType.SYMLINK, target=b"/etc")
    before = look(place)
    for act in (
        lambda: put(target, path),
        lambda: target.file(path, file(b"x", 1)),
        lambda: target.directory(path, directory(b"x")),
        lambda: target.other(path, link),
        lambda: target.link(path, b"a"),
        lambda: target.link(b"x", path),
        lambda: target.finish_directory(path, directory(b"x", 0o777)),
    ):
        with pytest.raises(OSError, match=r"that no (file|directory) can have"):
            act()
    assert look(place) == before


def test_what_a_killed_recovery_left_is_swept(goal: Path) -> None:
    half = ".weddingbackup-0123456789abcdef-5"
    (goal / "album").mkdir()
    for path in (goal / half, goal / "album" / half, goal / "album" / ".weddingbackup-mine"):
        path.write_bytes(b"half")
    target = open_target(goal)
    target.directory(b"album", directory(b"album"))
    assert names(goal) == {b"album", b"album/.weddingbackup-mine"}


def test_a_second_recovery_into_the_same_directory_waits(goal: Path) -> None:
    with (
        VolumeTarget(goal, privileged=False),
        pytest.raises(SourceUnavailableError, match="Another recovery"),
    ):
        VolumeTarget(goal, privileged=False)
    with VolumeTarget(goal, privileged=False):
        pass


def test_a_hard_link_that_is_there_already_leaves_no_second_name(goal: Path) -> None:
    target = open_target(goal)
    put(target, b"photo")
    for _ in range(2):
        target.link(b"same photo", b"photo")
        assert names(goal) == {b"photo", b"same photo"}
    assert (goal / "photo").stat().st_ino == (goal / "same photo").stat().st_ino


def test_a_second_name_of_a_device_that_may_not_be_made_is_left_out_like_the_first(
    place: Path,
) -> None:
    def as_nobody() -> None:
        goal = place / "goal"
        target = VolumeTarget(goal, privileged=False)
        target.directory(b"", TOP)
        target.other(b"loop", Entry(b"loop", EntryType.BLOCK_DEVICE, rdev=os.makedev(7, 0)))
        target.link(b"again", b"loop")
        assert names(goal) == set()
        assert target.warnings() == [
            "Device not restored (it takes the worker's privilege Root): 2 (loop, again)"
        ]

    in_child(drop_rights, as_nobody)


def test_files_take_no_access_list_and_group_from_the_directory(goal: Path) -> None:
    goal.chmod(0o2777)
    if has_xattrs(goal):
        os.setxattr(goal, "system.posix_acl_default", posix_acl(7, 1234))
    target = open_target(goal)
    put(target, b"small")
    writer = target.file(b"large", file(b"large", 3))
    writer.write(0, b"new")
    writer.commit()
    target.directory(b"album", directory(b"album"))
    put(target, b"album/inside")
    target.finish_directory(b"album", directory(b"album"))
    target.finish_directory(b"", TOP)
    assert {path: facts["xattrs"] for path, facts in look(goal).items()} == {
        path: {} for path in (b"", b"small", b"large", b"album", b"album/inside")
    }
    assert stat.S_IMODE((goal / "album").stat().st_mode) == 0o755


def test_what_a_user_without_rights_cannot_keep_is_counted(place: Path) -> None:
    def as_nobody() -> None:
        target = VolumeTarget(place / "goal", privileged=False)
        top = Entry(b"", EntryType.DIRECTORY, mode=0o750, uid=os.geteuid(), gid=os.getegid())
        target.directory(b"", top)
        for name in (b"a", b"b", b"c", b"d"):
            entry = Entry(name, EntryType.FILE, size=1, mode=0o6711, uid=7, gid=8)
            target.small_file(name, entry, b"x")
        capability = ((b"security.capability", b"\x00\x00\x00\x02" + bytes(16)),)
        own = Entry(b"e", EntryType.FILE, uid=os.geteuid(), gid=os.getegid(), xattrs=capability)
        target.small_file(b"e", own, b"")
        target.other(b"null", Entry(b"null", EntryType.CHAR_DEVICE, rdev=os.makedev(1, 3)))
        target.finish_directory(b"", top)
        target.close()
        assert stat.S_IMODE((place / "goal" / "a").stat().st_mode) == 0o711
        assert names(place / "goal") == {b"a", b"b", b"c", b"d", b"e"}
        special = "Set-user-id or set-group-id bit dropped, since the owner or group could not be "
        assert sorted(target.warnings()) == [
            "Device not restored (it takes the worker's privilege Root): 1 (null)",
            "Extended attribute security.* not kept: 1 (e)",
            "Group not kept (it takes the worker's privilege Root): 4 (for example a, b, c)",
            "Owner not kept (it takes the worker's privilege Root): 4 (for example a, b, c)",
            f"{special}kept: 4 (for example a, b, c)",
        ]

    in_child(drop_rights, as_nobody)


def test_a_top_that_belongs_to_somebody_else_is_used_as_it_is(goal: Path) -> None:
    """A claim's top belongs to root, its group to the pod."""
    goal.chmod(0o777)

    def as_nobody() -> None:
        target = open_target(goal, privileged=False)
        put(target, b"photo")
        target.finish_directory(b"", directory(b"", 0o700))
        assert any(line.startswith("Mode and times not kept") for line in target.warnings())

    if ROOT:
        in_child(drop_rights, as_nobody)
        assert (goal / "photo").read_bytes() == b"new"


def test_a_directory_that_may_not_be_written_is_named_with_the_remedy(goal: Path) -> None:
    (goal / "closed").mkdir()
    goal.chmod(0o755)

    def as_nobody() -> None:
        with pytest.raises(PermissionError, match=r"may not write here.*Root"):
            VolumeTarget(goal / "closed", privileged=False).directory(b"", TOP)

    if ROOT:
        in_child(drop_rights, as_nobody)


def test_a_name_that_the_volume_cannot_have_fails_that_file_only(goal: Path) -> None:
    target = open_target(goal)
    with pytest.raises(OSError, match="name too long"):
        put(target, b"n" * 256)
    with pytest.raises(OSError, match="name too long"):
        target.file(b"n" * 256, file(b"n" * 256, 0)).commit()
    put(target, b"fine")
    assert names(goal) == {b"fine"}
