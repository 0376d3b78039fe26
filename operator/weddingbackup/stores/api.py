"""The shapes that stores speak in: who signs (`Grants`), who may all (`Keeper`), what a vault sees (`Store`).

A vault only ever creates, reads and lists. Whoever signs those requests holds the credentials;
whoever carries them out needs none. All methods are synchronous and safe to call from threads.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from weddingbackup.resources.words import Tier

LIFETIME: Final = timedelta(minutes=10)
"""How long a signed request may be used, at most."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing shows it.

    Attributes:
        name: relative to the prefix of who lists.
        size: bytes.
        md5: 16 raw bytes, as the provider tells them: of what it took, and it may be wrong of what it
            has. None where it tells none. S3 encrypts with keys of KMS and then tells something else
            in its place: so two that differ are a reason to read, and no proof.
        sha256: 32 raw bytes, where the provider keeps them; `head` alone asks.
        tier: how cheap it lies; None where the provider tells nothing that we know.
        since: from when on it lies so, where the provider tells.
        at_hand: whether it can be read now. False: archived, and not back yet.
        returning: whether it was asked back.
    """

    name: str
    size: int
    modified: datetime | None
    md5: bytes | None = None
    sha256: bytes | None = None
    tier: Tier | None = None
    since: datetime | None = None
    at_hand: bool = True
    returning: bool = False


@dataclass(frozen=True, slots=True)
class PutIntent:
    """What somebody wants to create: the signature is bound to all of this where the provider can.

    Attributes:
        size: bytes.
        sha256: 32 raw bytes.
        md5: 16 raw bytes where `Grants.binds_md5` asks for them, else None.
    """

    name: str
    size: int
    sha256: bytes
    md5: bytes | None = None


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that anyone may carry out until `expires_at`. The headers are to be sent as they are.

    The URL is a credential: it goes into no log and no message.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedRequest({self.method}, expires_at={self.expires_at.isoformat()})"


class Grants(Protocol):
    """Signs requests for one prefix at one location. Names are relative to that prefix."""

    @property
    def location(self) -> str:
        """The location's name."""

    @property
    def address(self) -> str:
        """The bucket for people: "bucket weddings-eu at https://…"; holds no secret."""

    @property
    def binds_md5(self) -> bool:
        """Whether `PutIntent.md5` is needed: the provider verifies MD5 and no SHA-256."""

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects, and replace nothing; in the order of `puts`."""

    def sign_gets(self, names: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects, whole or by a `Range` header; in the order of `names`."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin with `prefix`, in no promised order."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a location can do, as tried or asked, not as believed."""

    create_only: bool
    bound_checksums: bool
    versioning: bool
    object_lock: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe of a location found.

    Attributes:
        latency_seconds: of one small signed get; None where nothing answered.
        capabilities: None where the location could not be tried (unreachable, denied, read-only).
        message: for people: what is wrong and what to do; "" where all is well.
        error: what ended the probe early; None where it came to its end.
    """

    reachable: bool
    writable: bool
    latency_seconds: float | None
    capabilities: Capabilities | None
    message: str
    error: Exception | None = None


class Keeper(Grants, Protocol):
    """Holds a location's credentials, and so may do what a worker must not."""

    def head(self, name: str) -> ObjectInfo:
        """One object's facts.

        Raises:
            MissingError: there is no such object.
        """

    def delete(self, name: str) -> None:
        """Remove one object with all its old versions; one that isn't there is no error.

        Raises:
            DeniedError: a right is missing, or a lock holds it.
        """

    def set_tier(self, name: str, tier: Tier) -> None:
        """Have the same bytes lie in a tier: the nearest that the provider has and is not colder.

        The object keeps its name and can be read all the while, unless the tier is an archive.

        Raises:
            MissingError: there is no such object.
            ArchivedError: it has to be asked back first.
            DeniedError: a right is missing, or a lock holds it.
            UnsupportedError: the location has no tiers, or would keep and charge both.
        """

    def request_return(self, name: str) -> None:
        """Ask an archived object back; one that is at hand, or was asked for, is no error.

        Raises:
            MissingError: there is no such object.
        """

    def versioning(self) -> tuple[bool, bool]:
        """Whether the bucket keeps (old versions, object locks)."""

    def close(self) -> None:
        """Let go of the connections."""


class Store(Protocol):
    """One location as a vault sees it. Names are relative to the vault's prefix."""

    @property
    def location(self) -> str:
        """The location's name."""

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        """Create an object, whole or not at all. The same bytes already there: success.

        Args:
            name: see `names.check`.
            data: the object's bytes, contiguous.
            sha256: their digest, 32 raw bytes; the caller has it, since names carry it.

        Raises:
            ExistsError: other bytes have the name; they were left alone.
            CorruptError: other bytes than `sha256` speaks of arrived at the other end of a wire.
            StoreError: as errors.py says.
        """

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Exactly `length` bytes from `offset`; to the object's end where `length` is None.

        Raises:
            MissingError: there is no such object.
            CorruptError: the object ends before `offset + length`.
            StoreError: as errors.py says.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin with `prefix`, in no promised order."""
