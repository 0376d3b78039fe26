"""BackupLocation: one bucket or container in one region of one provider."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, Rule, Time
from weddingbackup.resources.common import LocationLimits, Provider, SecretRef
from weddingbackup.resources.fields import Cel, Country, Duration, Latitude, Longitude, Says
from weddingbackup.resources.kind import AGE, Column, Definition, Kind, KindStatus, Scope, name_rule
from weddingbackup.resources.selectors import LabelSelector


class AccessMode(StrEnum):
    """Whether backups may be written to a location."""

    READ_WRITE = "ReadWrite"
    READ_ONLY = "ReadOnly"


class Phase(StrEnum):
    """What the last probes of a location showed."""

    PENDING = "Pending"
    HEALTHY = "Healthy"
    UNAVAILABLE = "Unavailable"
    READ_ONLY = "ReadOnly"
    REFUSED = "Refused"


class Coordinates(Model):
    """A place on Earth."""

    latitude: Latitude
    """Degrees north of the equator, -90 to 90."""
    longitude: Longitude
    """Degrees east of Greenwich, -180 to 180."""


class Probe(Model):
    """How a location is watched."""

    interval: Annotated[timedelta, Duration("5s", "1h")] = timedelta(seconds=30)
    """Time from one probe to the next, for example 30s."""
    timeout: Annotated[timedelta, Duration("1s", "5m")] = timedelta(seconds=10)
    """How long a probe may take before the location counts as unavailable; at most the interval."""

    rules = (
        Rule(
            "duration(self.timeout) <= duration(self.interval)",
            "write a timeout that is not longer than the interval",
        ),
    )


class Spec(Model):
    """Where the location is and how it is reached."""

    provider: Annotated[
        Provider,
        Cel("self == oldSelf", "a location's provider cannot change: register another location"),
    ]
    """Whose storage this is, and which protocol it speaks: S3 (also for compatible servers), R2, GCS or Azure."""
    region: Annotated[str, Field(min_length=1, max_length=64)]
    """The region in the provider's own words, for example eu-west-2. Policies ask for copies in different regions."""
    country: Country | None = None
    """Where the bytes rest, as ISO 3166 code, for example GB. Policies with jurisdictions use only locations that say it."""
    coordinates: Coordinates | None = None
    """Where the data centre stands, to prefer near locations in a recovery."""
    bucket: Annotated[
        str,
        Field(min_length=3, max_length=222, pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$"),
        Says("write the bucket's or container's name alone, without scheme, host or path"),
        Cel("self == oldSelf", "a location's bucket cannot change: register another location"),
    ]
    """Name of the bucket, or of Azure's container. It has to exist; the operator never makes or removes it."""
    prefix: Annotated[
        str,
        Field(
            max_length=200,
            pattern=r"^([a-z0-9_-][a-z0-9._-]*(/[a-z0-9_-][a-z0-9._-]*)*)?$",
        ),
        Says("write a path like weddings/prod: small letters, no slash at its ends, no dot first"),
        Cel("self == oldSelf", "a location's prefix cannot change: register another location"),
    ] = ""
    """Path inside the bucket below which everything is kept, for example weddings/prod; empty for the whole bucket."""
    endpoint: (
        Annotated[
            str,
            Field(max_length=512, pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"),
            Says("write the address with its scheme, for example https://s3.example.com"),
        ]
        | None
    ) = None
    """Address of the service, for example https://s3.example.com; needed for R2 and compatible servers, elsewhere the provider's own is used."""
    ca_secret_ref: SecretRef | None = None
    """Secret in the operator's namespace whose key ca.crt holds the authorities (PEM) to trust for this endpoint."""
    credentials_secret_ref: SecretRef
    """Secret in the operator's namespace with the credentials. Keys for S3 and R2: accessKeyId, secretAccessKey; GCS: serviceAccount.json, or serviceAccountEmail to sign by workload identity, with hmacAccessId and hmacSecret to sign by an HMAC key; Azure: accountName with accountKey, with tenantId, clientId and clientSecret, or alone for workload identity."""
    allowed_namespaces: LabelSelector | None = None
    """Only namespaces with these labels may keep copies here; without it, all may. Who loses the right keeps what is there, and can neither add to it nor read it."""
    access_mode: AccessMode = AccessMode.READ_WRITE
    """ReadOnly keeps new backups away; recoveries still read from it."""
    limits: LocationLimits | None = None
    """How much of the line to this location a worker may use; without it, all there is."""
    probe: Probe = Probe()
    """How often the location is tried, and how long it may take."""

    rules = (
        Rule(
            "self.provider != 'R2' || has(self.endpoint)",
            "R2 needs an endpoint: write https://ACCOUNT_ID.r2.cloudflarestorage.com",
        ),
    )


class Capabilities(Model):
    """What was found out about the service, by trying it."""

    create_only: bool = False
    """A second write to the same name is refused. Without this a location is refused."""
    bound_checksums: bool = False
    """The service checks on arrival that the bytes are those that were signed for."""
    versioning: bool = False
    """The bucket keeps older versions of objects."""
    object_lock: bool = False
    """The bucket can keep objects from being deleted before a date."""


class Status(KindStatus):
    """What the last probes showed."""

    phase: Phase = Phase.PENDING
    """Healthy: read and written. Unavailable: cannot be reached or used. ReadOnly: by accessMode. Refused: must not hold backups."""
    last_probe_time: Time | None = None
    """When the last recorded probe ended; moved only when something else changed, or every five minutes."""
    latency_milliseconds: Annotated[int, Field(ge=0)] | None = None
    """How long writing and reading back a small object took, in milliseconds."""
    capabilities: Capabilities | None = None
    """What the service can do."""


class BackupLocation(Kind):
    """One bucket or container in one region of one provider, where backups are kept.

    Every location holds whole copies under the same names, so any of them can stand in for another.
    """

    definition = Definition(
        kind="BackupLocation",
        plural="backuplocations",
        short="bl",
        scope=Scope.CLUSTER,
        columns=(
            Column("Provider", ".spec.provider"),
            Column("Region", ".spec.region"),
            Column("Phase", ".status.phase"),
            Column("Latency(ms)", ".status.latencyMilliseconds", "integer"),
            Column("Last-Probe", ".status.lastProbeTime", "date"),
            Column("Message", ".status.message", priority=1),
            AGE,
        ),
        rules=(name_rule(40, "names of pods' volumes and labels contain it"),),
        selectable=(".spec.provider", ".status.phase"),
    )

    spec: Spec
    """Where the location is and how it is reached."""
    status: Status = Status()
    """What the last probes showed."""
