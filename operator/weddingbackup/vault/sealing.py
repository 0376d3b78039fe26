"""The threads that compress, seal and pack; each has packs of its own, so none waits for another."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.vault.compress import compress
from weddingbackup.vault.keyring import SALT_SIZE
from weddingbackup.vault.pack import PackBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from weddingbackup.vault.fanout import Fanout
    from weddingbackup.vault.keyring import Keyring
    from weddingbackup.vault.pack import PackFacts
    from weddingbackup.vault.seal import Kind

THREADS = 2
_WAITING = 8
"""Chunks that wait for a thread: some MiB, so that neither reading nor sealing stands still."""


class _Chunk(NamedTuple):
    kind: Kind
    class_name: str
    chunk_id: bytes
    data: bytes | memoryview


class Sealers:
    """Takes chunks, sends packs. `flush` ends a class; `packs` is what was sent."""

    def __init__(self, keyring: Keyring, random: Callable[[int], bytes], fanout: Fanout) -> None:
        """Start the threads."""
        self._keyring = keyring
        self._random = random
        self._fanout = fanout
        self._queue: Queue[_Chunk | None] = Queue(_WAITING)
        self._open: list[dict[tuple[Kind, str], PackBuilder]] = []
        self._failure: BaseException | None = None
        self.packs: list[PackFacts] = []
        self._start()

    def submit(
        self, kind: Kind, class_name: str, chunk_id: bytes, data: bytes | memoryview
    ) -> None:
        """Queue a chunk; waits while too many wait.

        Raises:
            QuorumError: too few locations are left.
        """
        self._check()
        if self._queue.qsize() > _WAITING // 2 and len(self._open) < THREADS:
            self._start()  # not sooner, so that little data does not end up in many small packs
        self._queue.put(_Chunk(kind, class_name, chunk_id, data))

    def flush(self) -> None:
        """Wait until all is sealed, and send the packs that are not full.

        Raises:
            QuorumError: too few locations are left.
        """
        self._check()
        self._queue.join()
        self._check()
        for mine in self._open:  # the threads have nothing to do, so their packs are ours
            for builder in mine.values():
                self._send(builder)
            mine.clear()

    def close(self) -> None:
        """End the threads; what is not flushed is forgotten."""
        self._failure = self._failure or RuntimeError("the sealers are closed")
        with suppress(Empty):
            while True:  # makes room: the threads may be waiting for memory that nobody frees
                self._queue.get_nowait()
        for _ in self._open:
            self._queue.put(None)

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _start(self) -> None:
        mine: dict[tuple[Kind, str], PackBuilder] = {}
        self._open.append(mine)
        name = f"seal-{len(self._open)}"
        threading.Thread(target=self._work, args=(mine,), name=name, daemon=True).start()

    def _work(self, mine: dict[tuple[Kind, str], PackBuilder]) -> None:
        while (chunk := self._queue.get()) is not None:
            try:
                if not self._failure:
                    self._seal(mine, chunk)
            except BaseException as error:  # noqa: BLE001  raised again where chunks are submitted
                self._failure = self._failure or error
            finally:
                del chunk
                self._queue.task_done()

    def _seal(self, mine: dict[tuple[Kind, str], PackBuilder], chunk: _Chunk) -> None:
        packed = compress(chunk.data)
        size = len(chunk.data if packed is None else packed)
        key = (chunk.kind, chunk.class_name)
        builder = mine.get(key)
        if builder and not builder.fits(size):
            self._send(mine.pop(key))
            builder = None
        if builder is None:
            buffer = self._fanout.reserve()
            salt = self._random(SALT_SIZE)
            builder = PackBuilder(self._keyring, chunk.kind, chunk.class_name, salt, buffer)
            mine[key] = builder
        builder.add(chunk.chunk_id, chunk.data, packed)

    def _send(self, builder: PackBuilder) -> None:
        facts, data = builder.finish()
        self._fanout.send(facts.name, data, facts.digest, buffer=builder.buffer)
        self.packs.append(facts)
