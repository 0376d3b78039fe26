"""One source of one point, opened: its tree, and where its chunks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from weddingbackup.vault.catalog import Point, find_point
from weddingbackup.vault.chunks import TreeReader, load_indexes
from weddingbackup.vault.errors import UNDECODABLE, RefusedError, VaultDamageError
from weddingbackup.vault.fetch import STREAMS, Fetcher
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.manifest import open_body
from weddingbackup.vault.parallel import MAJORITY, Patience

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weddingbackup.resources.tasks import PointRef
    from weddingbackup.vault.index import Index
    from weddingbackup.vault.manifest import IndexRef, PlainSource, SealedSource
    from weddingbackup.vault.progress import Progress
    from weddingbackup.vault.tree import Item
    from weddingbackup.vault.vault import Vault


class OpenedSource:
    """A source of a point, ready to be read. Loads the tree's indexes, and the data's when asked.

    Attributes:
        damaged: (location, object) of copies of the manifest that did not verify; see also the
            fetcher's.
    """

    plain: PlainSource
    sealed: SealedSource

    def __init__(
        self,
        vault: Vault,
        point: Point | PointRef,
        source: str,
        progress: Progress | None = None,
        *,
        streams: int = STREAMS,
    ) -> None:
        """Open it.

        Raises:
            RefusedError: no such point, or no such source in it.
            WrongKeyError: the vault's keys are not those of this point.
            VaultDamageError: its manifest or one of its indexes is good nowhere.
            StoreError: no location answers.
        """
        self._vault = vault
        self.point = resolve(vault, point)
        body = open_body(vault.keyring, self.point.manifest, self.point.data)
        pairs = zip(self.point.sources, body.sources, strict=True)
        found = next(((p, s) for p, s in pairs if p.name == source), None)
        if found is None:
            names = ", ".join(p.name for p in self.point.sources)
            raise RefusedError(f"this point has no source {source}; it has {names}")
        self.plain, self.sealed = found
        self.chunk_key = vault.keyring.chunk_key(self.plain.data_class)
        self.fetcher = Fetcher(
            vault.stores, holders=self.point.held_by, progress=progress, streams=streams
        )
        self.damaged = list(self.point.damaged)
        trees = Finder(self._load(self.plain.tree_indexes))
        self.tree = TreeReader(self.fetcher, trees, self.chunk_key)

    @property
    def facts(self) -> dict[str, Any]:
        """What the source recorded of itself; see `Source.facts`.

        Raises:
            VaultDamageError: it recorded nonsense.
        """
        try:
            found: dict[str, Any] = msgspec.json.decode(self.sealed.facts, type=dict[str, Any])
        except UNDECODABLE as error:
            raise VaultDamageError(
                self.point.manifest, f"the facts of {self.plain.name} cannot be read ({error})"
            ) from None
        return found

    def data(self) -> Finder:
        """Load the indexes of the data."""
        return Finder(self._load(self.plain.data_indexes))

    def walk(self) -> Iterator[tuple[bytes, Item]]:
        """Give all (path, item), depth first, a directory before what is in it.

        Raises:
            VaultDamageError: a part of the tree is good nowhere.
        """
        stack = [(b"", self.sealed.tree)]
        while stack:
            path, node = stack.pop()
            below = []
            for item in self.tree.directory(node):
                child = path + b"/" + item.entry.name if path else item.entry.name
                yield child, item
                if item.child:
                    below.append((child, item.child))
            stack += reversed(below)

    def _load(self, refs: Iterable[IndexRef]) -> list[Index]:
        return load_indexes(self._vault.keyring, self.fetcher, refs)


def resolve(vault: Vault, point: Point | PointRef, patience: Patience = MAJORITY) -> Point:
    """Get the point that a reference names, if it is none itself; see `find_point`.

    Raises:
        RefusedError: no location that answers has it, or it is none of this vault.
        VaultDamageError: no copy of it is good.
    """
    if isinstance(point, Point):
        found = point
    else:
        found = find_point(vault.stores, point.manifest, patience)
    if found.sha256 != point.sha256 or found.vault_id != vault.keyring.vault_id:
        raise RefusedError(f"{found.manifest} is not the recovery point that was meant")
    return found
