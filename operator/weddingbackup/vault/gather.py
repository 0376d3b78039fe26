"""Puts small files of a directory together into chunks of about a MiB.

So hashing, sealing and reading cost what a MiB costs, not what a file costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weddingbackup.vault.tree import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from weddingbackup.vault.entries import Entry

TARGET = 1024 * 1024
BATCH_FILES = 512
BATCH_BYTES = 2 * TARGET
"""How much a source is asked to read at once."""


class Gatherer:
    """Collects the small files of one directory."""

    def __init__(self, store: Callable[[bytes], bytes], put: Callable[[int, Item], None]) -> None:
        """Take `store`, which gives a chunk's id, and `put`, which takes the item of a place."""
        self._store = store
        self._put = put
        self._files: list[tuple[int, Entry, int]] = []
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, place: int, entry: Entry, data: bytes) -> None:
        """Take one file that has data."""
        self._files.append((place, entry, len(data)))
        self._parts.append(data)
        self._size += len(data)
        if self._size >= TARGET:
            self.flush()

    def flush(self) -> None:
        """Store what was collected."""
        if not self._files:
            return
        chunk = self._store(b"".join(self._parts))
        offset = 0
        for place, entry, length in self._files:
            self._put(place, Item(entry, b"", ((chunk, offset, length),)))
            offset += length
        self._files, self._parts, self._size = [], [], 0
