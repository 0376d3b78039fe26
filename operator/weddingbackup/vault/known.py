"""What need not be stored again: chunks in the parent's indexes, and in packs of a killed writer.

A chunk counts only while its pack can be had, so what was lost everywhere is stored anew by the next
backup.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.commit import verified
from weddingbackup.vault.errors import VaultDamageError, WrongKeyError
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.ids import Ids
from weddingbackup.vault.index import PLAIN_START, parse_plain, plain_size
from weddingbackup.vault.names import pack_name
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.pack import RECORD, TAIL, PackFacts, open_pack_index, pack_index_size
from weddingbackup.vault.seal import HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.stores.errors import TransientError
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.fetch import Fetcher
    from weddingbackup.vault.holdings import Holdings
    from weddingbackup.vault.index import Index, PackRef
    from weddingbackup.vault.keyring import Keyring
    from weddingbackup.vault.manifest import IndexRef

_READERS = 8


class Packs:
    """Which packs can be relied on. Used by one thread.

    Where a quorum lists one with the right size, that is enough. Otherwise the commit will have to
    copy it, so some copy must verify, or no commit would ever succeed that needs it.
    """

    def __init__(self, stores: Sequence[Store], holdings: Holdings, quorum: int) -> None:
        """Take the locations that answer."""
        self._stores = stores
        self._holdings = holdings
        self._quorum = quorum
        self._locations = [store.location for store in stores]
        self._read: dict[tuple[bytes, int], bool] = {}
        self._silent: dict[str, TransientError] = {}

    def have(self, pack: PackRef | PackFacts) -> bool:
        """Whether it is there; reads it whole, once, if too few locations list it."""
        key = (pack.digest, pack.size)
        if self._holdings.count(self._locations, *key) >= self._quorum:
            return True
        if key not in self._read:
            holders = [s for s in self._stores if self._holdings.at(s.location, *key)]
            self._read[key] = self._verifies(holders, pack.name)
        return self._read[key]

    def _verifies(self, holders: Sequence[Store], name: str) -> bool:
        try:
            get_object(holders, name, verified, silent=self._silent)
        except (StoreError, VaultDamageError):
            return False
        return True


class Known:
    """The chunks of one class and kind that a writer may refer to."""

    def __init__(
        self, indexes: Iterable[Index], leftovers: Iterable[PackFacts], packs: Packs
    ) -> None:
        """Take the parent's indexes, and packs that no point's index names."""
        self._stored = Finder(indexes)
        self._packs = packs
        self._leftovers = {
            record[0]: pack for pack in leftovers for record in RECORD.iter_unpack(pack.records)
        }
        self._fresh = Ids()
        self.used_leftovers: dict[bytes, PackFacts] = {}

    def refer(self, chunk: bytes, used: dict[str, Index]) -> bool:
        """Whether the chunk is stored; if so it will be used: in `used`, its index, by name."""
        if chunk in self._fresh:
            return True
        for place in self._stored.places(chunk):
            if self._packs.have(place.pack_ref):
                used[place.index.name] = place.index
                return True
        if (pack := self._leftovers.get(chunk)) and self._packs.have(pack):
            self.used_leftovers[pack.digest] = pack
            return True
        return False

    def add(self, chunk: bytes) -> None:
        """Note a chunk that this writer stores."""
        self._fresh.add(chunk)


def leftover_packs(
    keyring: Keyring,
    stores: Sequence[Store],
    fetcher: Fetcher,
    holdings: Holdings,
    points: Iterable[Point],
) -> list[PackFacts]:
    """Find packs of a writer that was killed: listed, but in no index that any point names.

    Each is opened by its own index; what is damaged, or of a key not given, is left alone. The
    fetcher reads from the same stores.
    """
    listed = set(holdings.packs())
    refs = {ref for p in points for s in p.sources for ref in s.indexes} if listed else set()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="leftover") as pool:
        for named in pool.map(lambda ref: _named_packs(fetcher, ref), refs):
            listed -= named

        def open_one(pack: tuple[bytes, int]) -> PackFacts | None:
            holders = [s for s in stores if holdings.at(s.location, *pack)]
            return _open_leftover(keyring, holders, *pack)

        return [pack for pack in pool.map(open_one, sorted(listed)) if pack is not None]


def _named_packs(fetcher: Fetcher, ref: IndexRef) -> set[tuple[bytes, int]]:
    name = ref.name
    try:
        # The head alone, unverified: a lie costs no more than a pack that is stored again.
        size = fetcher.read(name, 0, PLAIN_START, lambda start: plain_size(name, start))
        packs = fetcher.read(name, 0, min(ref.size, size), lambda data: parse_plain(name, data))
    except (StoreError, VaultDamageError):
        return set()
    return {(pack.digest, pack.size) for pack in packs}


def _open_leftover(
    keyring: Keyring, stores: Sequence[Store], digest: bytes, size: int
) -> PackFacts | None:
    name = pack_name(digest)
    for store in stores:
        try:
            head = store.get(name, offset=0, length=HEADER_SIZE)
            tail = store.get(name, offset=max(0, size - TAIL), length=min(size, TAIL))
            if (needed := pack_index_size(name, tail)) > len(tail):
                tail = store.get(name, offset=max(0, size - needed), length=min(size, needed))
            return open_pack_index(keyring, digest, size, head=head, tail=tail)
        except (StoreError, VaultDamageError, WrongKeyError):
            continue
    return None
