"""RecoveryRequest: one recovery of one wedding to one moment."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, OneOf, Rule, Time
from weddingbackup.resources.common import (
    DatabaseRef,
    DataClass,
    NameRef,
    Privilege,
    Reported,
    SecretKeyRef,
    SqlName,
    VaultStatus,
)
from weddingbackup.resources.fields import (
    UNIQUE,
    FolderPath,
    Moment,
    ObjectName,
    SourceName,
    keyed_by,
)
from weddingbackup.resources.kind import (
    AGE,
    Column,
    Definition,
    ImmutableSpec,
    Kind,
    KindStatus,
    Scope,
    name_rule,
)


class Urgency(StrEnum):
    """How soon the data has to be back: within 300, 60 or 30 seconds."""

    STANDARD = "Standard"
    CRITICAL = "Critical"
    EMERGENCY = "Emergency"


class Phase(StrEnum):
    """How far a recovery is."""

    PENDING = "Pending"
    PLANNING = "Planning"
    RECOVERING = "Recovering"
    COMPLETED = "Completed"
    PARTIALLY_FAILED = "PartiallyFailed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class SourcePhase(StrEnum):
    """How far the recovery of one source is."""

    PENDING = "Pending"
    WAITING = "Waiting"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"


class PolicyRef(Model):
    """A WeddingBackupPolicy, by name."""

    name: ObjectName
    """The policy's name."""
    namespace: ObjectName | None = None
    """The policy's namespace, where it is not the request's: that policy has to name this namespace in spec.recovery.allowedNamespaces."""


class VolumeTarget(Model):
    """A persistent volume claim to restore files into."""

    claim_name: ObjectName
    """The PersistentVolumeClaim in the request's namespace; it has to exist."""
    path: FolderPath | None = None
    """Folder inside the volume, for example restored/2026; without it, the volume's top."""


class PostgresTarget(OneOf):
    """A database to restore rows into."""

    members = ("connection_secret_ref", "database_ref")

    connection_secret_ref: SecretKeyRef | None = None
    """Secret in the request's namespace whose key (uri, if none is named) holds a connection string, postgresql://…."""
    database_ref: DatabaseRef | None = None
    """A BackupDatabase that serves the request's namespace. Only rows that it gives to this namespace are written."""
    schema_name: SqlName | None = Field(default=None, alias="schema")
    """Schema to restore into; without it, the schemas that the rows came from. Its tables have to exist."""


class Target(OneOf):
    """Another place for one source."""

    members = ("volume", "postgres")

    source: SourceName
    """The source's name in the policy."""
    volume: VolumeTarget | None = None
    """Restore a volume source's files into this claim."""
    postgres: PostgresTarget | None = None
    """Restore a postgres source's rows into this database."""


class Spec(ImmutableSpec):
    """The order for one recovery. It cannot change, save that it can be cancelled."""

    order = "RecoveryRequest"

    policy_ref: PolicyRef
    """The WeddingBackupPolicy whose data is brought back."""
    point_in_time: Moment | None = None
    """Bring back the newest point that is not later than this moment, for example 2026-12-05T13:30:00Z; without it, the newest."""
    backup_job_ref: NameRef | None = None
    """Bring back exactly the point that this BackupJob made."""
    urgency: Urgency = Urgency.STANDARD
    """Standard aims at 300 seconds, Critical at 60, Emergency at 30."""
    sources: Annotated[list[SourceName], Field(max_length=16), UNIQUE] = Field(default_factory=list)
    """Only these sources of the policy; without any, all."""
    targets: Annotated[list[Target], Field(max_length=16), keyed_by("source")] = Field(
        default_factory=list
    )
    """Other places to restore to. A source that is not named here is restored in place."""
    privilege: Privilege | None = None
    """What the restoring pods may do; without it, as the policy says."""

    rules = (
        Rule(
            "!(has(self.pointInTime) && has(self.backupJobRef))",
            "write only one of pointInTime and backupJobRef; neither brings back the newest point",
        ),
        Rule(
            "!has(self.policyRef.namespace) || (has(self.targets) && self.targets.size() > 0)",
            "a policy of another namespace is restored to places of this one: write targets for all"
            " its sources, or name in sources those that targets has",
        ),
        Rule(
            "!has(self.targets) || !has(self.sources) || self.sources.size() == 0"
            " || self.targets.all(target, target.source in self.sources)",
            "write in targets only sources that sources names, or leave sources away",
        ),
    )


class PointStatus(Model):
    """The recovery point that was chosen, pinned before the work begins."""

    manifest: Annotated[str, Field(max_length=512)]
    """Name of its manifest in the stores."""
    sha256: Annotated[str, Field(max_length=64)]
    """SHA-256 of the manifest's stored bytes."""
    backup_job: Annotated[str, Field(max_length=253)] | None = None
    """The BackupJob that made it."""


class SourceStatus(Model):
    """How far the recovery of one source is."""

    name: Annotated[str, Field(max_length=253)]
    """The source's name in the policy."""
    data_class: DataClass
    """Its data class."""
    phase: SourcePhase = SourcePhase.PENDING
    """Waiting: its worker is there, and moves no data until the earlier stages are over. Completed: every byte was verified and is in place."""
    files: Annotated[int, Field(ge=0)] = 0
    """Files that are in place, each verified."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows restored, where it is a database."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of files or rows that are in place."""
    kept_files: Annotated[int, Field(ge=0)] = 0
    """Of the files, those that were there already: read, found to be the same and left in place."""
    kept_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of the files that were there already."""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Progress in percent."""
    duration_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long it took."""
    job_uid: Annotated[str, Field(max_length=64)] | None = None
    """UID of the Kubernetes Job that was made to restore it. It is made once: where its result is lost, nothing is repeated."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """What went wrong, in one word; ResultUnknown: it may be restored wholly, in part or not at all."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What went wrong, and what to do."""
    warnings: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = Field(
        default_factory=list
    )
    """What could not be restored as it was, for example owners of files."""


class StageStatus(Model):
    """One stage of a recovery: the sources of one data class."""

    data_class: DataClass
    """The data class. The stages follow each other in the order Timeline, Guests, Contracts, Messages, Portfolio, Other."""
    started_at: Time | None = None
    """When it was let move data: all earlier stages were over."""
    usable_at: Time | None = None
    """When all of it was verified and in place."""
    message: Annotated[str, Field(max_length=4096)] | None = None
    """What of it could not be recovered. Later stages do not wait for that."""


class LocationStatus(Model):
    """What one location gave."""

    name: Annotated[str, Field(max_length=253)]
    """The BackupLocation's name."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes read from it."""


class Status(KindStatus):
    """How far the recovery is, and what came of it."""

    phase: Phase = Phase.PENDING
    """Completed: all that was asked for is verified and in place. PartiallyFailed: some sources are, others are not."""
    vault: VaultStatus | None = None
    """The vault that the point is in."""
    point: PointStatus | None = None
    """The recovery point that was chosen."""
    recovered_to: Time | None = None
    """The moment that the data is brought back to."""
    objective_seconds: Annotated[int, Field(ge=0)] | None = None
    """The time that the urgency allows, from the request's creation."""
    elapsed_seconds: Annotated[float, Field(ge=0)] | None = None
    """The time that it took, from the request's creation."""
    objective_met: bool | None = None
    """Whether it was done within the objective."""
    sources: Annotated[list[SourceStatus], Field(max_length=16), keyed_by("name")] = Field(
        default_factory=list
    )
    """One row a source, in the order of recovery."""
    stages: Annotated[list[StageStatus], Field(max_length=6), keyed_by("dataClass")] = Field(
        default_factory=list
    )
    """One row a data class, in the order of recovery."""
    reported: Annotated[dict[str, Reported], Field(max_length=16)] = Field(default_factory=dict)
    """What the workers last told the broker, by source; it writes this and nobody else."""
    locations: Annotated[list[LocationStatus], Field(max_length=32), keyed_by("name")] = Field(
        default_factory=list
    )
    """The locations that it may read from, and what each gave."""
    locations_used: Annotated[int, Field(ge=0)] | None = None
    """From how many locations data was read."""
    started_at: Time | None = None
    """When the work began."""
    completed_at: Time | None = None
    """When it ended, well or not."""


class RecoveryRequest(Kind):
    """One recovery of one wedding to one moment.

    Every byte is verified before it is written; files appear whole or not at all, and rows of
    other weddings stay as they are.
    """

    definition = Definition(
        kind="RecoveryRequest",
        plural="recoveryrequests",
        short="rr",
        scope=Scope.NAMESPACED,
        columns=(
            Column("Policy", ".spec.policyRef.name"),
            Column("Urgency", ".spec.urgency"),
            Column("Phase", ".status.phase"),
            Column("Recovered-To", ".status.recoveredTo"),
            Column("Elapsed(s)", ".status.elapsedSeconds", "number"),
            Column("Objective(s)", ".status.objectiveSeconds", "integer"),
            Column("From", ".status.locationsUsed", "integer"),
            Column("Message", ".status.message", priority=1),
            AGE,
        ),
        rules=(name_rule(63, "it becomes a label"),),
        selectable=(".spec.policyRef.name", ".spec.urgency", ".status.phase"),
    )

    spec: Spec
    """The order for one recovery. It cannot change, save that it can be cancelled."""
    status: Status = Status()
    """How far the recovery is, and what came of it."""
