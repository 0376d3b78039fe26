"""Turns one source into a tree of pages, storing what is new on the way.

Depth first, files before subdirectories, without recursion. The parent point's tree is walked
alongside: a file whose size, mtime, ctime and inode are unchanged is not read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.entries import SMALL, Entry, EntryType, SourceChangedError, shown
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.gather import BATCH_BYTES, BATCH_FILES, Gatherer
from weddingbackup.vault.seal import Kind
from weddingbackup.vault.tree import Extent, Item, cut_pages, encode_node, encode_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weddingbackup.vault.chunker import Chunker
    from weddingbackup.vault.chunks import TreeReader
    from weddingbackup.vault.entries import Source
    from weddingbackup.vault.progress import Progress
    from weddingbackup.vault.results import SourceResult

_ATTEMPTS = 3
_MOST_WARNINGS = 100


class Sink(Protocol):
    """Where a walk puts chunks, and asks whether one is stored already."""

    def store(self, kind: Kind, data: bytes | memoryview) -> bytes:
        """Store a chunk or tree node unless it is there; gives its id."""

    def stored(self, chunk: bytes) -> bool:
        """Whether a data chunk is there; if so the point will need it."""


@dataclass(slots=True)
class _Frame:
    """One directory on the way down."""

    path: bytes
    entry: Entry
    place: int
    items: list[Item | None]
    directories: Iterator[tuple[int, Entry]]
    parent: dict[bytes, Item]


@dataclass(slots=True)
class Walk:
    """One source on its way into the vault."""

    source: Source
    sink: Sink
    chunker: Chunker
    parent_tree: TreeReader | None
    result: SourceResult
    progress: Progress
    _links: dict[tuple[int, int], Item] = field(default_factory=dict)
    _last_stored: bytes = b""
    _told: int = 0
    _moved: int = 0

    def run(self, parent_node: bytes | None) -> tuple[Entry, bytes]:
        """Store the whole tree; gives (the top's entry, id of its page or node).

        Raises:
            QuorumError: too few locations are left.
        """
        root = self.source.root()
        stack = [self._enter(b"", root, 0, parent_node)]
        while True:
            frame = stack[-1]
            below = next(frame.directories, None)
            if below is not None:
                place, entry = below
                path = _join(frame.path, entry.name)
                known = frame.parent.get(entry.name)
                stack.append(self._enter(path, entry, place, known.child if known else None))
                continue
            stack.pop()
            node = self._leave(frame)
            if not stack:
                return root, node
            stack[-1].items[frame.place] = Item(frame.entry, node)

    def _enter(self, path: bytes, entry: Entry, place: int, parent_node: bytes | None) -> _Frame:
        try:
            children = self.source.children(path)
        except OSError as error:
            self._warn(path, f"the directory could not be read: {error.strerror or error}")
            children = []
        parent = self._parent_items(parent_node) if children else {}
        items: list[Item | None] = [None] * len(children)
        small: list[tuple[int, Entry]] = []
        for number, child in enumerate(children):
            if child.type == EntryType.DIRECTORY:
                continue
            if child.type != EntryType.FILE:
                items[number] = Item(child)
                continue
            items[number] = self._unchanged(child, parent.get(child.name)) or self._linked(child)
            if items[number]:
                continue
            if child.stored_size < SMALL:
                small.append((number, child))
            else:
                items[number] = self._large(_join(path, child.name), child)
        self._small(path, small, items)
        self._report()
        directories = ((n, e) for n, e in enumerate(children) if e.type == EntryType.DIRECTORY)
        return _Frame(path, entry, place, items, directories, parent)

    def _leave(self, frame: _Frame) -> bytes:
        items = (item for item in frame.items if item is not None)
        pages = [self.sink.store(Kind.TREE, encode_page(page)) for page in cut_pages(items)]
        return pages[0] if len(pages) == 1 else self.sink.store(Kind.TREE, encode_node(pages))

    def _parent_items(self, node: bytes | None) -> dict[bytes, Item]:
        if not node or self.parent_tree is None:
            return {}
        try:
            return {item.entry.name: item for item in self.parent_tree.directory(node)}
        except (VaultDamageError, StoreError):
            return {}  # then its files are read again, which costs time and loses nothing

    def _unchanged(self, entry: Entry, known: Item | None) -> Item | None:
        """Give the parent's item where the file is the same and all its chunks are still there.

        The ctime moves with any change of content or metadata, so the parent's whole entry holds.
        """
        if known is None or not entry.ctime_ns:
            return None
        old = known.entry
        if (
            old.ctime_ns != entry.ctime_ns
            or old.mtime_ns != entry.mtime_ns
            or old.size != entry.size
            or old.inode != entry.inode
            or old.type != entry.type
        ):
            return None
        for chunk, _, _ in known.extents:
            # Neighbours mostly share a chunk: one look-up serves them all.
            if chunk != self._last_stored:
                if not self.sink.stored(chunk):
                    return None
                self._last_stored = chunk
        self._count(old, old.stored_size)
        if old.links > 1:
            self._links[old.device, old.inode] = known
        return known

    def _linked(self, entry: Entry) -> Item | None:
        """Give the item of a file that was read under another name already."""
        if entry.links <= 1:
            return None
        first = self._links.get((entry.device, entry.inode))
        if first is None or first.entry.ctime_ns != entry.ctime_ns:
            return None
        self._count(entry, entry.stored_size)
        return first._replace(entry=msgspec.structs.replace(first.entry, name=entry.name))

    def _small(self, path: bytes, files: list[tuple[int, Entry]], items: list[Item | None]) -> None:
        def put(place: int, item: Item) -> None:
            items[place] = item
            self._finished(item)

        gatherer = Gatherer(lambda data: self.sink.store(Kind.DATA, data), put)
        for batch in _batches(files):
            self._report()
            answers = self.source.read_small(path, [entry for _, entry in batch])
            for (place, entry), answer in zip(batch, answers, strict=True):
                if isinstance(answer, OSError):
                    self._skip(_join(path, entry.name), answer)
                    continue
                if isinstance(answer, SourceChangedError) or (
                    answer[0].stored_size != len(answer[1])
                ):
                    items[place] = self._large(_join(path, entry.name), entry)
                    continue
                read, data = answer
                self._moved += len(data)
                if data:
                    gatherer.add(place, read, data)
                else:
                    put(place, Item(read))
        gatherer.flush()

    def _large(self, path: bytes, entry: Entry) -> Item | None:
        """Read and cut one file; None where it cannot be read."""
        for attempt in range(_ATTEMPTS):
            extents: list[Extent] = []
            total = 0
            try:
                reader = self.source.open(path, entry)
            except OSError as error:
                self._skip(path, error)
                return None
            try:
                for chunk in self.chunker.cut(reader.readinto, entry.stored_size):
                    extents.append((self.sink.store(Kind.DATA, chunk), 0, len(chunk)))
                    total += len(chunk)
                    self._moved += 0 if attempt else len(chunk)
                    self._report()
                read = reader.finish()
                changed = read.stored_size != total
            except SourceChangedError as error:
                read, changed = error.entry, True
            except OSError as error:
                self._skip(path, error)
                return None
            finally:
                reader.close()
            if not changed:
                break
            entry = read
        else:
            if read.stored_size != total:
                self._warn(
                    path,
                    "it kept changing while it was read and was left out: back it up while it is "
                    "not in use",
                )
                return None
            # What was read is what is kept, but no later backup may take it for unchanged.
            read = msgspec.structs.replace(read, ctime_ns=0)
            self._warn(path, "it changed while it was read; it is kept as it was read last")
        item = Item(read, b"", tuple(extents))
        self._finished(item)
        return item

    def _finished(self, item: Item) -> None:
        """Note a file that was read."""
        entry = item.entry
        self._count(entry, 0)
        if entry.links > 1:
            self._links[entry.device, entry.inode] = item

    def _count(self, entry: Entry, moved: int) -> None:
        self.result.files += 1
        self.result.bytes += entry.size
        self._moved += moved

    def _report(self) -> None:
        """Tell the progress; not a file at a time, since its lock costs more than some files."""
        self.progress.add(files=self.result.files - self._told, size=self._moved)
        self._told, self._moved = self.result.files, 0

    def _skip(self, path: bytes, error: OSError) -> None:
        self._warn(path, f"it could not be read and was left out: {error.strerror or error}")

    def _warn(self, path: bytes, problem: str) -> None:
        warnings = self.result.warnings
        if len(warnings) < _MOST_WARNINGS:
            warnings.append(f"{shown(path)}: {problem}")
        elif len(warnings) == _MOST_WARNINGS:
            warnings.append("and more of the kind")


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _batches(files: list[tuple[int, Entry]]) -> Iterator[list[tuple[int, Entry]]]:
    batch: list[tuple[int, Entry]] = []
    size = 0
    for place, entry in files:
        batch.append((place, entry))
        size += entry.stored_size
        if size >= BATCH_BYTES or len(batch) >= BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
