"""Finds the files that the target has already: they are kept, and their chunks need not be fetched.

What is there is read and its chunks' ids are computed as the writer did: nothing but its bytes says
that a file is the same. Small files share a chunk, so they are read together; where one of them
differs, the chunk is fetched, and each of the others is compared with its part.

Bounds: a thread holds one chunk; a batch's files are known to match before its ranges are planned,
while the ranges of the batch before are fetched.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

from weddingbackup.vault.keyring import chunk_id
from weddingbackup.vault.plan import pieces, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from weddingbackup.vault.index import Place
    from weddingbackup.vault.plan import FileJob, Piece, Run

READERS = 4


class Matcher:
    """Reads what is there, by several threads, a batch at a time. Close it with `with`.

    Args:
        chunk_key: of the source's class.
        find: says where a chunk is, for its size.
        kept: is told of each file that was kept, from several threads.
        stopped: whether to give up.
    """

    def __init__(
        self,
        chunk_key: bytes,
        find: Callable[[bytes], Place | None],
        *,
        kept: Callable[[FileJob], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._key = chunk_key
        self._find = find
        self._kept = kept
        self._stopped = stopped
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="match")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def sift(self, batch: list[FileJob]) -> list[FileJob]:
        """Keep the files of a batch that match; give the others."""
        candidates = [job for job in batch if job.present]
        if not candidates:
            return batch
        for job in candidates:
            job.left = sum(1 for _ in pieces(job))
        feed = runs(candidates, self._find)
        for work in [self._pool.submit(self._work, feed) for _ in range(READERS)]:
            work.result()
        return [job for job in batch if not job.present or job.left]

    def _work(self, feed: Iterator[Run]) -> None:
        buffer = bytearray()
        while not self._stopped():
            with self._lock:
                run = next(feed, None)
            if run is None:
                return
            if all(piece.job.present for piece in run.pieces):  # else one of its files differs
                size = sum(piece.length for piece in run.pieces)
                if len(buffer) < size:
                    buffer = bytearray(size)
                self._judge(run, memoryview(buffer)[:size])

    def _judge(self, run: Run, buffer: memoryview) -> None:
        """Take a chunk's files one step further, or the file of a chunk that differs out."""
        parts = [(job, list(own)) for job, own in groupby(run.pieces, lambda piece: piece.job)]
        if not self._same(run.chunk, parts, buffer):
            if len(parts) == 1:
                parts[0][0].present = None
            return
        for job, own in parts:
            with self._lock:
                job.left -= len(own)
                whole = not job.left
            if whole and keep(job):
                self._kept(job)

    def _same(
        self, chunk: bytes, parts: list[tuple[FileJob, list[Piece]]], buffer: memoryview
    ) -> bool:
        end = 0
        for job, own in parts:
            start, end = end, end + sum(piece.length for piece in own)
            if not _read(job, [(piece.offset, piece.length) for piece in own], buffer[start:end]):
                return False
        return chunk_id(self._key, buffer) == chunk


def keep_equal(job: FileJob, data: bytes | memoryview) -> bool:
    """Keep a file that is not sparse if its bytes are these; False: it is to be written."""
    size = len(data)
    buffer = memoryview(bytearray(size))
    return _read(job, [(0, size)], buffer) and buffer == data and keep(job)


def keep(job: FileJob) -> bool:
    """Keep a file whose bytes match; False: it is to be written, and says then what is wrong."""
    try:
        if job.present and job.present.keep():
            return True
    except OSError:
        pass
    job.present = None
    return False


def _read(job: FileJob, pieces: list[tuple[int, int]], buffer: memoryview) -> bool:
    """Read pieces of what is there; what cannot be read does not match."""
    present = job.present
    if present is None:  # another thread has seen that it differs
        return False
    try:
        present.read(pieces, buffer)
    except OSError:
        job.present = None
        return False
    return True
