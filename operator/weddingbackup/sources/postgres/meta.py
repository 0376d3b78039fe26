"""What `meta.json` says: how the rows were taken, and how their files are to be read.

Each table's rows are a file in PostgreSQL's COPY text format, one row a line, in the order of the
table's key, in the database's own encoding.
"""

from typing import Final
from urllib.parse import quote

from pydantic import Field

from weddingbackup.resources.base import Model, Time
from weddingbackup.resources.common import Table

VERSION: Final = 1
FILE: Final = "meta.json"
DIRECTORY: Final = "tables"
_LONGEST_NAME: Final = 240


class ColumnMeta(Model):
    """One column of a file, in the file's order."""

    name: str
    type: str
    """As PostgreSQL writes it, with its modifiers."""


class TableMeta(Model):
    """One table's file, and the choice of rows that is in it."""

    table: Table
    file: str
    """Its name within the directory of tables."""
    rows: int
    columns: list[ColumnMeta]
    key: list[str]
    """The columns that tell rows apart."""


class Meta(Model):
    """One snapshot of the chosen rows.

    A change belongs to what came after exactly if its transaction is not visible in `snapshot`.
    Reading changes from `lsn` on alone would not do: a commit is written before it is visible, so
    some transactions that the snapshot does not see may have been written before `lsn`.
    """

    version: int = VERSION
    time: Time
    """When the snapshot was taken, by the server's clock."""
    lsn: str
    """Position in the write-ahead log just before the snapshot."""
    snapshot: str
    """pg_current_snapshot(): which transactions it sees."""
    system_identifier: str
    """Which cluster, and all its replicas, this is."""
    timeline: int
    database: str
    server_version: int
    encoding: str
    tables: list[TableMeta] = Field(default_factory=list)


def file_name(table: Table, number: int) -> str:
    """Name a table's file: readable, safe for any file system, and short enough."""
    schema, name = (
        quote(part, safe=" ").replace(".", "%2E") for part in (table.schema_name, table.name)
    )
    whole = f"{schema}.{name}.copy"
    return whole if len(whole) <= _LONGEST_NAME else f"{number}.copy"


def is_file_name(name: str) -> bool:
    """Whether a table's file may have this name: it names nothing outside of its directory."""
    return name not in {"", ".", ".."} and "/" not in name and "\0" not in name
