"""Trees: a directory is one page of entries, or a node that lists its pages.

A page is cut where the hash of a name says so, hence one changed file rewrites one page, and all
others keep their ids. Pages and nodes are chunks like data, in packs of their own kind, so that
a tree opens without reading data. MessagePack arrays, fields in the order below; see `Entry`.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from weddingbackup.vault.entries import Entry, EntryType, is_possible
from weddingbackup.vault.errors import UNDECODABLE, VaultDamageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ID_SIZE = 32
_MIN_ENTRIES = 64
_MAX_ENTRIES = 1024
_MAX_WEIGHT = 32_768  # extents, and as much as an extent takes of extended attributes
_CUT_MASK = 0xFF  # one name in 256 ends a page

Extent = tuple[bytes, int, int]
"""A piece of a file: chunk id, offset in the chunk, length; all pieces in order are the file."""


class Item(NamedTuple):
    """An entry with what lies below it.

    Attributes:
        child: id of a DIRECTORY's page or node, else b"".
        extents: of a FILE, of its stored bytes (a sparse file's data segments).
    """

    entry: Entry
    child: bytes = b""
    extents: tuple[Extent, ...] = ()


class _Page(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """`children`: ids of the directories' nodes, in their order. `chunks`: ids, each once.

    `counts`: extents of each FILE, in their order. `extents`: three numbers each: place in
    `chunks`, offset in the chunk, length.
    """

    entries: tuple[Entry, ...]
    children: bytes
    chunks: bytes
    counts: tuple[int, ...]
    extents: tuple[int, ...]


class _Node(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """`pages`: ids, in the order of the names in them."""

    pages: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Page | _Node)


def cut_pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut a directory's items, sorted by name, into pages: at least one, which may be empty."""
    page: list[Item] = []
    weight = pages = 0
    for item in items:
        page.append(item)
        weight += len(item.extents) + sum(len(value) for _, value in item.entry.xattrs) // ID_SIZE
        size = len(page)
        if (
            (size >= _MIN_ENTRIES and not zlib.crc32(item.entry.name) & _CUT_MASK)
            or size == _MAX_ENTRIES
            or weight >= _MAX_WEIGHT
        ):
            yield page
            page, weight, pages = [], 0, pages + 1
    if page or not pages:
        yield page


def encode_page(items: Sequence[Item]) -> bytes:
    """Write one page."""
    places: dict[bytes, int] = {}
    counts: list[int] = []
    extents: list[int] = []
    for entry, _, pieces in items:
        if entry.type == EntryType.FILE:
            counts.append(len(pieces))
            for chunk, offset, length in pieces:
                extents += (places.setdefault(chunk, len(places)), offset, length)
    page = _Page(
        tuple(item.entry for item in items),
        b"".join(item.child for item in items),
        b"".join(places),
        tuple(counts),
        tuple(extents),
    )
    return _encoder.encode(page)


def encode_node(pages: Sequence[bytes]) -> bytes:
    """Write the node of a directory of several pages."""
    return _encoder.encode(_Node(b"".join(pages)))


def decode(name: str, data: bytes) -> list[Item] | list[bytes]:
    """Read a page (its items) or a node (its pages' ids) that came from the pack `name`.

    Raises:
        VaultDamageError: it is neither, or says what no honest writer says (a name with a slash).
    """
    try:
        decoded = _decoder.decode(data)
    except UNDECODABLE as error:
        raise VaultDamageError(name, f"a tree node cannot be read ({error})") from None
    if isinstance(decoded, _Node):
        return _split_ids(name, decoded.pages)
    return list(_items(name, decoded))


def _items(name: str, page: _Page) -> Iterator[Item]:
    children = iter(_split_ids(name, page.children))
    chunks = _split_ids(name, page.chunks)
    counts = iter(page.counts)
    numbers = iter(page.extents)
    pieces = list(zip(numbers, numbers, numbers, strict=False))
    used = 0
    last = b""
    try:
        for entry in page.entries:
            if not _is_name(entry.name) or entry.name <= last:
                raise VaultDamageError(name, f"a tree holds the impossible name {entry.name!r}")
            if not is_possible(entry):
                raise VaultDamageError(name, f"what a tree says of {entry.name!r} is impossible")
            last = entry.name
            if entry.type == EntryType.DIRECTORY:
                yield Item(entry, next(children))
            elif entry.type == EntryType.FILE:
                count = next(counts)
                mine = pieces[used : used + count] if count else ()
                used += count
                yield Item(entry, b"", _extents(name, entry, mine, chunks))
            else:
                yield Item(entry)
    except (StopIteration, IndexError):
        raise VaultDamageError(name, "a tree page says less than its entries need") from None


def _extents(
    name: str, entry: Entry, pieces: Iterable[tuple[int, int, int]], chunks: list[bytes]
) -> tuple[Extent, ...]:
    extents = []
    total = 0
    for place, offset, length in pieces:
        if place < 0 or offset < 0 or length <= 0:
            raise VaultDamageError(name, f"an extent of {entry.name!r} is impossible")
        extents.append((chunks[place], offset, length))
        total += length
    if total != entry.stored_size or not _segments_fit(entry):
        raise VaultDamageError(name, f"the extents of {entry.name!r} do not make up its size")
    return tuple(extents)


def _segments_fit(entry: Entry) -> bool:
    end = 0
    for offset, length in entry.segments:
        if offset < end or length < 0:
            return False
        end = offset + length
    return end <= entry.size


def _is_name(name: bytes) -> bool:
    # A name that leaves its directory would let damaged or hostile data write anywhere.
    return name not in {b"", b".", b".."} and b"/" not in name and b"\0" not in name


def _split_ids(name: str, ids: bytes) -> list[bytes]:
    if len(ids) % ID_SIZE:
        raise VaultDamageError(name, "a tree node holds an id of the wrong size")
    return [ids[i : i + ID_SIZE] for i in range(0, len(ids), ID_SIZE)]
