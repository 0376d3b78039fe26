"""Plans a restore: which chunks of which packs serve which pieces of which files. Pure.

Bounds: two batches are gathered, of small files and of others; each names about `BATCH_FILES` files
or `BATCH_BYTES` of data (or one file, or `MOST_FILES` that share a chunk), and a range is at most `RANGE_SEALED` bytes on the wire and `RANGE_RAW` in memory (or one chunk).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.vault.entries import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from weddingbackup.vault.entries import Entry, PresentFile
    from weddingbackup.vault.index import Place
    from weddingbackup.vault.tree import Extent

MIB = 1024 * 1024
BATCH_FILES = 8192
MOST_FILES = 65_536
BATCH_BYTES = 128 * MIB
RANGE_SEALED = 4 * MIB
RANGE_RAW = 8 * MIB
GAP = 128 * 1024
"""Bytes that nobody asked for, read rather than asking twice."""


@dataclass(eq=False, slots=True)
class FileJob:
    """One file to bring back.

    Attributes:
        present: the file that stands there already and may turn out to be the same.
        left: its pieces that are not verified there yet; then those that are not written yet.
    """

    path: bytes
    entry: Entry
    extents: tuple[Extent, ...]
    present: PresentFile | None = None
    left: int = 0


class Piece(NamedTuple):
    """A part of a chunk that belongs to a file, at this offset of its logical bytes."""

    job: FileJob
    offset: int
    start: int
    length: int


@dataclass(slots=True)
class Range:
    """Neighbouring chunks of one pack, fetched by one request."""

    places: list[Place] = field(default_factory=list)
    pieces: list[list[Piece]] = field(default_factory=list)

    @property
    def offset(self) -> int:
        """Where it begins in the pack."""
        return self.places[0].offset

    @property
    def length(self) -> int:
        """Sealed bytes, gaps included."""
        return self.places[-1].offset + self.places[-1].stored - self.offset


class Run(NamedTuple):
    """Pieces that are a chunk when they are joined."""

    chunk: bytes
    pieces: list[Piece]


def batches(files: Iterable[FileJob]) -> Iterator[list[FileJob]]:
    """Gather files into batches, small ones apart: those that share a chunk stay together.

    Others stand between them by name, so they would be torn apart else, and their chunk fetched
    for each part.
    """
    small, large = _Batch(), _Batch()
    for job in files:
        batch = small if job.entry.stored_size < SMALL else large
        if batch.ends_before(job):
            yield batch.jobs
            batch.clear()
        batch.add(job)
    for batch in (small, large):
        if batch.jobs:
            yield batch.jobs


class _Batch:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.jobs: list[FileJob] = []
        self._size = 0

    def add(self, job: FileJob) -> None:
        self.jobs.append(job)
        self._size += job.entry.stored_size

    def ends_before(self, job: FileJob) -> bool:
        if len(self.jobs) < BATCH_FILES and self._size < BATCH_BYTES:
            return False
        return self.jobs[-1].extents[-1][0] != job.extents[0][0] or len(self.jobs) >= MOST_FILES


def pieces(job: FileJob) -> Iterable[tuple[bytes, Piece]]:
    """Say which part of which chunk goes where; a sparse file's segments split extents."""
    if len(job.extents) == 1 and not job.entry.segments:
        ((chunk, start, length),) = job.extents
        return ((chunk, Piece(job, 0, start, length)),)  # most files, and there may be millions
    return _split(job)


def _split(job: FileJob) -> Iterator[tuple[bytes, Piece]]:
    segments = iter(job.entry.segments or ((0, job.entry.size),))
    offset, room = next(segments)
    for chunk, begin, size in job.extents:
        start, left = begin, size
        while left:
            while not room:
                offset, room = next(segments)
            length = min(left, room)
            yield chunk, Piece(job, offset, start, length)
            offset, room = offset + length, room - length
            start, left = start + length, left - length


def runs(batch: Iterable[FileJob], find: Callable[[bytes], Place | None]) -> Iterator[Run]:
    """Give the chunks that files of a batch, joined in their order, hold whole.

    A chunk comes as often as it is held, for several files may be the same. What no index names
    has no known size: it is given as far as it goes, for its id says whether that is all.
    """
    begun: dict[bytes, tuple[int | None, list[Piece]]] = {}
    for job in batch:
        for chunk, piece in pieces(job):
            size, parts = begun.pop(chunk, (None, []))
            if piece.start == 0:
                if parts and size is None:
                    yield Run(chunk, parts)
                place = find(chunk)
                size, parts = place.raw if place else None, []
            elif not parts or piece.start != parts[-1].start + parts[-1].length:
                continue  # something between is not among these files
            parts.append(piece)
            if piece.start + piece.length == size:
                yield Run(chunk, parts)
            else:
                begun[chunk] = size, parts
    for chunk, (size, parts) in begun.items():
        if size is None:
            yield Run(chunk, parts)


def ranges(
    batch: Iterable[FileJob],
    find: Callable[[bytes], Place | None],
    lost: Callable[[FileJob, bytes], None],
) -> Iterator[Range]:
    """Give the ranges that serve a batch, in the order of packs; sets each job's `left`.

    `lost` is told of a file with a chunk that no index names; its other pieces are not planned.
    """
    wanted: dict[bytes, tuple[Place, list[Piece]]] = {}
    for job in batch:
        mine = list(pieces(job))
        missing = False
        for chunk, _ in mine:
            if chunk not in wanted:
                place = find(chunk)
                if place is None:
                    lost(job, chunk)
                    missing = True
                    break
                wanted[chunk] = (place, [])
        if not missing:
            job.left = len(mine)
            for chunk, piece in mine:
                wanted[chunk][1].append(piece)
    return _coalesce(wanted.values())


def _coalesce(wanted: Iterable[tuple[Place, list[Piece]]]) -> Iterator[Range]:
    current = Range()
    raw = 0
    for place, parts in sorted(wanted, key=lambda x: (x[0].pack_ref.digest, x[0].offset)):
        if not parts:
            continue
        if current.places and not _joins(current, raw, place):
            yield current
            current, raw = Range(), 0
        current.places.append(place)
        current.pieces.append(parts)
        raw += place.raw
    if current.places:
        yield current


def _joins(current: Range, raw: int, place: Place) -> bool:
    last = current.places[-1]
    return (
        last.pack_ref.digest == place.pack_ref.digest
        and place.offset - (last.offset + last.stored) <= GAP
        and place.offset + place.stored - current.offset <= RANGE_SEALED
        and raw + place.raw <= RANGE_RAW
    )
