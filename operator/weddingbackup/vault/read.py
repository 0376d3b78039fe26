"""The read road: a source's tree -> what the target lacks -> ranges of packs -> verified bytes -> it.

Several threads fetch over all locations. A byte goes to the target only when its chunk has
verified; a file whose chunk is good nowhere is named and left out, and all others come back.
"""

from __future__ import annotations

import errno
import threading
from queue import Queue
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import ArchivedError, StoreError
from weddingbackup.vault.entries import Entry, EntryType, shown
from weddingbackup.vault.errors import (
    RefusedError,
    RestoreIncompleteError,
    VaultDamageError,
)
from weddingbackup.vault.fetch import STREAMS
from weddingbackup.vault.match import Matcher, keep, keep_equal
from weddingbackup.vault.opened import OpenedSource
from weddingbackup.vault.plan import FileJob, Range, batches, pieces, ranges
from weddingbackup.vault.results import RestoreResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weddingbackup.resources.tasks import PointRef
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.entries import FileWriter, Target
    from weddingbackup.vault.index import Place
    from weddingbackup.vault.plan import Piece
    from weddingbackup.vault.progress import Progress
    from weddingbackup.vault.tree import Item
    from weddingbackup.vault.vault import Vault

_STREAMS_EACH = 4
_DECODERS = 2  # threads that verify and write while all streams are under way
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a target that no other file escapes."""

_BLOCK = 1 << 20
_TOO_SHORT = "an extent of a file is longer than its chunk"


def restore(
    vault: Vault,
    point: Point | PointRef,
    source: str,
    target: Target,
    *,
    progress: Progress,
    include: Sequence[bytes] = (),
    streams: int | None = None,
) -> RestoreResult:
    """Bring a source back, or only these paths of it (files, or directories with all in them).

    `streams` ranges are fetched at once; by default four a location, and ten at most.

    Raises:
        RestoreIncompleteError: some files could not be brought back, all others were; it has the
            result with their names.
        RefusedError, WrongKeyError, VaultDamageError, StoreError: nothing could be read, see
            `OpenedSource`.
        OSError: the target is full or read-only; no unfinished file is left.
        Exception: whatever else the target raises; no unfinished file is left.
    """
    streams = streams or min(STREAMS, _STREAMS_EACH * max(1, len(vault.stores)))
    opened = OpenedSource(vault, point, source, progress, streams=streams)
    run = _Restore(opened, target, progress, include)
    result = run.run(streams + _DECODERS)
    result.locations = progress.locations
    result.extra = opened.fetcher.extra
    result.damaged = sorted({*opened.damaged, *opened.fetcher.damaged})
    result.warnings += [*opened.sealed.warnings, *target.warnings()]
    if result.failed:
        raise RestoreIncompleteError(result, run.archived)
    return result


def listing(vault: Vault, point: Point | PointRef, source: str) -> Iterator[tuple[bytes, Entry]]:
    """List a source's (path, entry), a directory before what is in it.

    Raises:
        As `restore` does, save for the target.
    """
    return ((path, item.entry) for path, item in OpenedSource(vault, point, source).walk())


def read_file(vault: Vault, point: Point | PointRef, source: str, path: bytes) -> Iterator[bytes]:
    """Read one file piece by piece, each verified; the holes of a sparse file as zeros.

    Raises:
        RefusedError: there is no such file.
        Also as `restore` does, save for the target.
    """
    opened = OpenedSource(vault, point, source)
    item = next((item for found, item in opened.walk() if found == path), None)
    if item is None or item.entry.type != EntryType.FILE:
        raise RefusedError(f"this point has no file {shown(path)}")
    finder = opened.data()
    job = FileJob(path, item.entry, item.extents)
    end = 0
    for chunk, piece in pieces(job):
        place = finder.find(chunk)
        if place is None:
            raise VaultDamageError(opened.point.manifest, "no index names a chunk of this file")
        data = _fetch_one(opened, place)
        if not _holds(data, piece):
            raise VaultDamageError(opened.point.manifest, _TOO_SHORT)
        yield from _zeros(piece.offset - end)
        yield data[piece.start : piece.start + piece.length]
        end = piece.offset + piece.length
    yield from _zeros(item.entry.size - end)


class _Restore:
    """One restore under way. `_stop` is set when the target takes no more."""

    def __init__(
        self, opened: OpenedSource, target: Target, progress: Progress, include: Sequence[bytes]
    ) -> None:
        self._opened = opened
        self._target = target
        self._progress = progress
        self._include = include
        self._result = RestoreResult()
        self._lock = threading.Lock()
        self._writers: dict[FileJob, FileWriter] = {}
        self._failed: dict[bytes, str] = {}
        self.archived: ArchivedError | None = None
        self._stop: BaseException | None = None
        self._directories: list[tuple[bytes, Entry]] = []
        self._links: list[tuple[bytes, Entry, bytes]] = []
        self._first: dict[tuple[int, int], bytes] = {}

    def run(self, workers: int) -> RestoreResult:
        queue: Queue[Range | None] = Queue(2 * workers)
        threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"restore-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            finder = self._opened.data()
            with Matcher(
                self._opened.chunk_key,
                finder.find,
                kept=self._kept,
                stopped=lambda: self._stop is not None,
            ) as matcher:
                for batch in batches(self._files()):
                    for found in ranges(matcher.sift(batch), finder.find, self._lost):
                        queue.put(found)
                    if self._stop:
                        break
        except BaseException as error:  # noqa: BLE001  raised again below, once all is tidy
            self._stop = error
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()
        for writer in self._writers.values():
            writer.abort()
        if self._stop:
            raise self._stop
        self._finish()
        self._result.failed = sorted(self._failed.items())
        return self._result

    def _files(self) -> Iterator[FileJob]:
        """Walk the tree: make directories, make what has no data, give the files that have."""
        root = self._opened.sealed.root
        stack = [(b"", root, self._opened.sealed.tree)]
        while stack and not self._stop:
            path, entry, node = stack.pop()
            below = []
            try:
                there = self._target.directory(path, entry)
                self._directories.append((path, entry))
                for item in self._opened.tree.directory(node):
                    child = path + b"/" + item.entry.name if path else item.entry.name
                    if not self._wanted(child, item.entry):
                        continue
                    if item.child:
                        below.append((child, item.entry, item.child))
                    elif job := self._other(child, item, there=there):
                        yield job
            except (OSError, VaultDamageError, StoreError) as error:
                self._fail(path, error)
            stack += reversed(below)

    def _other(self, path: bytes, item: Item, *, there: bool) -> FileJob | None:
        """Make what is no directory; a file with data becomes a job.

        `there`: its directory was there already, so the file may be, too.
        """
        entry = item.entry
        try:
            if entry.links > 1:
                first = self._first.setdefault((entry.device, entry.inode), path)
                if first != path:
                    self._links.append((path, entry, first))
                    return None
            if entry.type != EntryType.FILE:
                self._target.other(path, entry)
                return None
            job = FileJob(path, entry, item.extents)
            job.present = self._target.present(path, entry) if there else None
            if item.extents:
                return job
            if keep(job):
                self._kept(job)
                return None
            if entry.size:
                self._target.file(path, entry).commit()
            else:
                self._target.small_file(path, entry, b"")
        except OSError as error:
            self._fail(path, error)
        else:
            self._done(entry)
        return None

    def _work(self, queue: Queue[Range | None]) -> None:
        while (found := queue.get()) is not None:
            if self._stop:
                continue
            try:
                self._serve(found)
            except BaseException as error:  # noqa: BLE001  raised again by `run`
                self._stop = error

    def _serve(self, found: Range) -> None:
        def check(data: bytes) -> list[bytes]:
            view = memoryview(data)
            key = self._opened.chunk_key
            return [
                place.open(view[place.offset - found.offset :][: place.stored], key)
                for place in found.places
            ]

        name = found.places[0].pack_ref.name
        chunks: list[bytes] | None
        try:
            chunks = self._opened.fetcher.read(name, found.offset, found.length, check)
        except (VaultDamageError, StoreError):
            chunks = None  # perhaps no location has all of it good, but each chunk is good at some
        for number, (place, parts) in enumerate(zip(found.places, found.pieces, strict=True)):
            try:
                data = chunks[number] if chunks else _fetch_one(self._opened, place)
            except (VaultDamageError, StoreError) as error:
                for piece in parts:
                    self._abort(piece.job, error)
                continue
            view = memoryview(data)
            for piece in parts:
                if _holds(data, piece):
                    self._write(piece, view[piece.start : piece.start + piece.length])
                else:
                    manifest = self._opened.point.manifest
                    self._abort(piece.job, VaultDamageError(manifest, _TOO_SHORT))

    def _write(self, piece: Piece, data: memoryview) -> None:
        job = piece.job
        try:
            if len(data) == job.entry.size and not job.entry.segments:
                if job.present and keep_equal(job, data):
                    self._kept(job)
                    return
                self._target.small_file(job.path, job.entry, data)
                self._done(job.entry)
                return
            writer = self._writer(job)
            if writer is None:
                return
            writer.write(piece.offset, data)
            with self._lock:
                job.left -= 1
                last = not job.left and self._writers.pop(job, None) is not None
            if last:
                try:
                    writer.commit()
                except BaseException:
                    writer.abort()
                    raise
                self._done(job.entry)
        except OSError as error:
            self._abort(job, error)

    def _writer(self, job: FileJob) -> FileWriter | None:
        with self._lock:
            if job.path in self._failed:
                return None
            if job not in self._writers:
                self._writers[job] = self._target.file(job.path, job.entry)
            return self._writers[job]

    def _abort(self, job: FileJob, error: Exception) -> None:
        # Failed first: from then on no other thread begins the file anew.
        self._fail(job.path, error)
        with self._lock:
            writer = self._writers.pop(job, None)
        if writer:
            writer.abort()

    def _lost(self, job: FileJob, chunk: bytes) -> None:
        manifest = self._opened.point.manifest
        self._fail(job.path, VaultDamageError(manifest, f"no index names chunk {chunk.hex()}"))

    def _fail(self, path: bytes, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            self._stop = self._stop or error
        with self._lock:
            if isinstance(error, ArchivedError):
                self.archived = error
            self._failed.setdefault(path, str(error))

    def _kept(self, job: FileJob) -> None:
        with self._lock:
            self._result.kept_files += 1
            self._result.kept_bytes += job.entry.size
        self._done(job.entry)

    def _done(self, entry: Entry) -> None:
        with self._lock:
            self._result.files += 1
            self._result.bytes += entry.size
        self._progress.add(files=1, size=entry.size)

    def _wanted(self, path: bytes, entry: Entry) -> bool:
        if not self._include:
            return True
        return any(
            path == chosen
            or path.startswith(chosen + b"/")
            or (entry.type == EntryType.DIRECTORY and chosen.startswith(path + b"/"))
            for chosen in self._include
        )

    def _finish(self) -> None:
        """Make links, then give directories their metadata, deepest first."""
        for path, entry, first in self._links:
            if first in self._failed:
                self._failed[path] = self._failed[first]
                continue
            try:
                self._target.link(path, first)
                self._result.files += entry.type == EntryType.FILE
            except OSError as error:
                self._fail(path, error)
        for path, entry in reversed(self._directories):
            try:
                self._target.finish_directory(path, entry)
            except OSError as error:
                self._fail(path, error)


def _holds(chunk: bytes, piece: Piece) -> bool:
    """Whether a chunk has all that a file's extent says of it."""
    return piece.start + piece.length <= len(chunk)


def _zeros(count: int) -> Iterator[bytes]:
    """A hole, which may be larger than memory."""
    for start in range(0, count, _BLOCK):
        yield bytes(min(_BLOCK, count - start))


def _fetch_one(opened: OpenedSource, place: Place) -> bytes:
    return opened.fetcher.read(
        place.pack_ref.name,
        place.offset,
        place.stored,
        lambda data: place.open(data, opened.chunk_key),
    )
