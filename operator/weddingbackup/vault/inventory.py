"""What all locations list and what they should hold, side by side, kept small.

An object has one row, and a location one bit: what a vault of 10 TB in packs of 24 MiB lists at seven
locations takes about 200 MB. Only what is unlike the rest (a replacement, another size, another MD5)
is noted a location.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.vault.names import base_name
from weddingbackup.vault.objects import reachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weddingbackup.stores.api import ObjectInfo, Store


class Copy(NamedTuple):
    """One object as one location lists it: by its own name (number 0) or as a replacement."""

    bit: int
    number: int
    size: int
    md5: bytes | None


@dataclass(slots=True)
class Row:
    """One object.

    Attributes:
        size: bytes, of the first copy that was listed.
        md5: as the provider tells it, of the first that does.
        alike: bits of the locations that list it so.
        wanted: bits of the locations that should hold it.
        needed: bytes that it should have; None where nobody says so.
        others: copies that are not like the first.
    """

    size: int = -1
    md5: bytes | None = None
    alike: int = 0
    wanted: int = 0
    needed: int | None = None
    others: tuple[Copy, ...] = ()

    def note(self, copy: Copy) -> None:
        """Take one listed copy in."""
        if not copy.number and not self.alike:
            self.size, self.md5, self.alike = copy.size, copy.md5, copy.bit
        elif (
            not copy.number
            and copy.size == self.size
            and (copy.md5 is None or self.md5 in {None, copy.md5})
        ):
            self.alike |= copy.bit
            self.md5 = self.md5 or copy.md5
        else:
            self.others += (copy,)

    def copies(self, bit: int) -> list[Copy]:
        """Give what one location lists of it, in the order of readers."""
        found = [copy for copy in self.others if copy.bit == bit]
        if self.alike & bit:
            found.append(Copy(bit, 0, self.size, self.md5))
        return sorted(found, key=lambda copy: copy.number)

    def told(self) -> list[Copy]:
        """Give all copies that have the right size and whose provider tells an MD5."""
        first = [Copy(self.alike, 0, self.size, self.md5)] if self.alike else []
        right = (copy for copy in [*first, *self.others] if copy.size == self.needed)
        return [copy for copy in right if copy.md5 is not None]


class Inventory:
    """All rows. Filled by a thread a location; who is too late with its list is left out."""

    def __init__(self, stores: Iterable[Store]) -> None:
        """Begin with nothing listed."""
        self.rows: dict[str, Row] = {}
        self._bits = {store.location: 1 << number for number, store in enumerate(stores)}
        self._lock = threading.Lock()
        self._closed = False

    def bit(self, location: str) -> int:
        """Give the bit that stands for a location."""
        return self._bits[location]

    def fill(self, store: Store) -> None:
        """Take in what one location lists.

        Raises:
            StoreError: it does not answer; what it listed until then is to be forgotten.
        """
        bit = self.bit(store.location)
        for info in reachable(store.list("")):
            self._note(bit, info)

    def close(self, answered: Iterable[str]) -> None:
        """Take nothing more in, and forget what others than these locations listed."""
        with self._lock:
            self._closed = True
        kept = sum(self.bit(location) for location in answered)
        if kept == sum(self._bits.values()):
            return
        for row in self.rows.values():
            row.alike &= kept
            row.others = tuple(copy for copy in row.others if copy.bit & kept)

    def want(self, name: str, bits: int, size: int | None = None) -> None:
        """Note that these locations should hold an object."""
        row = self.rows.setdefault(name, Row())
        row.wanted |= bits
        row.needed = size if row.needed is None else row.needed

    def locations(self, name: str) -> int:
        """How many locations list an object, by its name or as a replacement."""
        return sum(bool(self.rows[name].copies(bit)) for bit in self._bits.values())

    def at(self, bit: int, prefix: str) -> Iterator[str]:
        """Give the objects of a kind of which a location lists any copy."""
        return (
            name
            for name, row in self.rows.items()
            if name.startswith(prefix) and (row.alike & bit or row.copies(bit))
        )

    def _note(self, bit: int, info: ObjectInfo) -> None:
        name = base_name(info.name)
        number = 0 if name == info.name else int(info.name[-1])
        with self._lock:
            if not self._closed:
                row = self.rows.get(name)
                if row is None:
                    row = self.rows[name] = Row()
                row.note(Copy(bit, number, info.size, info.md5))
