"""Which files a loss costs: with keys, the trees of a point say which files need which objects.

Holds one source's indexes, and a directory at a time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.chunks import TreeReader, load_indexes
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.fetch import Fetcher
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.manifest import open_body

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.manifest import IndexRef, PlainSource, SealedSource
    from weddingbackup.vault.vault import Vault


class Affected(NamedTuple):
    """What cannot be brought back whole.

    Attributes:
        source: its name in the policy.
        path: below the source; b"" is all of it.
        whole: the path is a directory that cannot be read, and nothing below it is known.
    """

    source: str
    path: bytes
    whole: bool


def affected(vault: Vault, point: Point, lost: Collection[str]) -> Iterator[Affected]:
    """Give the files of a point that need one of these packs and indexes, source by source.

    Raises:
        WrongKeyError: the keys are not those of this vault.
        VaultDamageError: the manifest does not open.
        StoreError: no location answers.
    """
    body = open_body(vault.keyring, point.manifest, point.data)
    for plain, sealed in zip(point.sources, body.sources, strict=True):
        yield from _of_source(vault, point, plain, sealed, set(lost))


def _of_source(
    vault: Vault, point: Point, plain: PlainSource, sealed: SealedSource, lost: set[str]
) -> Iterator[Affected]:
    key = vault.keyring.chunk_key(plain.data_class)
    fetcher = Fetcher(vault.stores, holders=point.held_by)
    tree = TreeReader(fetcher, _finder(vault, fetcher, plain.tree_indexes, lost), key)
    data = _finder(vault, fetcher, plain.data_indexes, lost)
    stack = [(b"", sealed.tree)]
    while stack:
        path, node = stack.pop()
        below = []
        try:
            for item in tree.directory(node):
                child = path + b"/" + item.entry.name if path else item.entry.name
                if item.child:
                    below.append((child, item.child))
                if any(_gone(data, chunk, lost) for chunk, _, _ in item.extents):
                    yield Affected(plain.name, child, whole=False)
        except VaultDamageError:
            yield Affected(plain.name, path, whole=True)
        stack += reversed(below)


def _finder(vault: Vault, fetcher: Fetcher, refs: Iterable[IndexRef], lost: set[str]) -> Finder:
    found = []
    for ref in refs:
        if ref.name not in lost:
            with suppress(VaultDamageError, StoreError):
                found += load_indexes(vault.keyring, fetcher, [ref])
    return Finder(found)


def _gone(data: Finder, chunk: bytes, lost: set[str]) -> bool:
    place = data.find(chunk)
    return place is None or place.pack_ref.name in lost
