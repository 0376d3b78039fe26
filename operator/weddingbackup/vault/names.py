"""The names of a vault's objects. Each carries the SHA-256 of its bytes, so anyone can scrub.

`format` alone does not; it is plain and carries its checksum inside. A replacement of a damaged
object has the same name with `.r1` … `.r9` behind it, and is the same object in all else.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from weddingbackup.resources.words import DataClass
from weddingbackup.vault.errors import VaultDamageError

if TYPE_CHECKING:
    from datetime import datetime

FORMAT = "format"
KEYS = "keys/"
PACKS = "packs/"
INDEXES = "index/"
SNAPSHOTS = "snapshots/"

VAULT_CLASS = "Vault"
"""The class of what belongs to no data class: manifests."""

KEY_CLASSES: tuple[str, ...] = (VAULT_CLASS, *DataClass)
"""All that have keys of their own; a class's place here is its code in headers."""

LAST_REPLACEMENT = 9

# `\Z`: `$` would also match before a newline at the end, and anybody may store such a name.
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_REPLACEMENT = re.compile(r"\.r[1-9]\Z")
_KEY = re.compile(r"(keys/[a-z]+-[0-9a-f]{32})-[0-9a-f]{64}(?:\.r[1-9])?")
_SNAPSHOT = re.compile(r"snapshots/\d{4}/\d{2}/\d{2}/([a-z0-9-]{1,64})-[0-9a-f]{64}")


def key_name(class_name: str, key_id: bytes, sealed: bytes) -> str:
    """Name the object that holds one wrapped data key."""
    return f"{KEYS}{class_name.lower()}-{key_id.hex()}-{hashlib.sha256(sealed).hexdigest()}"


def data_key_name(name: str) -> str | None:
    """Give what the objects of one data key have in common, whatever wraps it; None if it is no key's."""
    match = _KEY.fullmatch(name)
    return match[1] if match else None


def pack_name(digest: bytes) -> str:
    """Name the pack with this SHA-256."""
    return PACKS + digest.hex()


def index_name(digest: bytes) -> str:
    """Name the index with this SHA-256."""
    return INDEXES + digest.hex()


def snapshot_prefix(job_uid: str, scheduled_at: datetime) -> str:
    """Give what the name of a job's manifest begins with, so that its next writer finds it."""
    return f"{SNAPSHOTS}{scheduled_at:%Y/%m/%d}/{job_uid}-"


def snapshot_job(name: str) -> str | None:
    """Give the job's uid in a manifest's name; None if it is no such name."""
    match = _SNAPSHOT.fullmatch(name)
    return match[1] if match else None


def digest_of(name: str) -> bytes | None:
    """Give the SHA-256 in a name (of an object or of a replacement), None if it has none."""
    match = _DIGEST.search(base_name(name))
    return bytes.fromhex(match[0]) if match else None


def base_name(name: str) -> str:
    """Give the name of the object that this is, or is a replacement of."""
    return _REPLACEMENT.sub("", name)


def replacement(name: str, number: int) -> str:
    """Name the replacement with this number, 1 to 9; 0 is the object itself."""
    return f"{name}.r{number}" if number else name


def verify(name: str, data: bytes | memoryview) -> None:
    """Check whole bytes against the digest in their name.

    Raises:
        VaultDamageError: they are others.
    """
    if hashlib.sha256(data).digest() != digest_of(name):
        raise VaultDamageError(base_name(name), "its bytes do not have the SHA-256 in its name")
