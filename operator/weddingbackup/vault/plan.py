"""Plans a restore: which chunks of which packs serve which pieces of which files. Pure.

Bounds: a batch names at most `BATCH_FILES` files and about `BATCH_BYTES` of data (or one file), and
a range is at most `RANGE_SEALED` bytes on the wire and `RANGE_RAW` in memory (or one chunk).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from weddingbackup.vault.entries import Entry
    from weddingbackup.vault.index import Place
    from weddingbackup.vault.tree import Extent

MIB = 1024 * 1024
BATCH_FILES = 8192
BATCH_BYTES = 128 * MIB
RANGE_SEALED = 4 * MIB
RANGE_RAW = 8 * MIB
GAP = 128 * 1024
"""Bytes that nobody asked for, read rather than asking twice."""


@dataclass(eq=False, slots=True)
class FileJob:
    """One file to bring back; `left` counts its pieces that are not written yet."""

    path: bytes
    entry: Entry
    extents: tuple[Extent, ...]
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


def batches(files: Iterable[FileJob]) -> Iterator[list[FileJob]]:
    """Gather files into batches."""
    batch: list[FileJob] = []
    size = 0
    for job in files:
        batch.append(job)
        size += job.entry.stored_size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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
