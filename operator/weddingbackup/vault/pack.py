"""Packs: many chunks of one class in one object, readable on their own.

    header (72) | record 0 | record 1 | … | sealed pack index | trailer

A record is a chunk, compressed or not, sealed with its place in the pack as ordinal; the pack index
is sealed too, so that a pack which no index names yet (its writer was killed) is found and used.
The trailer is plain: size of the sealed pack index, number of records, magic.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.names import pack_name
from weddingbackup.vault.seal import HEADER_SIZE, LAST_ORDINAL, TAG_SIZE, Header, Kind

if TYPE_CHECKING:
    from weddingbackup.vault.keyring import Keyring

CAPACITY = 20 * 1024 * 1024
"""Bytes of a full pack: at most this, and less by at most one chunk."""

MAX_CHUNK = 16 * 1024 * 1024
"""Bytes of the largest chunk or tree node; no honest record speaks of more."""

FLAG_ZSTD = 1

RECORD = struct.Struct(">32sIIII")
"""One record of a pack index: chunk id, offset, sealed size, raw size, flags; in pack order."""

TRAILER = struct.Struct(">II4s")
TRAILER_MAGIC = b"WBPE"
TAIL = 64 * 1024
"""Bytes to read from a pack's end first: enough for the pack index of most."""


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What an index has to know of a pack.

    Attributes:
        header: the pack's own, plain.
        digest: SHA-256 of all its bytes.
        records: its pack index, `RECORD`s in pack order.
    """

    header: Header
    digest: bytes
    size: int
    records: bytes

    @property
    def name(self) -> str:
        """The object's name."""
        return pack_name(self.digest)


class PackBuilder:
    """A pack under way, in one buffer. Used by one thread."""

    def __init__(
        self, keyring: Keyring, kind: Kind, class_name: str, salt: bytes, buffer: bytearray
    ) -> None:
        """Begin in a buffer, which is the pack's largest size; `salt` is 32 random bytes."""
        self.buffer = buffer
        self._view = memoryview(buffer)
        self._header, self._seal = keyring.new_seal(kind, class_name, salt)
        self._view[:HEADER_SIZE] = self._header.encode()
        self._hash = hashlib.sha256(self._view[:HEADER_SIZE])
        self._end = HEADER_SIZE
        self._records = bytearray()

    def fits(self, size: int) -> bool:
        """Whether a chunk of at most `size` bytes still has room, with the pack's own index."""
        index = len(self._records) + RECORD.size + TAG_SIZE + TRAILER.size
        return self._end + size + TAG_SIZE + index <= len(self.buffer)

    def add(self, chunk_id: bytes, raw: bytes | memoryview, packed: bytes | None) -> None:
        """Seal one chunk; `packed` is its compressed form where that pays."""
        body = raw if packed is None else packed
        start, stored = self._end, len(body) + TAG_SIZE
        target = self._view[start : start + stored]
        self._seal.seal_into(len(self._records) // RECORD.size, body, target)
        self._hash.update(target)  # while it is still in the processor's cache
        flags = 0 if packed is None else FLAG_ZSTD
        self._records += RECORD.pack(chunk_id, start, stored, len(raw), flags)
        self._end += stored

    def finish(self) -> tuple[PackFacts, memoryview]:
        """Close the pack; gives what to remember of it, and its bytes (a view of the buffer)."""
        records = bytes(self._records)
        index = self._seal.seal(LAST_ORDINAL, records)
        tail = index + TRAILER.pack(len(index), len(records) // RECORD.size, TRAILER_MAGIC)
        end = self._end + len(tail)
        self._view[self._end : end] = tail
        self._hash.update(tail)
        facts = PackFacts(self._header, self._hash.digest(), end, records)
        return facts, self._view[:end].toreadonly()


def pack_index_size(name: str, tail: bytes) -> int:
    """Say how many bytes at a pack's end hold its index and trailer, from its last bytes.

    Raises:
        VaultDamageError: this is not the end of a pack.
    """
    if len(tail) < TRAILER.size:
        raise VaultDamageError(name, "it is too short for a pack")
    size, count, magic = TRAILER.unpack_from(tail, len(tail) - TRAILER.size)
    if magic != TRAILER_MAGIC or size != count * RECORD.size + TAG_SIZE:
        raise VaultDamageError(name, "it does not end as a pack does")
    return int(size) + TRAILER.size


def open_pack_index(
    keyring: Keyring, digest: bytes, size: int, *, head: bytes, tail: bytes
) -> PackFacts:
    """Open a pack's own index, given its first and last bytes (see `pack_index_size`).

    Raises:
        VaultDamageError: it is damaged.
        WrongKeyError: its key is not among those given.
    """
    name = pack_name(digest)
    header = Header.decode(name, head)
    if header.kind not in (Kind.DATA, Kind.TREE):
        raise VaultDamageError(name, "it is no pack")
    start = len(tail) - pack_index_size(name, tail)
    if start < 0:
        raise VaultDamageError(name, "it is too short for its index")
    sealed = tail[start : -TRAILER.size]
    records = keyring.seal_of(name, header).open(name, LAST_ORDINAL, sealed)
    return PackFacts(header, digest, size, records)
