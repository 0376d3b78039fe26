"""What a worker and the broker say to each other: JSON over HTTPS, one model a message.

A worker shows its pod's token and says nothing of who it is or what it may do: the broker finds that
out by itself. Every answer other than 2xx has a `Refusal` as its body.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Base64Bytes, Field

from weddingbackup.resources.base import Model, Time
from weddingbackup.resources.common import DataClass, LocationLimits
from weddingbackup.resources.reports import Count
from weddingbackup.resources.tasks import VaultRef

AUDIENCE: Final = "broker.backup.wedsync.io"
"""What a worker's token is for; it opens nothing else, and no other token opens the broker."""
TOKEN_SECONDS: Final = 600
"""How long a token lives; the kubelet puts a new one in its place well before."""

MOST_SIGNATURES: Final = 256
"""Requests signed in one go, at most."""
LARGEST_MANIFEST: Final = 4 << 20
"""Bytes of a manifest, at most."""
LARGEST_OBJECT: Final = 32 << 20
"""Bytes of any other object, at most: a pack has 20 MiB and an index no more than 25."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
LocationName = Annotated[str, Field(min_length=1, max_length=63)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
"""An object's name below the vault's prefix."""


class RefusalCode(StrEnum):
    """Why something was not done. The first six are a store's own answers (stores/errors.py)."""

    TRANSIENT = "Transient"
    DENIED = "Denied"
    MISSING = "Missing"
    EXISTS = "Exists"
    CORRUPT = "Corrupt"
    UNSUPPORTED = "Unsupported"
    UNKNOWN_WORKER = "UnknownWorker"
    """The token is none of a worker that this broker serves."""
    NOT_YOURS = "NotYours"
    """The worker is known, and this is not its job's."""
    BAD_REQUEST = "BadRequest"
    WAITS = "Waits"
    """Not yet: it moves data, and an earlier stage of the recovery is not over."""
    TOO_MUCH = "TooMuch"
    """Larger, or more at once, than the broker takes from one worker."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The backup would store more than its organisation may: trying again cannot help."""
    SOURCE_FAILED = "SourceFailed"
    """The shared database: trying again cannot help."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """The shared database: trying again may."""


class Refusal(Model):
    """What was not done, and why."""

    code: RefusalCode
    message: str
    """What happened, to what, and what to do."""
    retry_after_seconds: float | None = None


class Put(Model):
    """An object to be created: its size in bytes, and the digests of its bytes in hex."""

    location: LocationName
    name: Name
    size: Annotated[int, Field(ge=0, le=LARGEST_OBJECT)]
    sha256: Sha256
    md5: Md5 | None = None
    """Needed where the location's `binds_md5` says so."""


class Get(Model):
    """An object to be read, whole or in parts."""

    location: LocationName
    name: Name


class SignRequest(Model):
    """`POST /v1/sign`: requests wanted for this job's locations."""

    puts: Annotated[list[Put], Field(max_length=MOST_SIGNATURES)] = Field(default_factory=list)
    gets: Annotated[list[Get], Field(max_length=MOST_SIGNATURES)] = Field(default_factory=list)


class Signed(Model):
    """A request that whoever holds it may carry out until `expires_at`; see stores.api."""

    method: str
    url: str
    headers: dict[str, str]
    expires_at: Time


class Answer(Model):
    """To one of the requests: exactly one is set. One location's failure is not another's."""

    signed: Signed | None = None
    refusal: Refusal | None = None


class SignAnswer(Model):
    """In the order of the requests."""

    puts: list[Answer]
    gets: list[Answer]


class DataKey(Model):
    """A class's data key, unwrapped. Of several of one class the last one seals."""

    class_name: str
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    secret: Base64Bytes
    chunk_key: Base64Bytes


class Location(Model):
    """One of the job's locations, as a worker needs to know it."""

    name: str
    address: str
    """For messages."""
    binds_md5: bool
    authorities: str | None = None
    """PEM, where other authorities than the system's are to be trusted."""
    limits: LocationLimits | None = None


class Opening(Model):
    """`POST /v1/open`: what a job begins with."""

    vault: VaultRef
    founding: dict[str, Base64Bytes]
    """`format` and `keys/…`: what every location has to hold."""
    keys: list[DataKey]
    """Of the vault's own class, and of the classes that this job needs."""
    locations: list[Location]


class Listed(Model):
    """`GET /v1/locations/{location}/objects?prefix=`: lines of JSON, one an object.

    The last line has `end`, and a refusal where the listing broke off: without it, it is not whole.
    """

    name: str = ""
    size: int = 0
    modified: Time | None = None
    end: bool = False
    refusal: Refusal | None = None


class Progress(Model):
    """`POST /v1/progress`: how far the job is."""

    bytes_done: Count = 0
    bytes_total: Count | None = None
    files: Count | None = None
    locations: Annotated[dict[LocationName, Count], Field(max_length=32)] = Field(
        default_factory=dict
    )


class Turn(Model):
    """`GET /v1/turn`: whether the job may move data; held back for some seconds where it may not."""

    waits_for: DataClass | None = None
    """The stage of the recovery that it waits for."""


class Applied(Model):
    """`PUT /v1/sources/{source}/rows`: what came of rows that were put back."""

    rows: Count
    warnings: list[str] = Field(default_factory=list)
