"""The `format` object: plain JSON that says what a reader must know before it reads on.

`{"checksum":…,"features":[…],"vault":…,"version":1}`, keys sorted, no spaces. `features` are
mandatory: who does not know one must not read. `checksum` is the SHA-256 of the same JSON without
it, since the object's name carries none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from weddingbackup.vault.errors import UNDECODABLE, RefusedError, VaultDamageError
from weddingbackup.vault.names import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
FEATURES = frozenset({"extents", "zstd"})


class _Format(msgspec.Struct):
    version: int
    vault: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    features: list[str]


def encode_format(
    vault_id: bytes, *, version: int = VERSION, features: frozenset[str] = FEATURES
) -> bytes:
    """Write the format object of a vault."""
    document = {"version": version, "vault": vault_id.hex(), "features": sorted(features)}
    return _canonical(document | {"checksum": _checksum(document)})


def check_format(data: bytes) -> bytes:
    """Read a format object; gives the vault's id, 16 bytes.

    Raises:
        VaultDamageError: it is damaged.
        RefusedError: it is whole, but speaks of a version or a feature unknown here.
    """
    try:
        # The checksum speaks of all members, also of those that a newer version may add.
        members = msgspec.json.decode(data, type=dict[str, Any])
        whole = _canonical(members) == data  # no space, no member twice
        whole &= members.pop("checksum", None) == _checksum(members)
        document = msgspec.convert(members, _Format)
    except UNDECODABLE as error:
        raise VaultDamageError(FORMAT, f"it is no format document ({error})") from None
    if not whole:
        raise VaultDamageError(FORMAT, "its checksum does not match")
    unknown = sorted(set(document.features) - FEATURES)
    if document.version != VERSION or unknown:
        raise RefusedError(
            f"this vault has format version {document.version} with features {document.features}; "
            f"this program knows version {VERSION} with {sorted(FEATURES)}: use a newer program"
        )
    return bytes.fromhex(document.vault)


def _canonical(document: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(document, order="sorted")


def _checksum(document: Mapping[str, object]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()
