"""What the engine reports when it is done, or when it could not be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from weddingbackup.resources.words import DataClass, LocationPhase


_Path = bytes  # below, `bytes` is the name of a member


@dataclass(slots=True)
class LocationResult:
    """How far one location came with a backup. Bytes are those sent to it by this run."""

    name: str
    phase: LocationPhase
    bytes: int = 0
    seconds: float = 0.0
    message: str | None = None


@dataclass(slots=True)
class SourceResult:
    """What one source held. `new_bytes` is what this run had to read and store, before packing."""

    name: str
    data_class: DataClass
    files: int = 0
    bytes: int = 0
    new_bytes: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class BackupResult:
    """A committed recovery point.

    Attributes:
        manifest: the manifest's object name.
        sha256: hexadecimal, of its bytes.
        point_time: when the reading of the last source ended; what is recovered is not newer.
        adopted: an earlier run of this job had written the manifest; this one only spread it.
    """

    manifest: str
    sha256: str
    started_at: datetime
    point_time: datetime
    locations: list[LocationResult]
    sources: list[SourceResult]
    adopted: bool = False


@dataclass(slots=True)
class RestoreResult:
    """What came back from where.

    Attributes:
        files: all that are in place, each verified; `bytes` likewise.
        kept_files: of these, what was there already and matched; `kept_bytes` likewise.
        locations: bytes read from each location.
        extra: of these, what was asked of a second location since the first was late, at most.
        damaged: (location, object) whose bytes did not verify or were missing there.
        failed: (path, problem) of what could not be brought back.
        warnings: what the target could not keep, and the source's own warnings.
    """

    files: int = 0
    bytes: int = 0
    kept_files: int = 0
    kept_bytes: int = 0
    locations: dict[str, int] = field(default_factory=dict)
    extra: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[_Path, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
