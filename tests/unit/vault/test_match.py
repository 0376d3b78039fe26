"""What the target has already is kept, and the stores are not asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryTarget, World, _MemoryPresent, rng
from weddingbackup.vault import plan
from weddingbackup.vault.catalog import points
from weddingbackup.vault.entries import SMALL, Entry, EntryType
from weddingbackup.vault.errors import RestoreIncompleteError
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.opened import OpenedSource
from weddingbackup.vault.plan import FileJob, batches, runs
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

DRAW = rng(11)
LARGE = {b"film %d" % n: DRAW(3 * SMALL + n) for n in range(3)}
FILES = {b"day/%d" % n: DRAW(3000 + n) for n in range(40)} | LARGE
FILES |= {b"night/%d" % n: DRAW(100 + n) for n in range(9)} | {b"empty": b""}


class Restored:
    """One restore onto files that are there, and what was fetched for it."""

    def __init__(
        self, world: World, there: dict[bytes, bytes], include: Collection[bytes] = ()
    ) -> None:
        vault = world.vault()
        point = points(vault.stores)[0]
        self.opened = OpenedSource(vault, point, "photos")
        self._places = self.opened.data()
        packs = {pack.name for index in self._places.indexes for pack in index.packs}
        self.target = MemoryTarget()
        self.target.files |= there
        (store,) = world.stores
        store.gets.clear()
        self.result = restore(
            vault, point, "photos", self.target, progress=Progress(), include=tuple(include)
        )
        assert not self.target.unfinished
        self.fetched = sum(length for name, length in store.gets if name in packs)

    def sealed(self, paths: Iterable[bytes]) -> int:
        """How much there is to fetch for these files."""
        wanted = set(paths)
        chunks = {
            extent[0]
            for path, item in self.opened.walk()
            if path in wanted
            for extent in item.extents
        }
        places = [self._places.find(chunk) for chunk in chunks]
        return sum(place.stored for place in places if place)


def protected(files: dict[bytes, bytes]) -> World:
    world = World.of("a", quorum=1)
    world.limits = Limits(grace_seconds=30.0)
    world.backup(MemorySource(files))
    return world


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between two chunks is not read with them, so what is fetched can be counted."""
    monkeypatch.setattr(plan, "GAP", 0)


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_nothing_is_fetched_for_what_is_there() -> None:
    world = protected(FILES)
    assert Restored(world, {}).fetched > 4_700_000
    done = Restored(world, FILES)
    assert done.fetched == 0
    assert done.target.files == FILES
    assert sorted(done.target.kept) == sorted(FILES)
    assert (done.result.files, done.result.kept_files) == (len(FILES), len(FILES))
    total = sum(map(len, FILES.values()))
    assert (done.result.bytes, done.result.kept_bytes) == (total, total)


@pytest.mark.parametrize("path", [b"day/17", b"night/3", b"film 1"])
def test_only_what_differs_is_fetched_and_its_neighbours_are_kept_by_comparing(path: bytes) -> None:
    done = Restored(protected(FILES), FILES | {path: damaged(FILES[path])})
    assert done.target.files == FILES
    assert sorted(done.target.kept) == sorted(set(FILES) - {path})
    assert 0 < done.fetched == done.sealed([path])
    assert done.result.kept_files == len(FILES) - 1 == done.result.files - 1


def test_what_is_there_needs_no_location_that_has_its_data() -> None:
    world = protected(FILES)
    (store,) = world.stores
    opened = OpenedSource(world.vault(), points(world.stores)[0], "photos")
    for pack in opened.data().indexes[0].packs:
        del store.objects[pack.name]
    assert Restored(world, FILES).result.kept_files == len(FILES)
    with pytest.raises(RestoreIncompleteError) as caught:
        Restored(world, FILES | {b"film 0": damaged(FILES[b"film 0"])})
    assert [path for path, _ in caught.value.result.failed] == [b"film 0"]


def test_a_chunk_whose_other_files_are_gone_is_fetched_and_compared() -> None:
    """A later point's files keep their places in a chunk that it no longer holds whole."""
    world = protected({})
    source = MemorySource(FILES)
    world.backup(source)
    source.data.pop(b"day/20")
    del source.entries[b"day/20"]
    world.backup(source)
    left = {path: data for path, data in FILES.items() if path != b"day/20"}
    done = Restored(world, left)
    assert sorted(done.target.kept) == sorted(left)
    assert done.fetched == done.sealed([b"day/1"])


def test_a_part_of_a_tree_is_kept_too() -> None:
    done = Restored(protected(FILES), FILES, [b"film 1", b"night"])
    wanted = {path for path in FILES if path == b"film 1" or path.startswith(b"night/")}
    assert set(done.target.kept) == wanted
    assert done.fetched == 0


def test_the_same_chunk_in_two_directories_is_judged_in_each() -> None:
    files = {
        b"%s/%d" % (day, n): FILES[b"day/%d" % n] for day in (b"fri", b"sat") for n in range(9)
    }
    world = protected(files)
    assert Restored(world, files).fetched == 0
    done = Restored(world, files | {b"sat/4": damaged(files[b"sat/4"])})
    assert done.target.files == files
    assert set(done.target.kept) == set(files) - {b"sat/4"}
    assert done.fetched == done.sealed([b"fri/1"])


def test_a_target_that_cannot_keep_gets_the_file_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object) -> bool:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(_MemoryPresent, "keep", refuse)
    done = Restored(protected(FILES), FILES)
    assert done.result.kept_files == 0
    assert done.target.files == FILES
    assert done.fetched == done.sealed(FILES)


def test_a_reader_holds_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = _MemoryPresent.read

    def measured(
        self: _MemoryPresent, pieces: Iterable[tuple[int, int]], buffer: memoryview
    ) -> None:
        sizes.append(len(buffer))
        read(self, pieces, buffer)

    monkeypatch.setattr(_MemoryPresent, "read", measured)
    film = {b"film": DRAW(20 << 20)}
    assert Restored(protected(film), film).fetched == 0
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= 4 << 20


def job(name: bytes, chunk: bytes, start: int, length: int) -> FileJob:
    return FileJob(name, Entry(name, EntryType.FILE, size=length), ((chunk, start, length),))


def test_small_files_that_share_a_chunk_share_a_batch_though_large_ones_stand_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "BATCH_FILES", 4)
    files = []
    for n in range(12):
        files.append(job(b"%02d small" % n, b"chunk %d" % (n // 6), n % 6, 1))
        files.append(job(b"%02d tall" % n, b"own %d" % n, 0, SMALL))
    found = [[each.path for each in batch] for batch in batches(files)]
    assert sorted(path for batch in found for path in batch) == [each.path for each in files]
    assert [b"%02d small" % n for n in range(6)] in found
    assert max(map(len, found)) == 6
    monkeypatch.setattr(plan, "MOST_FILES", 5)
    assert max(map(len, batches(files))) == 5


def test_runs_are_chunks_held_whole() -> None:
    sizes = {b"whole": 3, b"twice": 2, b"torn": 3, b"short": 3, b"lost": None}

    def find(chunk: bytes) -> object:
        size = sizes[chunk]
        return None if size is None else type("P", (), {"raw": size})

    files = [
        *(job(b"w%d" % n, b"whole", n, 1) for n in range(3)),
        *(job(b"t%d%d" % (n, start), b"twice", start, 1) for n in range(2) for start in range(2)),
        job(b"a", b"torn", 0, 1),
        job(b"c", b"torn", 2, 1),
        job(b"s", b"short", 0, 2),
        *(job(b"l%d" % n, b"lost", n, 1) for n in range(2)),
        job(b"m", b"lost", 0, 2),
    ]
    found = [
        (run.chunk, [piece.job.path for piece in run.pieces])
        for run in runs(files, find)  # type: ignore[arg-type]  # of a place, its size
    ]
    assert found == [
        (b"whole", [b"w0", b"w1", b"w2"]),
        (b"twice", [b"t00", b"t01"]),
        (b"twice", [b"t10", b"t11"]),
        (b"lost", [b"l0", b"l1"]),
        (b"lost", [b"m"]),
    ]
