"""BackupJob: one backup of one policy."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from weddingbackup.resources.base import Model, Time
from weddingbackup.resources.common import (
    DataClass,
    LocationPhase,
    NameRef,
    Reported,
    VaultStatus,
)
from weddingbackup.resources.fields import Moment, keyed_by
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


class Reason(StrEnum):
    """Why a backup is made."""

    SCHEDULED = "Scheduled"
    MANUAL = "Manual"
    EMERGENCY = "Emergency"
    REPAIR = "Repair"


class Phase(StrEnum):
    """How far a backup is."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Spec(ImmutableSpec):
    """The order for one backup. It cannot change, save that it can be cancelled."""

    order = "BackupJob"

    policy_ref: NameRef
    """The WeddingBackupPolicy, in the same namespace, whose sources are backed up."""
    reason: Reason = Reason.MANUAL
    """Why the backup is made: Scheduled is the operator's, Manual and Emergency are people's."""
    scheduled_at: Moment | None = None
    """The moment of the schedule that this backup stands for; without it, its creation."""


class LocationStatus(Model):
    """How far the backup is at one location."""

    name: Annotated[str, Field(max_length=253)]
    """The BackupLocation's name."""
    phase: LocationPhase = LocationPhase.PENDING
    """Committed: holds all of it. Lagging: the backup went on without it, and it is caught up later. Failed: cannot be caught up as things are."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes sent to it by this backup."""
    duration_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long that took."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What went wrong there."""
    lacks: Annotated[int, Field(ge=0)] = 0
    """Bytes of the vault that other locations held and this one did not when the backup began. It may be sent so much beside what the quota leaves."""


class SourceStatus(Model):
    """What one source gave."""

    name: Annotated[str, Field(max_length=253)]
    """The source's name in the policy."""
    data_class: DataClass
    """Its data class."""
    files: Annotated[int, Field(ge=0)] = 0
    """How many files were backed up."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows were backed up, where it is a database."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Size of the source."""
    new_bytes: Annotated[int, Field(ge=0)] = 0
    """How much of it the vault did not hold before."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What is worth knowing, for example files that changed while they were read."""


class Progress(Model):
    """How far the reading of the sources is."""

    bytes_done: Annotated[int, Field(ge=0)] = 0
    """Bytes read so far."""
    bytes_total: Annotated[int, Field(ge=0)] | None = None
    """Bytes to read in all, where that is known."""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """The same in percent."""


class ManifestStatus(Model):
    """The manifest that is this backup's commit."""

    name: Annotated[str, Field(max_length=512)]
    """Its name in the stores."""
    sha256: Annotated[str, Field(max_length=64)]
    """SHA-256 of its stored bytes: what a recovery will accept."""


class Announced(ManifestStatus):
    """The manifest that the broker takes from a backup."""

    pod: Annotated[str, Field(max_length=64)]
    """UID of the pod that showed it."""
    at: Time
    """When it did. Another pod may show another one, once nobody can be storing this one any more."""


class WorkerJob(Model):
    """The Kubernetes Job that does the work."""

    name: Annotated[str, Field(max_length=253)]
    """Its name."""
    uid: Annotated[str, Field(max_length=64)] = ""
    """Its UID: a Job of the same name with another UID is neither believed nor served."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """How many pods it has tried."""


MOST_BESIDE: Final = 512
"""Backups of one organisation that a limit on bytes bears at once."""


class QuotaStatus(Model):
    """What the organisation's limit on bytes left for this backup."""

    limit: Annotated[int, Field(ge=0)]
    """Bytes that the organisation's vaults may take, each at the location where it takes the most."""
    stored: Annotated[int, Field(ge=0)]
    """Bytes that they took when this backup began."""
    beside: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MOST_BESIDE)] = (
        Field(default_factory=list)
    )
    """UIDs of BackupJobs that what was measured by then does not count: they share what is left."""

    @property
    def left(self) -> int:
        """Bytes that may be new."""
        return max(0, self.limit - self.stored)


class Status(KindStatus):
    """How far the backup is, and what came of it."""

    phase: Phase = Phase.PENDING
    """Completed: a quorum of locations has confirmed every byte."""
    vault: VaultStatus | None = None
    """Where the backup goes."""
    quorum: Annotated[int, Field(ge=0)] | None = None
    """How many locations have to hold it before it counts."""
    locations: Annotated[list[LocationStatus], Field(max_length=32), keyed_by("name")] = Field(
        default_factory=list
    )
    """One row a location."""
    committed_copies: Annotated[str, Field(max_length=16)] | None = None
    """Locations that hold it, out of those it was meant for, for example 5/5."""
    quota: QuotaStatus | None = None
    """What the limit on bytes left for it, which the broker holds it to; absent where there is no limit."""
    sources: Annotated[list[SourceStatus], Field(max_length=16), keyed_by("name")] = Field(
        default_factory=list
    )
    """One row a source."""
    progress: Progress | None = None
    """How far the reading of the sources is."""
    reported: Reported | None = None
    """What the worker last told the broker, which writes this and nobody else."""
    announced: Announced | None = None
    """The one manifest that the broker takes from this backup. It is written before any location gets it; whether it is the commit, manifest says."""
    manifest: ManifestStatus | None = None
    """The manifest that is this backup's commit: a quorum of locations was seen to hold it."""
    job: WorkerJob | None = None
    """The Kubernetes Job that does the work."""
    point_time: Time | None = None
    """The moment that the recovery point stands for."""
    started_at: Time | None = None
    """When the work began."""
    completed_at: Time | None = None
    """When it ended, well or not."""


class BackupJob(Kind):
    """One backup of one policy, made by the schedule or on demand.

    It is history: what can be recovered is what the vault's manifests say, and deleting this
    object deletes no data.
    """

    definition = Definition(
        kind="BackupJob",
        plural="backupjobs",
        short="bj",
        scope=Scope.NAMESPACED,
        columns=(
            Column("Policy", ".spec.policyRef.name"),
            Column("Reason", ".spec.reason"),
            Column("Phase", ".status.phase"),
            Column("Progress(%)", ".status.progress.percent", "integer"),
            Column("Copies", ".status.committedCopies"),
            Column("Started", ".status.startedAt", "date"),
            Column("Message", ".status.message", priority=1),
            AGE,
        ),
        rules=(name_rule(63, "it becomes a label"),),
        selectable=(".spec.policyRef.name", ".spec.reason", ".status.phase"),
    )

    spec: Spec
    """The order for one backup. It cannot change, save that it can be cancelled."""
    status: Status = Status()
    """How far the backup is, and what came of it."""
