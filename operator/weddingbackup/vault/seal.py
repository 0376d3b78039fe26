"""How stored bytes are sealed: one header for every sealed object, and AES-256-GCM below it.

Each object has a key of its own, derived by HKDF-SHA256 (RFC 5869) from its class's data key and
32 random bytes in its header, so nonces can simply count the records: 96 bits, big-endian. The
associated data is the whole header (vault, class, kind, key id, salt) and the record's ordinal:
a record moved to another place, object, class or vault does not open. It never names the location.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.names import KEY_CLASSES

if TYPE_CHECKING:
    from typing import Self

TAG_SIZE = 16
MAGIC = b"WBV1"
LAST_ORDINAL = 0xFFFF_FFFF
"""The ordinal of a pack's own index, and of the one body of all other objects."""

_HEADER = struct.Struct(">4sBBH16s16s32s")
HEADER_SIZE = _HEADER.size
_ORDINAL = struct.Struct(">Q")


class Kind(IntEnum):
    """What an object is. The numbers are part of the format."""

    DATA = 1
    TREE = 2
    INDEX = 3
    MANIFEST = 4
    JOURNAL = 5
    KEY = 6


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Header:
    """The plain beginning of every sealed object.

    72 bytes, big-endian: magic (4), kind (1), class code (1), mandatory flags (2: a reader refuses
    any that it does not know; none are defined), vault id (16), key id (16), salt (32).
    """

    kind: Kind
    class_name: str
    vault_id: bytes
    key_id: bytes
    salt: bytes

    def encode(self) -> bytes:
        """Give the 72 bytes."""
        code = KEY_CLASSES.index(self.class_name)
        return _HEADER.pack(MAGIC, self.kind, code, 0, self.vault_id, self.key_id, self.salt)

    @classmethod
    def decode(cls, name: str, data: bytes | memoryview) -> Self:
        """Read the header of the object `name`.

        Raises:
            VaultDamageError: this is none.
        """
        if len(data) < HEADER_SIZE:
            raise VaultDamageError(name, "it ends within its header")
        magic, kind, code, flags, vault_id, key_id, salt = _HEADER.unpack_from(data)
        if magic != MAGIC or flags or kind not in _KINDS or code >= len(KEY_CLASSES):
            raise VaultDamageError(name, "its header is none that this version knows")
        return cls(Kind(kind), KEY_CLASSES[code], vault_id, key_id, salt)


class Seal:
    """Seals and opens the records of one object. Used by one thread at a time for sealing."""

    def __init__(self, secret: bytes, header: Header) -> None:
        """Derive the object's key from a 32-byte secret (a data key, or a wrapping key)."""
        self.header = header.encode()
        self._aead = AESGCM(derive(secret, b"seal", header.salt))

    def seal(self, ordinal: int, data: bytes, *, bound: bytes = b"") -> bytes:
        """Seal one record; `bound` is plain data elsewhere that has to match on opening."""
        return self._aead.encrypt(_nonce(ordinal), data, self._associated(ordinal, bound))

    def seal_into(self, ordinal: int, data: bytes | memoryview, buffer: memoryview) -> None:
        """Seal one record into a buffer of len(data) + TAG_SIZE bytes."""
        self._aead.encrypt_into(_nonce(ordinal), data, self._associated(ordinal, b""), buffer)

    def open(
        self, name: str, ordinal: int, sealed: bytes | memoryview, *, bound: bytes = b""
    ) -> bytes:
        """Open one record of the object `name`.

        Raises:
            VaultDamageError: these are not the bytes that were sealed as this record.
        """
        try:
            return self._aead.decrypt(_nonce(ordinal), sealed, self._associated(ordinal, bound))
        except InvalidTag:
            raise VaultDamageError(name, f"record {ordinal} does not open") from None

    def _associated(self, ordinal: int, bound: bytes) -> bytes:
        return self.header + _ORDINAL.pack(ordinal) + bound


def derive(secret: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    """Derive 32 bytes for one purpose by HKDF-SHA256."""
    info = b"weddingbackup/1 " + purpose
    return HKDF(algorithm=SHA256(), length=32, salt=salt or None, info=info).derive(secret)


def _nonce(ordinal: int) -> bytes:
    return ordinal.to_bytes(12, "big")
