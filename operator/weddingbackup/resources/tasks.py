"""What a worker is told: its one job, handed over as JSON in an environment variable of its pod.

A task holds no secret. Backup and restore get keys and signed requests from the broker, by the token
of their pod; copy, check, collect and erase run in the operator's namespace, and their pods mount
the locations' credentials. Connection strings are files too, at the paths below.
"""

from pathlib import PurePosixPath
from typing import Annotated, Final

from pydantic import Field

from weddingbackup.resources.base import Model, OneOf, Time
from weddingbackup.resources.common import (
    CheckLevel,
    DataClass,
    LocationLimits,
    Privilege,
    Provider,
    Table,
)

VARIABLE: Final = "WEDDINGBACKUP_TASK"

_CONFIG: Final = PurePosixPath("/etc/weddingbackup")
TOKEN_FILE: Final = "/var/run/secrets/weddingbackup/token"  # noqa: S105  a path
"""What a backup's or restore's pod shows the broker; renewed by the kubelet."""
SCRATCH: Final = "/scratch"
"""An empty directory that lives as long as the pod."""
TERMINATION_LOG: Final = "/dev/termination-log"


def location_directory(location: str) -> str:
    """Where a location's credentials are mounted: one file a key of its Secret."""
    return str(_CONFIG / "locations" / location)


def source_directory(source: str) -> str:
    """Where a source's connection Secret is mounted; the connection string is its file `uri`."""
    return str(_CONFIG / "sources" / source)


def data_directory(source: str) -> str:
    """Where a source's volume is mounted; read-only for a backup."""
    return f"/data/{source}"


class ObjectRef(Model):
    """One object of the cluster, told from a later one of the same name by its uid."""

    namespace: str
    name: str
    uid: str


class LocationAccess(Model):
    """How one location is reached; its credentials are files in `location_directory(name)`."""

    name: str
    provider: Provider
    bucket: str
    prefix: str = ""
    """The location's own prefix, without the vault's."""
    endpoint: str | None = None
    region: str
    ca_file: str | None = None
    """Path of a PEM file with the authorities to trust instead of the system's."""
    limits: LocationLimits | None = None


class VaultRef(Model):
    """One vault: its id (32 hex digits) and its opaque prefix below each location's prefix."""

    id: str
    prefix: str


class BrokerAccess(Model):
    """Where the broker is."""

    url: str
    """https://…, without a path."""
    authorities: str
    """PEM: who vouches for its certificate, and nobody else does."""


class PointRef(Model):
    """One recovery point, pinned: a manifest's name and the SHA-256 (hex) of its stored bytes."""

    manifest: str
    sha256: str


class VolumeSource(Model):
    """Files below a path inside the pod."""

    path: str
    include: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)


class PostgresSource(Model):
    """Rows of tables of the database that a file's connection string leads to."""

    connection_file: str
    tables: list[Table]


class SharedDatabase(Model):
    """Rows of a BackupDatabase, which the broker reads and writes for the worker."""

    database: str
    """Its name, for messages: the broker goes by what it knows itself."""


class SourceTask(OneOf):
    """One source to back up: exactly one of its members is set."""

    members = ("volume", "postgres", "shared")

    name: str
    data_class: DataClass
    volume: VolumeSource | None = None
    postgres: PostgresSource | None = None
    shared: SharedDatabase | None = None


class VolumeTarget(Model):
    """Files go below this path inside the pod."""

    path: str


class PostgresTarget(Model):
    """Rows go into this database, into the schemas they came from or into one that is named."""

    connection_file: str
    schema_name: str | None = Field(default=None, alias="schema")


class RestoreTarget(OneOf):
    """Where one source is put back: exactly one member is set."""

    members = ("volume", "postgres", "shared")

    volume: VolumeTarget | None = None
    postgres: PostgresTarget | None = None
    shared: SharedDatabase | None = None


class BackupTask(Model):
    """One backup of some sources into one vault at several locations."""

    job: ObjectRef
    scheduled_at: Time
    broker: BrokerAccess
    vault: VaultRef
    locations: list[str]
    """Names, of those that the broker gives access to: all of them."""
    quorum: int
    sources: Annotated[list[SourceTask], Field(min_length=1)]
    distrust: list[str] = Field(default_factory=list)
    """Names of packs and indexes that a check found good nowhere: what they held is stored anew.
    `packs/` stands for all of them."""


class RestoreTask(Model):
    """One source of one recovery point, put back."""

    request: ObjectRef
    broker: BrokerAccess
    vault: VaultRef
    point: PointRef
    source: str
    target: RestoreTarget
    privilege: Privilege = Privilege.APP


class CopyTask(Model):
    """Points that one location lacks, copied to it from the others, sealed as they are."""

    vault: VaultRef
    manifests: list[str]
    verify: bool = False
    """Read what the target has of these points, and replace what is damaged: for locations that
    do not check on arrival that the bytes are those that were signed for."""
    target: str
    """Name of the location to fill; it is one of `locations`."""
    locations: list[LocationAccess]


class CheckTask(Model):
    """One vault, looked over at these locations; what is damaged is replaced from a good copy."""

    vault: VaultRef
    locations: list[LocationAccess]
    level: CheckLevel
    percent: Annotated[float, Field(gt=0, le=100)] = 100
    """Of the objects, how many a Sample reads."""
    seed: str = ""
    """Chooses which: equal seeds choose the same."""
    repair: bool = True


class Kept(Model):
    """How many recovery points are kept: a policy's spec.retention as the rules take it."""

    keep_last: Annotated[int, Field(ge=1)]
    hourly: Annotated[int, Field(ge=0)] = 0
    daily: Annotated[int, Field(ge=0)] = 0
    weekly: Annotated[int, Field(ge=0)] = 0
    monthly: Annotated[int, Field(ge=0)] = 0
    yearly: Annotated[int, Field(ge=0)] = 0
    point_in_time_seconds: Annotated[float, Field(ge=0)] = 0
    """Every point of that last time is kept, and the newest one before it."""


class CollectTask(Model):
    """What no kept recovery point of a vault needs, removed at these locations after a grace."""

    vault: VaultRef
    locations: list[LocationAccess]
    """All that the vault may be at."""
    quorum: Annotated[int, Field(ge=1)] = 2
    """The smallest that any point of the vault was written with: all but quorum - 1 locations must answer."""
    keep: Kept
    pins: list[str] = Field(default_factory=list)
    """Manifests of points that recoveries are reading, or that somebody asked to keep."""
    lossy: list[str] = Field(default_factory=list)
    """Manifests of points that are known to have lost something."""
    grace_seconds: Annotated[float, Field(ge=0)] = 86400
    dry_run: bool = False


class EraseTask(Model):
    """All objects of one vault, removed from these locations."""

    vault: VaultRef
    locations: list[LocationAccess]
