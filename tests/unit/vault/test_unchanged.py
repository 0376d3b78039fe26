"""Which files a backup takes from the point before without reading them, and which it never does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.unit.vault.fakes import LARGE_PACKS, MemorySource, World, bring_back, rng
from weddingbackup.resources.common import DataClass
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.write import JobFacts, SourceInput, backup

if TYPE_CHECKING:
    from weddingbackup.vault.results import BackupResult

FILES = {b"d/one": b"the first", b"d/two": b"the other", b"large": rng(3)(600_000)}


def again(
    world: World, source: MemorySource, *, paranoid: bool = False, year: int = 2027
) -> BackupResult:
    source.reads.clear()
    moment = datetime(year, 1, 2 if paranoid else 1, tzinfo=UTC)
    job = JobFacts(f"again-{moment:%Y%d}", "studio", "again", moment)
    return backup(
        world.vault(),
        job,
        [SourceInput("photos", DataClass.PORTFOLIO, source)],
        quorum=2,
        progress=Progress(),
        paranoid=paranoid,
        clock=lambda: moment,
        limits=LARGE_PACKS,
    )


@pytest.fixture
def world() -> World:
    found = World.of("a", "b")
    found.limits = LARGE_PACKS
    return found


@pytest.fixture
def source(world: World) -> MemorySource:
    found = MemorySource(FILES)
    world.backup(found)
    return found


def test_what_is_unchanged_is_not_read(world: World, source: MemorySource) -> None:
    (told,) = again(world, source).sources
    assert source.reads == []
    assert (told.files, told.new_bytes) == (3, 0)
    assert bring_back(world).files == FILES


@pytest.mark.parametrize("path", [b"d/one", b"large"])
@pytest.mark.parametrize("field", ["ctime_ns", "mtime_ns", "inode"])
def test_each_mark_alone_has_a_file_read(
    world: World, source: MemorySource, path: bytes, field: str
) -> None:
    """A ctime that moved alone: written and its mtime set back. An inode: another file renamed over it."""
    data = bytes(reversed(FILES[path]))  # of the same size
    entry = source.entries[path]
    source.entries[path] = msgspec.structs.replace(entry, **{field: getattr(entry, field) + 1})
    source.data[path] = data
    again(world, source)
    assert source.reads == [path]
    assert bring_back(world).files == FILES | {path: data}


def test_a_used_inode_of_another_file_is_not_taken_for_the_one_before(
    world: World, source: MemorySource
) -> None:
    """The old file was removed and a new one got its inode, name and size."""
    entry = source.entries[b"d/one"]
    source.entries[b"d/one"] = msgspec.structs.replace(
        entry, mtime_ns=entry.mtime_ns + 5, ctime_ns=entry.ctime_ns + 5
    )
    source.data[b"d/one"] = b"its heir."
    again(world, source)
    assert bring_back(world).files[b"d/one"] == b"its heir."


def test_what_was_changed_too_close_to_its_backup_is_read_again(world: World) -> None:
    """A source gives such a file the ctime 0, as a later change may have the same times."""
    source = MemorySource({})
    source.write(b"busy", b"before", ctime_ns=0)
    world.backup(source)
    source.data[b"busy"] = b"after!"
    again(world, source)
    assert bring_back(world).files == {b"busy": b"after!"}


def test_paranoid_reads_all_and_stores_only_what_is_new(world: World, source: MemorySource) -> None:
    (told,) = again(world, source, paranoid=True).sources
    assert sorted(source.reads) == sorted(FILES)
    assert told.new_bytes == 0
    assert bring_back(world).files == FILES


def test_paranoid_sees_what_no_mark_shows(world: World, source: MemorySource) -> None:
    source.data[b"large"] = changed = rng(9)(600_000)  # a disk that rots, a clock set back
    again(world, source)
    assert bring_back(world).files == FILES
    again(world, source, paranoid=True)
    assert bring_back(world).files == FILES | {b"large": changed}


def test_a_point_that_is_dated_in_the_future_is_believed_nothing(
    world: World, source: MemorySource
) -> None:
    """A worker that lied once must not be believed by every backup for years."""
    again(world, MemorySource({}), year=2999)
    again(world, source)
    assert source.reads == []
