"""The founding of a vault, and what a person keeps to recover it: one JSON file.

Everything of a vault that is not data is made at once, here. So every writer, whoever comes first
at a location, puts the same founding bytes there, and nobody needs a lock for it. The wrapping keys
live in the kit only, never in a store: who destroys them has erased the vault.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from weddingbackup.vault.errors import UNDECODABLE, RefusedError, VaultError
from weddingbackup.vault.format import check_format, encode_format
from weddingbackup.vault.keyring import ID_SIZE, SECRET_SIZE, DataKey, Keyring
from weddingbackup.vault.names import FORMAT, KEY_CLASSES, KEYS, data_key_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_VERSION = 1
_PRINT = 16
"""Hexadecimal digits of a kit's id, and of a fingerprint."""


class _Json(msgspec.Struct, rename="camel", omit_defaults=True):
    version: int
    vault_id: str
    prefix: str
    wrapping_keys: dict[str, str]
    objects: dict[str, str]
    sealing: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Kit:
    """All that it takes to open a vault, and to found it at another location.

    Attributes:
        vault_id: 32 hexadecimal digits.
        prefix: opaque; where the vault lives below each location's own prefix.
        wrapping_keys: 32 bytes each, by class name, and "Vault" for manifests.
        objects: name -> bytes of `format` and `keys/…`, the same at every location.
        sealing: the id (hex) of the data key that seals from now on, of each class that has several.
    """

    vault_id: str
    prefix: str
    wrapping_keys: dict[str, bytes]
    objects: dict[str, bytes]
    sealing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def found(cls, *, random: Callable[[int], bytes] = os.urandom) -> Kit:
        """Make a new vault, on paper: nothing is stored yet."""
        vault_id = random(ID_SIZE)
        objects = {FORMAT: encode_format(vault_id)}
        wrapping_keys = {}
        for class_name in KEY_CLASSES:
            wrapping_keys[str(class_name)] = wrapping = random(SECRET_SIZE)
            name, data = DataKey.found(class_name, random).wrap(vault_id, wrapping, random)
            objects[name] = data
        return cls(vault_id.hex(), random(ID_SIZE).hex(), wrapping_keys, objects)

    def keyring(self, classes: Collection[str] | None = None) -> Keyring:
        """Unwrap the data keys, of these classes only if given.

        Raises:
            RefusedError: the format is newer than this program.
            WrongKeyError: the wrapping keys do not belong to the objects.
        """
        vault_id = bytes.fromhex(self.vault_id)
        if check_format(self.objects[FORMAT]) != vault_id:
            raise RefusedError("the kit's format object names another vault than the kit")
        return Keyring.unwrap(
            vault_id, self.wrapping_keys, self.objects, classes, sealing=self.sealing
        )

    @property
    def id(self) -> str:
        """What people call this very kit: the beginning of its file's SHA-256, so `sha256sum` tells it."""
        return hashlib.sha256(self.to_json()).hexdigest()[:_PRINT]

    def fingerprints(self) -> dict[str, str]:
        """One a class: whoever holds a kit with the same one can open what the class seals now.

        It changes with the wrapping key and with the data keys that this one opens. It tells nothing of them:
        what is hashed holds 256 random bits.
        """
        found = {}
        for class_name, wrapping in self.wrapping_keys.items():
            mine = f"{KEYS}{class_name.lower()}-"
            data_keys = sorted(name for name in self.objects if name.startswith(mine))
            text = "\0".join([self.vault_id, class_name, *data_keys]).encode()
            found[class_name] = hashlib.sha256(wrapping + text).hexdigest()[:_PRINT]
        return found

    def to_json(self) -> bytes:
        """Write the kit; the same kit gives the same bytes. It holds keys: keep it so."""
        wire = _Json(
            version=_VERSION,
            vault_id=self.vault_id,
            prefix=self.prefix,
            wrapping_keys={k: _text(v) for k, v in self.wrapping_keys.items()},
            objects={k: _text(v) for k, v in self.objects.items()},
            sealing=self.sealing,
        )
        return msgspec.json.format(msgspec.json.encode(wire, order="sorted"), indent=1) + b"\n"

    @classmethod
    def from_json(cls, data: bytes | str) -> Kit:
        """Read a kit.

        Raises:
            VaultError: this is none; the message says why, and shows nothing of it.
        """
        try:
            wire = msgspec.json.decode(data, type=_Json)
            kit = cls(
                wire.vault_id,
                wire.prefix,
                {k: base64.b64decode(v, validate=True) for k, v in wire.wrapping_keys.items()},
                {k: base64.b64decode(v, validate=True) for k, v in wire.objects.items()},
                wire.sealing,
            )
            well_formed = len(bytes.fromhex(kit.vault_id)) == ID_SIZE and FORMAT in kit.objects
        except UNDECODABLE as error:
            raise VaultError(f"this is no recovery kit: {error}") from None
        if wire.version != _VERSION:
            raise VaultError(
                f"the recovery kit has version {wire.version}, this program knows {_VERSION}"
            )
        if not well_formed or any(len(k) != SECRET_SIZE for k in kit.wrapping_keys.values()):
            raise VaultError("the recovery kit is damaged: an id or a key has the wrong size")
        # Sealing with another one instead would undo a rotation, and nobody would notice.
        held = {data_key_name(name) for name in kit.objects}
        for class_name, key_id in kit.sealing.items():
            if f"{KEYS}{class_name.lower()}-{key_id}" not in held:
                raise VaultError(f"the recovery kit is damaged: it lacks {class_name} key {key_id}")
        return kit


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
