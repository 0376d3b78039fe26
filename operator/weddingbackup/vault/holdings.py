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


class Holdings:
    """Which packs and indexes each location lists, by digest and size.

    An object counts as held where it, or a replacement of it that readers come to, is listed with
    the right size. What is not to be relied on is held nowhere, whatever is listed. Kept small: one
    bit a location for each object.
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
        self._held: dict[tuple[bytes, int], int] = {}
        self._packs: dict[bytes, set[int]] = {}

        def listing(store: Store) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
            return _digests(store, PACKS), _digests(store, INDEXES)

        for store, found in zip(stores, ask_all(stores, listing, patience), strict=True):
            if isinstance(found, StoreError):
                self.unanswered[store.location] = str(found)
                continue
            packs, indexes = ([key for key in keys if self.trusted(key[0])] for keys in found)
            for digest, size in packs:
                self._packs.setdefault(digest, set()).add(size)
            for key in packs + indexes:
                self._held[key] = self._held.get(key, 0) | self._bits[store.location]

    def packs(self) -> Iterator[tuple[bytes, int]]:
        """All (digest, size) of packs that any location lists; a truncated one has its own size."""
        return ((digest, size) for digest, sizes in self._packs.items() for size in sizes)

    def trusted(self, digest: bytes) -> bool:
        """Whether a point may come to need the pack or index with this digest."""
        return not self._nothing and digest not in self._distrusted

    def at(self, location: str, digest: bytes, size: int) -> bool:
        """Whether this location holds it."""
        return bool(self._held.get((digest, size), 0) & self._bits.get(location, 0))


def _digests(store: Store, prefix: str) -> list[tuple[bytes, int]]:
    listed = reachable(store.list(prefix))
    return [(d, info.size) for info in listed if (d := digest_of(info.name))]
