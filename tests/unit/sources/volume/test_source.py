"""A volume that is alive while it is read, or closed to us, or stranger than expected."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.unit.sources.child import drop_rights, in_child
from tests.unit.sources.volume.copying import read_all
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.vault.entries import Entry, EntryType, SourceChangedError

HOUR_NS = 3600 * 10**9


def later(origin: Path) -> VolumeSource:
    """A source to which all that was written until now is old."""
    return VolumeSource(origin, clock=lambda: time.time_ns() + HOUR_NS)


def child(source: VolumeSource, name: bytes) -> Entry:
    return next(entry for entry in source.children(b"") if entry.name == name)


def warnings(source: VolumeSource) -> str:
    return "\n".join(source.facts()["warnings"])


def rewrite(path: Path) -> None:
    path.write_bytes(b"B" * path.stat().st_size)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def put_back_the_time(path: Path) -> None:
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    rewrite(path)
    os.utime(path, ns=times)


CHANGES = pytest.mark.parametrize(
    ("change", "size"),
    [(rewrite, 200_000), (append, 200_000), (cut, 1000), (put_back_the_time, 200_000)],
)


@CHANGES
def test_a_file_that_changes_while_it_is_read_is_noticed(
    origin: Path, change: Callable[[Path], None], size: int
) -> None:
    (origin / "live").write_bytes(b"A" * 200_000)
    source = later(origin)
    reader = source.open(b"live", child(source, b"live"))
    read = bytearray()
    block = memoryview(bytearray(1000))
    read += block[: reader.readinto(block)]
    change(origin / "live")
    while count := reader.readinto(block):
        read += block[:count]
    with pytest.raises(SourceChangedError) as raised:
        reader.finish()
    reader.close()
    assert raised.value.entry.size == len(read) == size
    assert raised.value.entry.ctime_ns == 0


@CHANGES
def test_a_small_file_that_changed_since_it_was_listed_is_read_as_it_is_now(
    origin: Path, change: Callable[[Path], None], size: int
) -> None:
    (origin / "live").write_bytes(b"A" * 200_000)
    source = later(origin)
    listed = source.children(b"")
    change(origin / "live")
    (answer,) = source.read_small(b"", listed)
    assert isinstance(answer, tuple)
    entry, data = answer
    assert data == (origin / "live").read_bytes()
    assert entry.size == (origin / "live").stat().st_size >= size
    assert entry.ctime_ns == (origin / "live").stat().st_ctime_ns


def test_a_sparse_file_that_is_cut_tells_what_was_read(origin: Path) -> None:
    with (origin / "sparse").open("wb") as file:
        for position in (1_000_000, 2_000_000):
            file.seek(position)
            file.write(b"x" * 4096)
    source = later(origin)
    reader = source.open(b"sparse", child(source, b"sparse"))
    block = memoryview(bytearray(4096))
    delivered = reader.readinto(block)
    os.truncate(origin / "sparse", 1_500_000)
    while count := reader.readinto(block):
        delivered += count
    with pytest.raises(SourceChangedError) as raised:
        reader.finish()
    reader.close()
    assert raised.value.entry.stored_size == delivered


def test_a_small_file_with_holes_keeps_them(origin: Path) -> None:
    with (origin / "sparse").open("wb") as file:
        file.seek(500_000)
        file.write(b"x" * 4096)
    source = later(origin)
    (answer,) = source.read_small(b"", source.children(b""))
    assert isinstance(answer, tuple)
    entry, data = answer
    assert len(data) == entry.stored_size < entry.size == 504_096


def test_a_change_within_one_tick_of_the_clock_is_waited_out(origin: Path) -> None:
    (origin / "fresh").write_bytes(b"x")
    changed = (origin / "fresh").stat().st_ctime_ns
    waits: list[float] = []
    source = VolumeSource(origin, clock=lambda: changed + 5_000_000, sleep=waits.append)
    reader = source.open(b"fresh", child(source, b"fresh"))
    reader.close()
    assert waits == [pytest.approx(0.015)]


@pytest.mark.parametrize(("age", "kept"), [(1_900_000_000, False), (2_100_000_000, True)])
@pytest.mark.parametrize("small", [False, True])
def test_what_changed_just_now_is_never_taken_for_unchanged_later(
    origin: Path, age: int, kept: bool, small: bool
) -> None:
    (origin / "file").write_bytes(b"x")
    changed = (origin / "file").stat().st_ctime_ns
    source = VolumeSource(origin, clock=lambda: changed + age, sleep=lambda _: None)
    (entry,) = source.children(b"")
    assert entry.ctime_ns == changed
    if small:
        (answer,) = source.read_small(b"", [entry])
        assert isinstance(answer, tuple)
        whole = answer[0]
    else:
        whole, _ = read_all(source.open(b"file", entry))
    assert whole.ctime_ns == (changed if kept else 0)
    assert msgspec.structs.replace(whole, ctime_ns=changed) == entry


def vanish(path: Path) -> None:
    path.unlink()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("change", [vanish, become_a_link, become_a_fifo, become_a_socket])
def test_a_file_that_is_gone_when_it_is_to_be_read_is_left_out_and_told(
    origin: Path, change: Callable[[Path], None]
) -> None:
    (origin / "gone").write_bytes(b"x" * 100)
    (origin / "here").write_bytes(b"y")
    source = later(origin)
    listed = source.children(b"")
    change(origin / "gone")
    with pytest.raises(FileNotFoundError):
        source.open(b"gone", listed[0])
    gone, here = source.read_small(b"", listed)
    assert isinstance(gone, FileNotFoundError)
    assert isinstance(here, tuple)
    assert "left out: 2 (gone, gone)" in warnings(source)


def test_a_directory_that_is_gone_or_became_a_link_is_left_out_and_told(origin: Path) -> None:
    (origin / "a").mkdir()
    (origin / "b").mkdir()
    source = VolumeSource(origin)
    (origin / "a").rmdir()
    (origin / "b").rmdir()
    (origin / "b").symlink_to("/etc")
    for path in (b"a", b"b", b"b/ssl"):
        with pytest.raises(FileNotFoundError):
            source.children(path)
    (answer,) = source.read_small(b"b", [Entry(b"passwd", EntryType.FILE, size=1)])
    assert isinstance(answer, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        source.open(b"b/passwd", Entry(b"passwd", EntryType.FILE))
    assert "left out: 5 (for example a, b, b/ssl)" in warnings(source)


def test_what_may_not_be_read_is_named_with_the_remedy(place: Path) -> None:
    (place / "file").mkdir()
    (place / "file" / "secret").write_bytes(b"x")
    (place / "file" / "secret").chmod(0o000)
    (place / "directory" / "closed").mkdir(parents=True)
    (place / "directory" / "closed").chmod(0o000)

    def as_nobody() -> None:
        source = later(place / "file")
        (entry,) = source.children(b"")
        assert source.estimate() == 1
        for read in (
            lambda: source.open(b"secret", entry),
            lambda: source.read_small(b"", [entry]),
            lambda: VolumeSource(place / "directory").children(b"closed"),
            lambda: VolumeSource(place / "directory" / "closed"),
        ):
            with pytest.raises(SourceError, match=r"(secret|closed) may not be read.*Root"):
                read()

    in_child(drop_rights, as_nobody)


def test_somebody_elses_file_that_may_be_read_is_read(place: Path) -> None:
    (place / "theirs").write_bytes(b"theirs")
    (place / "theirs").chmod(0o644)

    def as_nobody() -> None:
        source = later(place)
        (entry,) = source.children(b"")
        assert read_all(source.open(b"theirs", entry))[1] == b"theirs"

    in_child(drop_rights, as_nobody)


def test_reading_leaves_no_access_times(origin: Path) -> None:
    for name in ("one", "two"):
        (origin / name).write_bytes(b"x")
        os.utime(origin / name, ns=(10**18, 2 * 10**18))
    source = later(origin)
    one, two = source.children(b"")
    read_all(source.open(b"one", one))
    source.read_small(b"", [two])
    assert [(origin / name).stat().st_atime_ns for name in ("one", "two")] == [10**18] * 2


def test_an_empty_source_is_a_warning(origin: Path) -> None:
    source = VolumeSource(origin)
    assert source.children(b"") == []
    assert "empty" in warnings(source)


def test_nothing_is_said_when_all_is_well(origin: Path) -> None:
    (origin / "file").write_bytes(b"x")
    source = VolumeSource(origin)
    source.children(b"")
    assert source.facts() == {"warnings": []}


def test_a_missing_top_is_refused(origin: Path) -> None:
    with pytest.raises(SourceError, match=r"There is no directory .*missing"):
        VolumeSource(origin / "missing")


def test_another_file_system_is_not_entered() -> None:
    """Every Linux has something mounted at /dev/pts."""
    source = VolumeSource(Path("/dev"))
    assert child(source, b"pts").type is EntryType.DIRECTORY
    assert source.children(b"pts") == []
    assert "Another file system is mounted there" in warnings(source)


def test_leftovers_of_a_recovery_and_of_the_file_system_are_no_data(origin: Path) -> None:
    (origin / "lost+found").mkdir()
    (origin / ".weddingbackup-0123456789abcdef-17").write_bytes(b"half")
    (origin / "deeper" / "lost+found").mkdir(parents=True)
    source = VolumeSource(origin)
    owned_by_root = (origin / "lost+found").stat().st_uid == 0
    top = [entry.name for entry in source.children(b"")]
    assert top == [b"deeper"] + [b"lost+found"] * (not owned_by_root)
    assert [entry.name for entry in source.children(b"deeper")] == [b"lost+found"]


def test_patterns_select(origin: Path) -> None:
    for path in ("keep/a.jpg", "keep/a.tmp", "keep/cache/b.jpg", "other/c.txt"):
        (origin / path).parent.mkdir(parents=True, exist_ok=True)
        (origin / path).write_bytes(b"12345")
    source = VolumeSource(origin, include=["/keep"], exclude=["*.tmp", "cache/"])
    assert [entry.name for entry in source.children(b"")] == [b"keep"]
    assert [entry.name for entry in source.children(b"keep")] == [b"a.jpg"]
    assert source.estimate() == 5


def test_the_estimate_is_the_bytes_of_all_files(origin: Path) -> None:
    (origin / "a" / "b").mkdir(parents=True)
    (origin / "one").write_bytes(b"x" * 1000)
    (origin / "a" / "b" / "two").write_bytes(b"x" * 234)
    (origin / "a" / "link").symlink_to("b/two")
    assert VolumeSource(origin).estimate() == 1234


def test_a_listing_is_sorted_by_bytes(origin: Path) -> None:
    names = [b"a", b"B", b"\xff", b"\xc3\xa9", b"a.b", b"a-b"]
    for name in names:
        os.close(os.open(os.fsencode(origin) + b"/" + name, os.O_CREAT))
    assert [entry.name for entry in VolumeSource(origin).children(b"")] == sorted(names)
