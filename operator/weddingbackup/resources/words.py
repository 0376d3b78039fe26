"""The words that kinds, stores and the engine share: no model, so that the engine starts without any."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
"""The first moment after all that are read."""


class DataClass(StrEnum):
    """What a source's data is for. The order is the order of recovery; Guests is personal data."""

    TIMELINE = "Timeline"
    GUESTS = "Guests"
    CONTRACTS = "Contracts"
    MESSAGES = "Messages"
    PORTFOLIO = "Portfolio"
    OTHER = "Other"


class Provider(StrEnum):
    """Which protocol a location speaks, and whose."""

    S3 = "S3"
    R2 = "R2"
    GCS = "GCS"
    AZURE = "Azure"


class Privilege(StrEnum):
    """What a worker may do: App keeps to one ordinary user, Root can restore owners of files."""

    APP = "App"
    ROOT = "Root"


class LocationPhase(StrEnum):
    """How far one backup is at one location."""

    PENDING = "Pending"
    UPLOADING = "Uploading"
    COMMITTED = "Committed"
    LAGGING = "Lagging"
    FAILED = "Failed"


class CheckLevel(StrEnum):
    """How much of a vault a check looks at."""

    PROVIDER = "Provider"
    """What is listed, its sizes, and the checksums that the providers tell: reads next to nothing."""
    SAMPLE = "Sample"
    """Also reads a share of the bytes."""
    FULL = "Full"
    """Reads every byte."""


class Tier(StrEnum):
    """How cheap an object lies, and how dear it is to read: the warmest first, in no provider's words."""

    HOT = "Hot"
    COOL = "Cool"
    COLD = "Cold"
    ARCHIVE = "Archive"
    """At most providers it has to be asked back, and is away for hours."""
    DEEP_ARCHIVE = "DeepArchive"
