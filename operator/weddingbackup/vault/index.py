"""Indexes: where the chunks of one class are, as sorted fixed-width records searched in place.

    header (72) | kind of the packs (4), packs (4), records (4) |
    each pack [SHA-256 (32), size (4), flags (4: none defined, room for erasure-coded packs)] |
    sealed body: each pack [key id (16), salt (32)], then each chunk, sorted by id [chunk id (32),
                 pack (4), ordinal (4), offset (4), sealed size (4), raw size (4), flags (4)]

The list of packs is plain, so that who has no key can check, copy and collect, and it is bound to
the sealed body. Key ids and salts are repeated here so that reading a chunk is a single request.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weddingbackup.vault.compress import decompress
from weddingbackup.vault.errors import VaultDamageError, VaultError
from weddingbackup.vault.keyring import chunk_id
from weddingbackup.vault.names import index_name, pack_name, verify
from weddingbackup.vault.pack import FLAG_ZSTD, MAX_CHUNK, RECORD, PackFacts
from weddingbackup.vault.seal import HEADER_SIZE, LAST_ORDINAL, TAG_SIZE, Header, Kind, Seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weddingbackup.vault.keyring import Keyring

MAX_RECORDS = 50_000
"""A writer begins another index beyond this."""
_MOST_PACKS = 1 << 16
"""2.5 MiB of plain list. A pack has a record at least, so a writer names `MAX_RECORDS` of them at most.
Whoever wrote an index may mean harm: who reads it without a key, the broker too, holds its whole list."""

_COUNTS = struct.Struct(">III")
PLAIN_START = HEADER_SIZE + _COUNTS.size
_PACK = struct.Struct(">32sII")
_SECRETS = struct.Struct(">16s32s")
_CHUNK = struct.Struct(">32sIIIIII")
_KEY = struct.Struct(">I52x")
"""The beginning of a chunk's record."""
_ID_SIZE = 32


@dataclass(frozen=True, slots=True)
class PackRef:
    """A pack as an index's plain list names it."""

    digest: bytes
    size: int

    @property
    def name(self) -> str:
        """The object's name."""
        return pack_name(self.digest)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one chunk is: a range of a pack, and what it takes to open it."""

    chunk_id: bytes
    index: Index
    pack: int
    ordinal: int
    offset: int
    stored: int
    raw: int
    flags: int

    @property
    def pack_ref(self) -> PackRef:
        """The pack that holds it."""
        return self.index.pack(self.pack)

    def open(self, sealed: bytes | memoryview, chunk_key: bytes) -> bytes:
        """Open, decompress and verify the chunk.

        Raises:
            VaultDamageError: these bytes are not the chunk.
        """
        name = self.pack_ref.name
        data = self.index.seal_of(self.pack).open(name, self.ordinal, sealed)
        if self.flags & FLAG_ZSTD:
            data = decompress(name, data, self.raw)
        elif len(data) != self.raw:
            raise VaultDamageError(name, "a chunk has another size than recorded")
        if chunk_id(chunk_key, data) != self.chunk_id:
            raise VaultDamageError(name, "a chunk opens to other data than its id says")
        return data


class Index:
    """One opened index."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        name: str,
        size: int,
        class_name: str,
        kind: Kind,
        packs: bytes,
        body: bytes,
    ) -> None:
        """Take the parts; `open_index` is the way here."""
        self.name = name
        self.size = size
        self.kind = kind
        self._packs = packs
        self.class_name = class_name
        self._body = memoryview(body)
        self._start = len(packs) // _PACK.size * _SECRETS.size
        self._count = (len(body) - self._start) // _CHUNK.size
        self._keyring = keyring
        self._seals: dict[int, Seal] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def packs(self) -> Iterator[PackRef]:
        """The packs that it names."""
        return map(self.pack, range(len(self._packs) // _PACK.size))

    def pack(self, number: int) -> PackRef:
        """Give one of them by its place in the list."""
        digest, size, _ = _PACK.unpack_from(self._packs, number * _PACK.size)
        return PackRef(digest, size)

    def keys(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Give (position, first 4 bytes of the id) of the records where these are in [low, high)."""
        first, last = (bisect_left(range(self._count), end, key=self._key) for end in (low, high))
        start = self._start + first * _CHUNK.size
        part = self._body[start : start + (last - first) * _CHUNK.size]
        return enumerate((key for (key,) in _KEY.iter_unpack(part)), first)

    def id_at(self, position: int) -> bytes:
        """Give the id of a record's chunk."""
        start = self._start + position * _CHUNK.size
        return bytes(self._body[start : start + _ID_SIZE])

    def place(self, position: int) -> Place:
        """Say where a record's chunk is.

        Raises:
            VaultDamageError: the record makes no sense.
        """
        wanted, pack, ordinal, offset, stored, raw, flags = _CHUNK.unpack_from(
            self._body, self._start + position * _CHUNK.size
        )
        if (
            (pack + 1) * _PACK.size > len(self._packs)
            or offset + stored > self.pack(pack).size
            or not TAG_SIZE <= stored <= MAX_CHUNK + TAG_SIZE
            or raw > MAX_CHUNK
            or flags & ~FLAG_ZSTD
        ):
            raise VaultDamageError(self.name, "one of its records makes no sense")
        return Place(wanted, self, pack, ordinal, offset, stored, raw, flags)

    def places(self) -> Iterator[Place]:
        """All chunks, sorted by id."""
        return (self.place(position) for position in range(self._count))

    def pack_facts(self) -> list[PackFacts]:
        """Give its packs as a new index would name them, for merging."""
        packs = list(self.packs)
        records: list[list[tuple[int, bytes]]] = [[] for _ in packs]
        for p in self.places():
            record = RECORD.pack(p.chunk_id, p.offset, p.stored, p.raw, p.flags)
            records[p.pack].append((p.ordinal, record))
        return [
            PackFacts(
                self._pack_header(number),
                ref.digest,
                ref.size,
                b"".join(record for _, record in sorted(records[number])),
            )
            for number, ref in enumerate(packs)
        ]

    def seal_of(self, pack: int) -> Seal:
        """Give the seal that opens a pack's records."""
        seal = self._seals.get(pack)
        if seal is None:
            seal = self._keyring.seal_of(self.pack(pack).name, self._pack_header(pack))
            self._seals[pack] = seal
        return seal

    def _pack_header(self, pack: int) -> Header:
        key_id, salt = _SECRETS.unpack_from(self._body, pack * _SECRETS.size)
        return Header(self.kind, self.class_name, self._keyring.vault_id, key_id, salt)

    def _key(self, position: int) -> int:
        key: int = _KEY.unpack_from(self._body, self._start + position * _CHUNK.size)[0]
        return key


def encode_index(
    keyring: Keyring, kind: Kind, class_name: str, packs: Sequence[PackFacts], salt: bytes
) -> tuple[str, bytes]:
    """Give (name, bytes) of an index of these packs, which are all of one kind and class.

    Raises:
        VaultError: they are more than any reader takes.
    """
    if len(packs) > _MOST_PACKS:
        raise VaultError(
            f"the index would name {len(packs)} packs, and readers take {_MOST_PACKS}: write several"
        )
    header, seal = keyring.new_seal(Kind.INDEX, class_name, salt)
    packs = sorted(packs, key=lambda p: p.digest)
    records = []
    for number, pack in enumerate(packs):
        for ordinal, (chunk, *rest) in enumerate(RECORD.iter_unpack(pack.records)):
            records.append(_CHUNK.pack(chunk, number, ordinal, *rest))
    records.sort()
    plain = _COUNTS.pack(kind, len(packs), len(records)) + b"".join(
        _PACK.pack(pack.digest, pack.size, 0) for pack in packs
    )
    secrets = (_SECRETS.pack(pack.header.key_id, pack.header.salt) for pack in packs)
    body = seal.seal(LAST_ORDINAL, b"".join([*secrets, *records]), bound=_bound(plain))
    data = header.encode() + plain + body
    return index_name(hashlib.sha256(data).digest()), data


def plain_packs(name: str, data: bytes) -> list[PackRef]:
    """Read which packs an index names: no key needed, the name's digest vouches for it.

    Raises:
        VaultDamageError: these are not the bytes of the index `name`.
    """
    verify(name, data)
    return parse_plain(name, data)


def open_index(keyring: Keyring, name: str, data: bytes) -> Index:
    """Open an index.

    Raises:
        VaultDamageError: it is damaged.
        WrongKeyError: its key is not among those given.
    """
    verify(name, data)
    packs, end = parse_plain(name, data), plain_size(name, data)
    kind, _, records = _COUNTS.unpack_from(data, HEADER_SIZE)
    if kind not in (Kind.DATA, Kind.TREE):
        raise VaultDamageError(name, "it names packs of no known kind")
    header = Header.decode(name, data)
    seal = keyring.seal_of(name, header)
    body = seal.open(name, LAST_ORDINAL, data[end:], bound=_bound(data[HEADER_SIZE:end]))
    if len(body) != len(packs) * _SECRETS.size + records * _CHUNK.size:
        raise VaultDamageError(name, "its body has another size than its head says")
    return Index(
        keyring,
        name=name,
        size=len(data),
        class_name=header.class_name,
        kind=Kind(kind),
        packs=data[PLAIN_START:end],
        body=body,
    )


def plain_size(name: str, start: bytes) -> int:
    """Say how many bytes an index's plain part has, from its first `PLAIN_START`.

    Raises:
        VaultDamageError: it is no index, or names more packs than any.
    """
    if Header.decode(name, start).kind is not Kind.INDEX or len(start) < PLAIN_START:
        raise VaultDamageError(name, "it is no index")
    _, packs, _ = _COUNTS.unpack_from(start, HEADER_SIZE)
    if packs > _MOST_PACKS:
        raise VaultDamageError(name, "its list of packs is longer than any")
    return PLAIN_START + int(packs) * _PACK.size


def parse_plain(name: str, data: bytes) -> list[PackRef]:
    """Read the list of packs at an index's beginning, verified or not.

    Raises:
        VaultDamageError: it is no index of this version, or no honest writer's.
    """
    end = plain_size(name, data)
    if len(data) < end:
        raise VaultDamageError(name, "it ends within its list of packs")
    packs: list[PackRef] = []
    for digest, size, flags in _PACK.iter_unpack(data[PLAIN_START:end]):
        if flags:
            raise VaultDamageError(name, "it names packs of a kind that this version knows not")
        # Named twice, one pack would fill the list.
        if packs and digest <= packs[-1].digest:
            raise VaultDamageError(name, "its list of packs is not sorted")
        packs.append(PackRef(digest, size))
    return packs


def _bound(plain: bytes) -> bytes:
    return hashlib.sha256(plain).digest()
