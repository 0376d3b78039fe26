"""Manifests: one recovery point each, written last, and the commit once a quorum holds it.

    header (72) | size of the plain part (4) | plain part | sealed body

The plain part says what who holds no keys must know to list, check and copy the point: the job, the
times, N locations and W, and each source's indexes. The body holds what belongs to the data's
owner: roots of the trees, the sources' facts, warnings. It is bound to the plain part.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from weddingbackup.resources.words import EARLIEST, LATEST, DataClass
from weddingbackup.vault.entries import Entry, is_possible
from weddingbackup.vault.errors import UNDECODABLE, VaultDamageError, VaultError
from weddingbackup.vault.names import VAULT_CLASS, index_name, snapshot_prefix, verify
from weddingbackup.vault.seal import HEADER_SIZE, LAST_ORDINAL, Header, Kind

if TYPE_CHECKING:
    from weddingbackup.vault.keyring import Keyring

_SIZE = struct.Struct(">I")
_DIGEST_SIZE = 32
_LARGEST_PLAIN = 1 << 20
"""Bytes; 20,000 indexes, of a billion chunks. Whoever wrote it may mean harm: decoded, it takes up to
fifteen times as much memory, in the broker and in the operator, too."""


class IndexRef(msgspec.Struct, frozen=True, array_like=True):
    """An index that a source needs: its SHA-256 and size in bytes."""

    digest: bytes
    size: int

    @property
    def name(self) -> str:
        """The object's name."""
        return index_name(self.digest)


class PlainSource(msgspec.Struct, frozen=True, array_like=True):
    """One source as everybody may see it. `trees` and `indexes` are sorted by digest."""

    name: str
    data_class: DataClass
    files: int
    bytes: int
    tree_indexes: tuple[IndexRef, ...]
    data_indexes: tuple[IndexRef, ...]

    @property
    def indexes(self) -> tuple[IndexRef, ...]:
        """All that it needs."""
        return self.tree_indexes + self.data_indexes


class Plain(msgspec.Struct, frozen=True, array_like=True):
    """A point as everybody may see it.

    Attributes:
        point_time: when the reading of the last source ended.
        quorum: W: held by so many of `locations` (N), the point is committed.
    """

    job_uid: str
    job_name: str
    scheduled_at: datetime
    started_at: datetime
    point_time: datetime
    quorum: int
    locations: tuple[str, ...]
    sources: tuple[PlainSource, ...]

    @property
    def times(self) -> tuple[datetime, ...]:
        """All of them."""
        return self.scheduled_at, self.started_at, self.point_time


class SealedSource(msgspec.Struct, frozen=True, array_like=True):
    """One source as its owner may see it; in the order of the plain part.

    Attributes:
        root: the top directory's own metadata.
        tree: id of its page or node.
        facts: JSON, as the source gave it, keys sorted.
    """

    root: Entry
    tree: bytes
    facts: bytes
    warnings: tuple[str, ...]


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed."""

    job_namespace: str
    sources: tuple[SealedSource, ...]


_encoder = msgspec.msgpack.Encoder()
_plain_decoder = msgspec.msgpack.Decoder(Plain)
_body_decoder = msgspec.msgpack.Decoder(Body)


def encode_manifest(keyring: Keyring, plain: Plain, body: Body, salt: bytes) -> tuple[str, bytes]:
    """Give (name, bytes) of a manifest.

    Raises:
        VaultError: its plain part is larger than any reader takes.
    """
    header, seal = keyring.new_seal(Kind.MANIFEST, VAULT_CLASS, salt)
    shown = _encoder.encode(plain)
    if len(shown) > _LARGEST_PLAIN:
        raise VaultError(
            f"the manifest would have {len(shown)} plain bytes, and readers take {_LARGEST_PLAIN}: "
            "give the policy fewer sources, or several policies"
        )
    sealed = seal.seal(LAST_ORDINAL, _encoder.encode(body), bound=hashlib.sha256(shown).digest())
    data = header.encode() + _SIZE.pack(len(shown)) + shown + sealed
    prefix = snapshot_prefix(plain.job_uid, plain.scheduled_at)
    return prefix + hashlib.sha256(data).hexdigest(), data


def read_plain(name: str, data: bytes) -> tuple[bytes, Plain]:
    """Read (vault id, plain part) of a manifest: no key needed, the name's digest vouches for it.

    Raises:
        VaultDamageError: these are not the bytes of the manifest `name`.
    """
    verify(name, data)
    header, shown, _ = _parts(name, data)
    plain = _plain(name, shown)
    refs = [ref for source in plain.sources for ref in source.indexes]
    names = {source.name for source in plain.sources}
    if (
        any(len(ref.digest) != _DIGEST_SIZE for ref in refs)
        or len(names) != len(plain.sources)
        or not 1 <= plain.quorum <= len(plain.locations)
        # Points are sorted by time: one without a zone cannot be compared with the others. And a
        # status has to hold it.
        or any(time.utcoffset() != timedelta() for time in plain.times)
        or not all(EARLIEST <= time < LATEST for time in plain.times)
        or not name.startswith(snapshot_prefix(plain.job_uid, plain.scheduled_at))
    ):
        raise VaultDamageError(name, "its plain part makes no sense")
    return header.vault_id, plain


def open_body(keyring: Keyring, name: str, data: bytes) -> Body:
    """Open the sealed part of a manifest whose plain part was read.

    Raises:
        VaultDamageError: it is damaged, or was sealed with another plain part.
        WrongKeyError: its key is not among those given.
    """
    header, shown, sealed = _parts(name, data)
    bound = hashlib.sha256(shown).digest()
    raw = keyring.seal_of(name, header).open(name, LAST_ORDINAL, sealed, bound=bound)
    try:
        body = _body_decoder.decode(raw)
    except UNDECODABLE as error:
        raise VaultDamageError(name, f"its body cannot be read ({error})") from None
    if len(body.sources) != len(_plain(name, shown).sources) or not all(
        is_possible(source.root) for source in body.sources
    ):
        raise VaultDamageError(name, "its body makes no sense")
    return body


def _plain(name: str, shown: bytes) -> Plain:
    try:
        return _plain_decoder.decode(shown)
    except UNDECODABLE as error:
        raise VaultDamageError(name, f"its plain part cannot be read ({error})") from None


def _parts(name: str, data: bytes) -> tuple[Header, bytes, bytes]:
    header = Header.decode(name, data)
    start = HEADER_SIZE + _SIZE.size
    if header.kind is not Kind.MANIFEST or len(data) < start:
        raise VaultDamageError(name, "it is no manifest")
    (size,) = _SIZE.unpack_from(data, HEADER_SIZE)
    if size > _LARGEST_PLAIN:
        raise VaultDamageError(name, "its plain part is larger than any")
    if len(data) < start + size:
        raise VaultDamageError(name, "it ends within its plain part")
    return header, data[start : start + size], data[start + size :]
