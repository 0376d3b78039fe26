"""Finds chunks in any number of indexes at once.

A search asks one table and not each index: all records, sorted by the first four bytes of their ids.
The table is made in parts of a few thousand records, each when it is first asked, so that who looks
for little waits for little; it holds 8 bytes a record, and no record twice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weddingbackup.vault.index import Index, Place

_PART = 4096
_KEY_BITS = 32


class Finder:
    """Looks chunks up in several indexes; of those that name a chunk, the first comes first."""

    def __init__(self, indexes: Iterable[Index]) -> None:
        """Take the indexes."""
        self.indexes = list(indexes)
        sizes = [len(index) for index in self.indexes]
        # The place of each index's first record, were all records in one row.
        self._starts = [0, *accumulate(sizes)]
        # Ids are digests, so equal ranges of them hold about as many records.
        self._shift = _KEY_BITS - (self._starts[-1] // _PART).bit_length()
        self._parts: list[array[int] | None] = [None] * (1 << (_KEY_BITS - self._shift))

    def find(self, wanted: bytes) -> Place | None:
        """Say where a chunk is.

        Raises:
            VaultDamageError: a record makes no sense.
        """
        return next(self.places(wanted), None)

    def places(self, wanted: bytes) -> Iterator[Place]:
        """Say all places where a chunk is.

        Raises:
            VaultDamageError: a record makes no sense.
        """
        key = int.from_bytes(wanted[:4], "big")
        part = self._part(key >> self._shift)
        at = bisect_left(part, key << _KEY_BITS)
        while at < len(part) and part[at] >> _KEY_BITS == key:
            row = part[at] & (1 << _KEY_BITS) - 1
            number = bisect_right(self._starts, row) - 1
            index, position = self.indexes[number], row - self._starts[number]
            if index.id_at(position) == wanted:
                yield index.place(position)
            at += 1

    def _part(self, number: int) -> array[int]:
        """Give one part of the table: key << 32 | row, ascending."""
        part = self._parts[number]
        if part is None:
            low, high = number << self._shift, (number + 1) << self._shift
            rows = [
                key << _KEY_BITS | start + position
                for start, index in zip(self._starts, self.indexes, strict=False)
                for position, key in index.keys(low, high)
            ]
            part = self._parts[number] = array("Q", sorted(rows))
        return part
