"""BackupAlert: one condition that needs a person."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, Time
from weddingbackup.resources.common import NameRef
from weddingbackup.resources.kind import AGE, Column, Definition, Kind, KindStatus, Scope


class Severity(StrEnum):
    """How much an alert matters."""

    INFO = "Info"
    WARNING = "Warning"
    CRITICAL = "Critical"


class Phase(StrEnum):
    """Whether somebody has to look at an alert."""

    OPEN = "Open"
    ACKNOWLEDGED = "Acknowledged"
    RESOLVED = "Resolved"


class Spec(Model):
    """What happened and what to do. The operator writes it; people only write acknowledgedBy."""

    policy_ref: NameRef | None = None
    """The WeddingBackupPolicy, in the same namespace, that it is about."""
    severity: Severity
    """Critical: data is lost or about to be unprotected. Warning: will become so. Info: good to know."""
    summary: Annotated[str, Field(min_length=1, max_length=1024)]
    """What happened, to what."""
    action: Annotated[str, Field(max_length=2048)] = ""
    """What to do about it."""
    acknowledged_by: Annotated[str, Field(max_length=253)] | None = None
    """Who is looking after it. Setting it stops reminders; the alert resolves itself when its cause is gone."""


class Status(KindStatus):
    """How often it was seen, and whether it still is."""

    phase: Phase = Phase.OPEN
    """Open until somebody is named in acknowledgedBy; Resolved when the cause is gone."""
    count: Annotated[int, Field(ge=0)] = 0
    """How often it was seen."""
    first_seen: Time | None = None
    """When it was first seen."""
    last_seen: Time | None = None
    """When it was last seen."""


class BackupAlert(Kind):
    """One condition that needs a person. It resolves itself when its cause is gone."""

    definition = Definition(
        kind="BackupAlert",
        plural="backupalerts",
        short="ba",
        scope=Scope.NAMESPACED,
        columns=(
            Column("Severity", ".spec.severity"),
            Column("Summary", ".spec.summary"),
            Column("Phase", ".status.phase"),
            Column("Count", ".status.count", "integer"),
            Column("Last-Seen", ".status.lastSeen", "date"),
            Column("Acknowledged-By", ".spec.acknowledgedBy", priority=1),
            AGE,
        ),
        selectable=(".spec.severity", ".status.phase"),
    )

    spec: Spec
    """What happened and what to do."""
    status: Status = Status()
    """How often it was seen, and whether it still is."""
