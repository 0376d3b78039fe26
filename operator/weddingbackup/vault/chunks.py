"""Finds and reads single chunks and trees of one source."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import MissingError, StoreError
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.index import open_index
from weddingbackup.vault.tree import Item, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weddingbackup.vault.fetch import Fetcher
    from weddingbackup.vault.finder import Finder
    from weddingbackup.vault.index import Index, Place
    from weddingbackup.vault.keyring import Keyring
    from weddingbackup.vault.manifest import IndexRef

_READ_AHEAD = 2 * 1024 * 1024
_WINDOWS = 8


def load_indexes(keyring: Keyring, fetcher: Fetcher, refs: Iterable[IndexRef]) -> list[Index]:
    """Get and open the indexes that a manifest names; who is late with one does not hold it up.

    Raises:
        VaultDamageError: no location has a good copy of one.
        StoreError: no location answers; MissingError only where all said that they have none.
    """

    def load(ref: IndexRef) -> Index:
        try:
            return fetcher.read(
                ref.name, 0, ref.size, lambda data: open_index(keyring, ref.name, data)
            )
        except VaultDamageError as error:
            if isinstance(error.__cause__, MissingError):
                raise error.__cause__ from None  # all have answered: trying again cannot help
            raise

    return [load(ref) for ref in refs]


class TreeReader:
    """Reads pages and nodes, with read-ahead: a tree's pages lie side by side in few packs.

    Used by one thread. Holds at most `_WINDOWS` windows of `_READ_AHEAD` sealed bytes.
    """

    def __init__(self, fetcher: Fetcher, finder: Finder, chunk_key: bytes) -> None:
        """Take the tree indexes of one source, and its class's chunk key."""
        self._fetcher = fetcher
        self._finder = finder
        self._key = chunk_key
        self._windows: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()

    def directory(self, node: bytes) -> Iterator[Item]:
        """Give the items of a directory, page after page, sorted by name.

        Raises:
            VaultDamageError: a part of it is good nowhere.
            StoreError: no location answers.
        """
        decoded = self._decode(node)
        pages = [decoded] if not decoded or isinstance(decoded[0], Item) else decoded
        last = b""
        for page in pages:
            items = self._decode(page) if isinstance(page, bytes) else page
            for item in items:
                if not isinstance(item, Item) or item.entry.name <= last:
                    raise VaultDamageError("a tree", "its pages are not in order")
                last = item.entry.name
                yield item

    def _decode(self, node: bytes) -> list[Item] | list[bytes]:
        place = self._finder.find(node)
        if place is None:
            raise VaultDamageError("a tree", f"no index names its node {node.hex()}")
        return decode(place.pack_ref.name, self._read(place))

    def _read(self, place: Place) -> bytes:
        number = place.offset // _READ_AHEAD
        start = number * _READ_AHEAD
        if place.offset + place.stored <= start + _READ_AHEAD:
            with suppress(VaultDamageError, StoreError):
                window = self._window(place, number, start)
                sealed = window[place.offset - start :][: place.stored]
                return place.open(sealed, self._key)
        # Across two windows, or the window holds damage: this one alone, from who has it good.
        return self._fetcher.read(
            place.pack_ref.name,
            place.offset,
            place.stored,
            lambda data: place.open(data, self._key),
        )

    def _window(self, place: Place, number: int, start: int) -> memoryview:
        pack = place.pack_ref
        key = (pack.digest, number)
        data = self._windows.pop(key, None)
        if data is None:
            length = min(_READ_AHEAD, pack.size - start)
            data = self._fetcher.read(pack.name, start, length, bytes)
        self._windows[key] = data
        if len(self._windows) > _WINDOWS:
            self._windows.popitem(last=False)
        return memoryview(data)
