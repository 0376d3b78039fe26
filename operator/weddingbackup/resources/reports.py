"""What a worker tells: progress while it runs (a line of its log), and one report at its end.

The report is JSON in the container's termination message, which Kubernetes cuts at 4096 bytes:
the writer shortens messages to stay below `LIMIT_BYTES`. Workers run beside people who may change
what they say, so a reader treats all of it as claims; one that breaks a bound is no report.
"""

from enum import IntEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from weddingbackup.resources.base import Model, Reason, Time
from weddingbackup.resources.common import DataClass, LocationPhase

LIMIT_BYTES: Final = 4000

# What a report claims has to fit the status that repeats it, or the status could not be written.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExitCode(IntEnum):
    """How a worker ended; the Job's podFailurePolicy reads it."""

    DONE = 0
    REFUSED = 3
    """Trying again cannot help: bad configuration, missing table, denied, wrong key, no such point."""
    FAILED = 4
    """A retry may mend it."""


class ErrorReport(Model):
    """Why a worker did not do its task."""

    code: Reason
    """One CamelCase word, fit for a condition's reason."""
    message: str
    """What happened, to what, and what to do."""


class ProgressLine(Model):
    """A line of the worker's log, at most one a second."""

    event: Literal["progress"] = "progress"
    bytes_done: Count
    bytes_total: Count | None = None
    files: Count | None = None
    locations: dict[str, Count] = Field(default_factory=dict)
    """Bytes sent to (or read from) each location, by its name."""


class LocationReport(Model):
    """What came of one backup at one location: Committed, Lagging or Failed."""

    name: str
    phase: LocationPhase
    bytes: Count = 0
    seconds: Seconds = 0.0
    message: str | None = None


class SourceReport(Model):
    """What one source gave; `new_bytes` is what the vault did not hold yet, before compression."""

    name: str
    data_class: DataClass
    files: Count = 0
    rows: Count | None = None
    bytes: Count = 0
    new_bytes: Count = 0
    warnings: list[str] = Field(default_factory=list)


class BackupReport(Model):
    """The end of a backup: committed if and only if `manifest` and `sha256` are there."""

    manifest: Annotated[str, Field(max_length=512)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    started_at: Time
    finished_at: Time
    point_time: Time | None = None
    """The moment that the point stands for: when the last source had been read."""
    locations: list[LocationReport] = Field(default_factory=list, max_length=32)
    sources: list[SourceReport] = Field(default_factory=list, max_length=16)
    error: ErrorReport | None = None


class DamagedObject(Model):
    """An object that did not verify at one location."""

    location: str
    object: str


class RestoreReport(Model):
    """The end of one source's recovery; `files` and `bytes` are in place and verified."""

    source: str
    files: Count = 0
    rows: Count | None = None
    bytes: Count = 0
    kept_files: Count = 0
    """Of these, files that were there already with the same bytes."""
    kept_bytes: Count = 0
    seconds: Seconds = 0.0
    locations: dict[str, Count] = Field(default_factory=dict)
    """Bytes read from each location, by its name."""
    damaged: list[DamagedObject] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: ErrorReport | None = None


class CopyReport(Model):
    """The end of a copy to one location."""

    target: str
    objects: Count = 0
    """Sent there."""
    bytes: Count = 0
    verified: Count = 0
    """Objects that were read there and are good; 0 where it was not told to verify."""
    damaged: Count = 0
    """Objects that were there, in no good copy."""
    replaced: Count = 0
    """Those of them that have a good replacement there now."""
    seconds: Seconds = 0.0
    error: ErrorReport | None = None


class CheckedLocation(Model):
    """What a check found, and mended, at one location."""

    name: str
    objects: Count = 0
    """Looked at there."""
    bytes: Count = 0
    """Read there."""
    missing: Count = 0
    damaged: Count = 0
    """Of the wrong size, or with bytes that are not those of their name."""
    replaced: Count = 0
    """Those of the missing and damaged that have a good copy there now, which was read back."""
    error: str | None = None
    """Why not all could be looked at; then the other numbers say nothing of the rest."""


class CheckReport(Model):
    """The end of a check."""

    locations: list[CheckedLocation] = Field(default_factory=list, max_length=32)
    lost: list[str] = Field(default_factory=list, max_length=20)
    """Names of objects that are good nowhere, the first of them."""
    lost_count: Count = 0
    lossy: list[str] = Field(default_factory=list, max_length=10)
    """Manifests of the points that needed them, the newest of them."""
    seconds: Seconds = 0.0
    error: ErrorReport | None = None


class CollectReport(Model):
    """The end of a collection."""

    points: Count = 0
    """Recovery points that expired and were removed."""
    objects: Count = 0
    """Removed, at all locations together; those of the points among them."""
    bytes: Count = 0
    marked: Count = 0
    """Objects that the next run will remove, if nobody needs them by then."""
    locked: Count = 0
    """Objects that a lock holds; they are tried again."""
    kept: Count = 0
    """Recovery points that stay."""
    seconds: Seconds = 0.0
    error: ErrorReport | None = None


class EraseReport(Model):
    """The end of an erasure: how many objects went, over all locations."""

    objects: Count = 0
    error: ErrorReport | None = None
