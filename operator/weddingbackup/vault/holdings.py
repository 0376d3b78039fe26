"""What is where: one listing of every location, taken when a writer starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.names import INDEXES, PACKS, digest_of
from weddingbackup.vault.objects import reachable
from weddingbackup.vault.parallel import MAJORITY, Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from weddingbackup.stores.api import Store

_DIGEST = 32
_ROW = _DIGEST + 8
_MOST = (1 << 64) - 1


class Holdings:
    """Which packs and indexes each location lists, by digest and size.

    An object counts as held where it, or a replacement of it that readers come to, is listed with
    the right size. What is not to be relied on is held nowhere, whatever is listed. Kept small: digest
    and size in one row of bytes, and one bit a location.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        patience: Patience = MAJORITY,
        *,
        distrust: Iterable[str] = (),
    ) -> None:
        """List all locations at once (see `Patience`); `unanswered` says why some were left out.

        `distrust` names packs and indexes that are not to be relied on; `packs/` stands for all.
        """
        self.unanswered: dict[str, str] = {}
        distrusted = set(distrust)
        self._nothing = PACKS in distrusted
        self._distrusted = {digest_of(name) for name in distrusted}
        self._bits = {store.location: 1 << n for n, store in enumerate(stores)}
        self._packs: dict[bytes, int] = {}
        self._indexes: dict[bytes, int] = {}

        def listing(store: Store) -> tuple[bytearray, bytearray]:
            return _rows(store, PACKS), _rows(store, INDEXES)

        for store, found in zip(stores, ask_all(stores, listing, patience), strict=True):
            if isinstance(found, StoreError):
                self.unanswered[store.location] = str(found)
                continue
            bit = self._bits[store.location]
            for held, rows in zip((self._packs, self._indexes), found, strict=True):
                for start in range(0, len(rows), _ROW):
                    row = bytes(rows[start : start + _ROW])
                    if self.trusted(row[:_DIGEST]):
                        held[row] = held.get(row, 0) | bit

    def packs(self) -> Iterator[tuple[bytes, int]]:
        """All (digest, size) of packs that any location lists; a truncated one has its own size."""
        return ((row[:_DIGEST], int.from_bytes(row[_DIGEST:], "big")) for row in self._packs)

    def trusted(self, digest: bytes) -> bool:
        """Whether a point may come to need the pack or index with this digest."""
        return not self._nothing and digest not in self._distrusted

    def at(self, location: str, digest: bytes, size: int) -> bool:
        """Whether this location holds it."""
        return bool(self._who(digest, size) & self._bits.get(location, 0))

    def count(self, locations: Iterable[str], digest: bytes, size: int) -> int:
        """Say how many of these locations hold it."""
        who = self._who(digest, size)
        return sum(bool(who & self._bits.get(location, 0)) for location in locations)

    def _who(self, digest: bytes, size: int) -> int:
        row = _row(digest, size)
        return self._packs.get(row, 0) | self._indexes.get(row, 0)


def _rows(store: Store, prefix: str) -> bytearray:
    rows = bytearray()
    for info in reachable(store.list(prefix)):
        if digest := digest_of(info.name):
            rows += _row(digest, info.size)
    return rows


def _row(digest: bytes, size: int) -> bytes:
    # A location, or a manifest, may say anything; sizes that no object has need not be told apart.
    return digest + min(max(size, 0), _MOST).to_bytes(_ROW - _DIGEST, "big")
