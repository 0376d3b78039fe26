"""Which indexes and packs there are, and which of them are to go: held small, by SHA-256.

Some 200 bytes for each, however many locations hold it.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from weddingbackup.vault.names import INDEXES, PACKS, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.marks import Mark

FOLDERS = (INDEXES, PACKS)
OBJECT = re.compile(r"(?:index|packs)/[0-9a-f]{64}(?:\.r[1-9])?")
"""Names of indexes and packs, and of their replacements."""

_NEVER = float("inf")


class Objects:
    """A set of indexes and packs, by SHA-256."""

    def __init__(self) -> None:
        self._digests: dict[str, set[bytes]] = {folder: set() for folder in FOLDERS}

    @classmethod
    def of(cls, marks: Iterable[Mark]) -> Objects:
        """All that these marks name."""
        found = cls()
        for mark in marks:
            found._digests[INDEXES].update(mark.indexes)
            found._digests[PACKS].update(mark.packs)
        return found

    def add(self, found: Iterable[tuple[str, bytes]]) -> None:
        """Take (folder, SHA-256) in."""
        for folder, sha256 in found:
            self._digests[folder].add(sha256)

    def spare(self, needed: Iterable[tuple[str, bytes]]) -> None:
        """Take out what is needed."""
        for folder, sha256 in needed:
            self._digests[folder].discard(sha256)

    def spare_all(self, mark: Mark) -> None:
        """Take out what a mark names."""
        self._digests[INDEXES].difference_update(mark.indexes)
        self._digests[PACKS].difference_update(mark.packs)

    def names(self) -> Iterator[str]:
        """The names of all."""
        return (f"{folder}{x.hex()}" for folder in FOLDERS for x in self._digests[folder])

    def __contains__(self, name: str) -> bool:
        """Whether it is one of these, or a replacement of one."""
        folder = name[: name.find("/") + 1]
        return OBJECT.fullmatch(name) is not None and digest_of(name) in self._digests[folder]

    def __len__(self) -> int:
        return sum(map(len, self._digests.values()))


class Listing:
    """When each index and pack was last stored anywhere. Locations add to it at once."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[bytes, float]] = {folder: {} for folder in FOLDERS}
        self._lock = threading.Lock()
        self._closed = False

    def add(self, store: Store) -> None:
        """List one location."""
        for folder in FOLDERS:
            newest = self._newest[folder]
            for info in store.list(folder):
                sha256 = digest_of(info.name)
                if sha256 is None or OBJECT.fullmatch(info.name) is None:
                    continue
                modified = _NEVER if info.modified is None else info.modified.timestamp()
                with self._lock:
                    if self._closed:
                        return
                    newest[sha256] = max(modified, newest.get(sha256, modified))

    def close(self) -> None:
        """Take nothing more: a location that is late must not disturb who reads on."""
        with self._lock:
            self._closed = True

    def older(self, moment: datetime) -> Objects:
        """What nobody has stored since then. Given once: it is forgotten here."""
        found, limit = Objects(), moment.timestamp()
        for folder in FOLDERS:
            newest = self._newest.pop(folder)
            found.add((folder, sha256) for sha256, time in newest.items() if time <= limit)
        return found
