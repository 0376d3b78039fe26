"""Stores sources class by class: walks them, and writes the indexes of what was packed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.chunker import Chunker
from weddingbackup.vault.chunks import TreeReader, load_indexes
from weddingbackup.vault.commit import Needed
from weddingbackup.vault.errors import RefusedError, VaultDamageError
from weddingbackup.vault.fetch import Fetcher
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.index import MAX_RECORDS, encode_index
from weddingbackup.vault.keyring import SALT_SIZE, chunk_id
from weddingbackup.vault.known import Known, Packs, leftover_packs
from weddingbackup.vault.manifest import IndexRef, PlainSource, SealedSource, open_body
from weddingbackup.vault.names import digest_of
from weddingbackup.vault.pack import MAX_CHUNK, RECORD
from weddingbackup.vault.results import SourceResult
from weddingbackup.vault.seal import Kind
from weddingbackup.vault.sealing import Sealers
from weddingbackup.vault.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from weddingbackup.resources.words import DataClass
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.entries import Source
    from weddingbackup.vault.fanout import Fanout
    from weddingbackup.vault.holdings import Holdings
    from weddingbackup.vault.index import Index
    from weddingbackup.vault.pack import PackFacts
    from weddingbackup.vault.progress import Progress
    from weddingbackup.vault.vault import Vault

MERGE = 24
"""Indexes of one class and kind that are not full: a backup that adds one when there are so many writes
one in their place. Full ones stay: written anew, they would be as many."""

_KINDS = (Kind.TREE, Kind.DATA)


@dataclass(frozen=True, slots=True)
class SourceInput:
    """One source to back up; `name` is its name in the policy."""

    name: str
    data_class: DataClass
    source: Source


@dataclass(frozen=True, slots=True)
class Written:
    """One source, stored: what the manifest says of it, and what the report says."""

    plain: PlainSource
    sealed: SealedSource
    result: SourceResult


class Sink:
    """Where one source's chunks go, unless they are stored already; notes what it needs."""

    def __init__(
        self,
        class_name: str,
        chunk_key: bytes,
        known: dict[Kind, Known],
        sealers: Sealers,
        result: SourceResult,
    ) -> None:
        """Take what is known of the class, and the threads that seal."""
        self._class_name = class_name
        self._key = chunk_key
        self._known = known
        self._sealers = sealers
        self._result = result
        self.used: dict[Kind, dict[str, Index]] = {kind: {} for kind in _KINDS}

    def store(self, kind: Kind, data: bytes | memoryview) -> bytes:
        """Store a chunk or tree node unless it is there; gives its id."""
        if len(data) > MAX_CHUNK:
            raise RefusedError(f"{self._result.name} has {_too_large(kind, len(data))}")
        wanted = chunk_id(self._key, data)
        known = self._known[kind]
        if not known.refer(wanted, self.used[kind]):
            known.add(wanted)
            self._result.new_bytes += len(data)
            self._sealers.submit(kind, self._class_name, wanted, data)
        return wanted

    def stored(self, chunk: bytes) -> bool:
        """Whether a data chunk is there; if so the point will need it."""
        return self._known[Kind.DATA].refer(chunk, self.used[Kind.DATA])


def _too_large(kind: Kind, size: int) -> str:
    limit = f"of {size} bytes, where the format takes at most {MAX_CHUNK}"
    if kind is Kind.TREE:
        return f"a directory page {limit}: a file in it is too large (about 400 GiB)"
    return f"a piece of data {limit}: the source has to give smaller ones"


class Writer:
    """One backup's way from sources to indexes."""

    def __init__(
        self,
        vault: Vault,
        fanout: Fanout,
        holdings: Holdings,
        progress: Progress,
        *,
        points: Sequence[Point],
        parent: Point | None,
        paranoid: bool,
    ) -> None:
        """Take the job's parts; `points` are all that are seen, `parent` the newest committed.

        `paranoid`: no file is taken for unchanged.
        """
        self._vault = vault
        self._fanout = fanout
        self._holdings = holdings
        self._progress = progress
        self._points = points
        self._parent = parent
        self._paranoid = paranoid
        self._answering = [lane.store for lane in fanout.live()]
        self._fetcher = Fetcher(self._answering)
        self._packs = Packs(self._answering, holdings, fanout.quorum)
        self._sealers = Sealers(vault.keyring, vault.random, fanout)
        self._chunker = Chunker(vault.keyring.chunker_seed())
        self._leftovers: list[PackFacts] | None = None
        self._needed: dict[str, Needed] = {}
        self.written: dict[str, Written] = {}

    def close(self) -> None:
        """End the sealing threads."""
        self._sealers.close()

    def needed(self) -> list[Needed]:
        """Give all that the written sources need, packs before indexes."""
        return sorted(self._needed.values(), key=lambda x: x.name, reverse=True)

    def write_class(self, data_class: DataClass, sources: Sequence[SourceInput]) -> None:
        """Store the sources of one class, their packs, then their indexes.

        Raises:
            QuorumError: too few locations are left.
            WrongKeyError: there is no key for this class.
        """
        if not sources:
            return
        keyring = self._vault.keyring
        key = keyring.chunk_key(data_class)
        known = self._known(data_class)
        walked = []
        for source in sources:
            result = SourceResult(source.name, data_class)
            sink = Sink(data_class, key, known, self._sealers, result)
            tree, node = self._parent_tree(source, key)
            walk = Walk(source.source, sink, self._chunker, tree, result, self._progress)
            root, top = walk.run(node)
            facts = msgspec.json.encode(source.source.facts(), order="sorted")
            walked.append((sink, result, SealedSource(root, top, facts, tuple(result.warnings))))
        self._sealers.flush()
        packs, self._sealers.packs = self._sealers.packs, []
        fresh = {
            kind: self._write_indexes(
                kind,
                data_class,
                [pack for pack in packs if pack.header.kind is kind],
                known[kind],
                [sink.used[kind] for sink, _, _ in walked],
            )
            for kind in _KINDS
        }
        for sink, result, sealed in walked:
            refs = {kind: self._refs(sink.used[kind], fresh[kind]) for kind in _KINDS}
            plain = PlainSource(
                name=result.name,
                data_class=data_class,
                files=result.files,
                bytes=result.bytes,
                tree_indexes=refs[Kind.TREE],
                data_indexes=refs[Kind.DATA],
            )
            self.written[result.name] = Written(plain, sealed, result)

    def _write_indexes(
        self,
        kind: Kind,
        data_class: DataClass,
        packs: list[PackFacts],
        known: Known,
        used: Sequence[dict[str, Index]],
    ) -> list[IndexRef]:
        """Name this job's packs, leftovers that came to use, and those of replaced indexes."""
        packs = packs + list(known.used_leftovers.values())
        older = {name: index for mine in used for name, index in mine.items()}
        # An index that names a lost pack would make the new point need it, so it is replaced.
        replaced = {
            name: index
            for name, index in older.items()
            if not all(self._packs.have(pack) for pack in index.packs)
        }
        small = {name: index for name, index in older.items() if len(index) < MAX_RECORDS}
        if (packs or replaced) and len(small) >= MERGE:
            replaced |= small
        packs += [x for i in replaced.values() for x in i.pack_facts() if self._packs.have(x)]
        for mine in used:
            for name in replaced.keys() & mine.keys():
                del mine[name]
        refs = []
        for group in _groups({pack.digest: pack for pack in packs}.values()):
            salt = self._vault.random(SALT_SIZE)
            name, data = encode_index(self._vault.keyring, kind, data_class, group, salt)
            ref = IndexRef(digest_of(name) or b"", len(data))
            # Behind a barrier: an index is not where its packs are not.
            self._fanout.send(name, data, ref.digest, barrier=True)
            self._need(ref, [(pack.name, pack.digest, pack.size) for pack in group])
            refs.append(ref)
        return refs

    def _refs(self, used: dict[str, Index], fresh: list[IndexRef]) -> tuple[IndexRef, ...]:
        refs = list(fresh)
        for index in used.values():
            ref = IndexRef(digest_of(index.name) or b"", index.size)
            self._need(ref, [(pack.name, pack.digest, pack.size) for pack in index.packs])
            refs.append(ref)
        return tuple(sorted(refs, key=lambda ref: ref.digest))

    def _need(self, ref: IndexRef, packs: Iterable[tuple[str, bytes, int]]) -> None:
        for pack in packs:
            self._needed[pack[0]] = Needed(*pack)
        self._needed[ref.name] = Needed(ref.name, ref.digest, ref.size)

    def _known(self, data_class: DataClass) -> dict[Kind, Known]:
        """Say what is stored of a class: by the parent, and by writers that were killed."""
        if self._leftovers is None:
            self._leftovers = leftover_packs(
                self._vault.keyring, self._answering, self._fetcher, self._holdings, self._points
            )
        mine = [pack for pack in self._leftovers if pack.header.class_name == data_class]
        sources = self._parent.sources if self._parent else ()
        refs = {ref for s in sources if s.data_class == data_class for ref in s.indexes}
        indexes = self._load(refs)
        return {
            kind: Known(
                [index for index in indexes if index.kind is kind],
                [pack for pack in mine if pack.header.kind is kind],
                self._packs,
            )
            for kind in _KINDS
        }

    def _load(self, refs: Iterable[IndexRef]) -> list[Index]:
        indexes = []
        trusted = (ref for ref in refs if self._holdings.trusted(ref.digest))
        for ref in sorted(trusted, key=lambda ref: ref.digest):
            # What an index lost everywhere spoke of is stored again.
            with suppress(StoreError, VaultDamageError):
                indexes += load_indexes(self._vault.keyring, self._fetcher, [ref])
        return indexes

    def _parent_tree(
        self, source: SourceInput, chunk_key: bytes
    ) -> tuple[TreeReader | None, bytes | None]:
        """Give the parent's tree of this source, where there is one that can be read."""
        if self._parent is None or self._paranoid:
            return None, None  # so every file is new to the walk; its chunks are known all the same
        try:
            body = open_body(self._vault.keyring, self._parent.manifest, self._parent.data)
        except VaultDamageError:
            return None, None
        for shown, own in zip(self._parent.sources, body.sources, strict=False):
            if (shown.name, shown.data_class) == (source.name, source.data_class):
                fetcher = Fetcher(self._answering, holders=self._parent.held_by)
                finder = Finder(self._load(shown.tree_indexes))
                return TreeReader(fetcher, finder, chunk_key), own.tree
        return None, None


def _groups(packs: Iterable[PackFacts]) -> Iterator[list[PackFacts]]:
    """Split packs into indexes of at most about `MAX_RECORDS`."""
    group: list[PackFacts] = []
    count = 0
    for pack in packs:
        group.append(pack)
        # A leftover without a record is nothing that we write, and counts all the same: see `encode_index`.
        count += max(1, len(pack.records) // RECORD.size)
        if count >= MAX_RECORDS:
            yield group
            group, count = [], 0
    if group:
        yield group
