"""Small shapes that several kinds, tasks and reports share."""

from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, OneOf, Time
from weddingbackup.resources.fields import ByteRate, ObjectName, Says
from weddingbackup.resources.words import (
    CheckLevel,
    DataClass,
    LocationPhase,
    Privilege,
    Provider,
)

# Who needs models anyway finds the words here, too.
__all__ = ["CheckLevel", "DataClass", "LocationPhase", "Privilege", "Provider"]


class SecretRef(Model):
    """A Secret, by name."""

    name: ObjectName
    """The Secret's name."""


class LocationLimits(Model):
    """What one worker may use of the line to a location. Workers do not share it."""

    upload_bytes_per_second: ByteRate | None = None
    """Bytes a second that a worker sends at most, for example 40Mi."""
    download_bytes_per_second: ByteRate | None = None
    """Bytes a second that a worker reads at most, for example 80Mi."""
    connections: Annotated[int, Field(ge=1, le=64)] | None = None
    """Requests that a worker has under way at once, at most; without it, 8."""


class SecretKeyRef(Model):
    """One key of a Secret."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[
        str,
        Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$"),
        Says("write a key of the Secret's data: letters, digits, hyphens, dots and underscores"),
    ] = "uri"
    """The key inside the Secret."""


class NameRef(Model):
    """Another object of the same namespace, by name."""

    name: ObjectName
    """The object's name."""


class DatabaseRef(Model):
    """A BackupDatabase, by name."""

    name: ObjectName
    """The BackupDatabase's name."""


SqlName = Annotated[str, Field(min_length=1, max_length=63)]
"""An identifier as PostgreSQL keeps it: at most 63 bytes; quoted by us wherever it is used."""


MatchValue = Annotated[str, Field(max_length=1024)]


class Via(Model):
    """Rows belong to the wedding because the row that they point to does."""

    table: SqlName
    """The table pointed to: the name of another entry of `tables`, in the same schema."""
    foreign_key: SqlName
    """The column that points to it, for example event_id; it is compared with that table's primary key."""


class Table(OneOf):
    """The rows of one table that belong to the wedding."""

    members = ("match", "via")

    schema_name: Annotated[SqlName, Field(alias="schema")] = "public"
    """The schema that the table is in."""
    name: SqlName
    """The table's name."""
    match: Annotated[dict[str, MatchValue], Field(min_length=1, max_length=8)] | None = None
    """Rows whose columns have these values, for example wedding_id: w-2026-1205-017."""
    via: Via | None = None
    """Rows that point to chosen rows of another table by a foreign key."""


class VaultStatus(Model):
    """The vault that an object works with."""

    id: Annotated[str, Field(max_length=64)]
    """The vault's id."""
    prefix: Annotated[str, Field(max_length=253)]
    """The vault's place below each location's own prefix."""


class Reported(Model):
    """What the worker last told the broker."""

    at: Time
    """When it did."""
    bytes_done: Annotated[int, Field(ge=0)] = 0
    """Bytes done so far."""
    bytes_total: Annotated[int, Field(ge=0)] | None = None
    """Bytes to do in all, where that is known."""
    files: Annotated[int, Field(ge=0)] | None = None
    """Files done so far."""
    locations: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Bytes sent to each location so far, or read from it."""
