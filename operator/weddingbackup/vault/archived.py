"""What of a recovery point is archived wherever it is: how long it is away, and asking it back.

Needs no key. What is at hand at any location that answers is not away: readers take it from there.
Memory: some 300 bytes for each pack that is archived, and location.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from weddingbackup.rules.tiers import Away, return_seconds
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.names import PACKS, digest_of
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.parallel import ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from weddingbackup.resources.words import Provider
    from weddingbackup.stores.api import ObjectInfo, Store
    from weddingbackup.stores.errors import TransientError
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.manifest import IndexRef, PlainSource
    from weddingbackup.vault.tier import Mover

_CONNECTIONS = 8
_GLIMPSE = 1000
"""As many as one page of a listing has. Packs are named by a hash, so the first are a fair sample."""


def is_archiving(store: Store) -> bool:
    """Whether a location seems to have packs that are not at hand: asks for one page of a listing.

    Raises:
        StoreError: it does not answer.
    """
    return any(not info.at_hand for info in islice(store.list(PACKS), _GLIMPSE))


class Archived:
    """The packs that are archived wherever they are, as each location lists them when this is made."""

    def __init__(self, stores: Sequence[Store], providers: Mapping[str, Provider]) -> None:
        """List all locations; who does not answer is left out."""
        self._stores = stores
        self._providers = providers
        self._at: dict[bytes, list[tuple[str, ObjectInfo]]] = {}
        self._of_index: dict[IndexRef, set[bytes]] = {}
        self._silent: dict[str, TransientError] = {}
        for store, cold in zip(stores, ask_all(stores, _cold), strict=True):
            if not isinstance(cold, StoreError):
                for digest, info in cold.items():
                    self._at.setdefault(digest, []).append((store.location, info))
        if not self._at:
            return  # as nearly always, and then each location was listed once
        for at_hand in ask_all(stores, self._at_hand):
            if not isinstance(at_hand, StoreError):
                for digest in at_hand:
                    self._at.pop(digest, None)

    def __bool__(self) -> bool:
        return bool(self._at)

    def of(self, point: Point, sources: Collection[str] = ()) -> list[Away]:
        """Give those sources of a point (of these, if any are named) that are not at hand."""
        wanted = [s for s in point.sources if not sources or s.name in sources]
        return [x for source in wanted if (x := self._away(source))]

    def ask_back(
        self,
        point: Point,
        movers: Mapping[str, Callable[[], Mover]],
        sources: Collection[str] = (),
    ) -> int:
        """Ask for all that is away of a point, each pack where it is back soonest; say how many.

        Raises:
            StoreError: a location does not take it. The next try asks for the rest.
        """
        wanted = [s for s in point.sources if not sources or s.name in sources]
        digests = {digest for source in wanted for digest in self._missing(source)}
        by_location: dict[str, list[str]] = {}
        for digest in digests:
            location, info = self._soonest(digest)
            if not info.returning:
                by_location.setdefault(location, []).append(info.name)
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="return") as pool:
            for location, names in sorted(by_location.items()):
                mover = movers[location]()
                list(pool.map(mover.request_return, names))
        return sum(map(len, by_location.values()))

    def _at_hand(self, store: Store) -> set[bytes]:
        """Give those of the archived packs that a location has at hand."""
        digests = (digest_of(info.name) for info in store.list(PACKS) if info.at_hand)
        return {digest for digest in digests if digest in self._at}

    def _away(self, source: PlainSource) -> Away | None:
        places = [self._soonest(digest) for digest in self._missing(source)]
        if not places:
            return None
        return Away(
            source.name,
            len(places),
            sum(info.size for _, info in places),
            max(self._seconds(location, info) for location, info in places),
            tuple(sorted({location for location, _ in places})),
            all(info.returning for _, info in places),
        )

    def _missing(self, source: PlainSource) -> set[bytes]:
        if not self._at:
            return set()
        found: set[bytes] = set()
        for ref in source.indexes:
            if ref not in self._of_index:
                try:
                    packs = get_object(self._stores, ref.name, plain_packs, silent=self._silent)
                except (StoreError, VaultDamageError):
                    packs = []  # nothing is claimed of what cannot be known
                self._of_index[ref] = self._at.keys() & {pack.digest for pack in packs}
            found |= self._of_index[ref]
        return found

    def _soonest(self, digest: bytes) -> tuple[str, ObjectInfo]:
        """Where a pack is back first: where it was asked for, or where it takes the least time."""
        return min(
            self._at[digest],
            key=lambda x: (not x[1].returning, self._seconds(*x), x[0]),
        )

    def _seconds(self, location: str, info: ObjectInfo) -> int:
        assert info.tier is not None
        return return_seconds(self._providers[location], info.tier)


def _cold(store: Store) -> dict[bytes, ObjectInfo]:
    """Give the packs that are not at hand at a location."""
    listed = store.list(PACKS)
    return {d: info for info in listed if not info.at_hand and (d := digest_of(info.name))}
