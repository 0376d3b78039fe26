"""Reads the rows of one wedding as files: all tables at one moment, several at once.

One connection holds a snapshot open; each file that is opened reads under that same snapshot on a
connection of its own, so that tables can be read in parallel and still belong together.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psycopg
from psycopg import sql

from weddingbackup.resources.common import Table
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import meta
from weddingbackup.sources.postgres.catalog import all_tables, read_catalog
from weddingbackup.sources.postgres.connection import (
    Connection,
    cancel,
    configure,
    connect,
    plain_errors,
)
from weddingbackup.sources.postgres.fences import read_fences, try_values
from weddingbackup.sources.postgres.meta import ColumnMeta, Meta, TableMeta, file_name
from weddingbackup.sources.postgres.selection import (
    Chosen,
    choose,
    condition,
    name_of,
    relation,
)
from weddingbackup.vault.entries import Entry, EntryType, Reader, Source, shown

Buffer = bytes | bytearray | memoryview

_NO_SUCH_SNAPSHOT: Final = ("22023", "42704")


class PostgresSource(Source):
    """A source of `meta.json` and one file a table; a context manager.

    Args:
        uri: a libpq connection string.
        tables: which rows, as a policy says it.
        fence: of a shared database, which rows are the organisation's at all (rules/databases.py);
            of the others none is seen, whatever `tables` says. None where there are no others.

    Raises:
        SourceError: on entering: the policy and the database do not fit each other.
        SourceUnavailableError: on entering, or while reading: trying again may help.
    """

    def __init__(
        self, uri: str, tables: Sequence[Table], fence: Sequence[Table] | None = None
    ) -> None:
        self._uri = uri
        self._tables = tables
        self._fence = fence
        self._reading: set[Connection] = set()

    def __enter__(self) -> Self:
        """Connect, take the snapshot, and see whether all that the policy names is there."""
        self._connection = connect(self._uri)
        try:
            with plain_errors("taking a snapshot"):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the snapshot go."""
        self._connection.close()

    def root(self) -> Entry:
        """Give the top directory."""
        return self._entry(b"", EntryType.DIRECTORY)

    def children(self, path: bytes) -> list[Entry]:
        """Give `meta.json` and the tables' directory, or the tables' files."""
        if not path:
            tables = self._entry(meta.DIRECTORY.encode(), EntryType.DIRECTORY)
            return [self._meta_entry(), tables]
        entries = [
            self._entry(table.file.encode(), EntryType.FILE, size)
            for table, size in zip(self._meta.tables, self._sizes, strict=True)
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def open(self, path: bytes, entry: Entry) -> Reader:
        """Open a file; a table's is read from the database while it is read from here."""
        if path == meta.FILE.encode():
            return _BytesReader(self._meta_json, self._meta_entry())
        for table, chosen in zip(self._meta.tables, self._chosen, strict=True):
            if table.file.encode() == entry.name:
                return _TableReader(
                    self._uri,
                    self._exported,
                    self._copy(chosen),
                    entry,
                    table,
                    shared=self._fence is not None,
                    reading=self._reading,
                )
        raise SourceError(f"there is no file {shown(path)} in this source")

    def files(self) -> list[str]:
        """Give the names of the tables' files, in the order of the tables."""
        return [table.file for table in self._meta.tables]

    def cancel(self) -> None:
        """Break off what is being asked of the database, from another thread; it fails at once."""
        for connection in (self._connection, *tuple(self._reading)):
            cancel(connection)

    def estimate(self) -> int | None:
        """Give the bytes that the rows take in the database."""
        return sum(self._sizes) + len(self._meta_json)

    def facts(self) -> dict[str, Any]:
        """Give the moment in the database's own terms, and the rows a table."""
        facts = self._meta.model_dump(mode="json", by_alias=True, exclude={"tables"})
        rows = {str(name_of(table.table)): table.rows for table in self._meta.tables}
        return {
            "kind": "postgres",
            **facts,
            "tables": rows,
            "rows": sum(rows.values()),
            "warnings": self._warnings(),
        }

    def _prepare(self) -> None:
        connection = self._connection
        position = _read_position(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        configure(connection, shared=self._fence is not None)
        self._exported, snapshot, time = _one(
            connection,
            "SELECT pg_export_snapshot(), pg_current_snapshot()::text, clock_timestamp()",
        )
        catalog = read_catalog(connection, [name_of(table) for table in self._tables])
        fences = None if self._fence is None else read_fences(connection, self._fence)
        # Of a shared database, no names are given away that its administrator has not listed.
        missing = len(catalog.tables) < len(self._tables) and fences is None
        known = all_tables(connection) if missing else ()
        self._chosen = choose(self._tables, catalog, known, fences=fences)
        try_values(connection, [*self._chosen, *(fences or {}).values()])
        system, timeline, database, encoding = position[1:]
        tables, self._sizes = self._measure()
        self._meta = Meta(
            time=time,
            lsn=position[0],
            snapshot=snapshot,
            system_identifier=system,
            timeline=timeline,
            database=database,
            server_version=connection.info.server_version,
            encoding=encoding,
            tables=tables,
        )
        self._meta_json = self._meta.to_json().encode()
        self._mtime = nanoseconds(time)

    def _measure(self) -> tuple[list[TableMeta], list[int]]:
        """Count rows and bytes, by the snapshot: what a file must hold, and about how large it is."""
        tables, sizes = [], []
        for number, (table, chosen) in enumerate(zip(self._tables, self._chosen, strict=True)):
            columns = chosen.table.stored
            size = sql.SQL(" + ").join(
                sql.SQL("coalesce(pg_column_size({}), 2)").format(sql.Identifier("t", column.name))
                for column in columns
            )
            rows, size_ = _one(
                self._connection,
                sql.SQL("SELECT count(*), coalesce(sum({}), 0)::int8 FROM {} t WHERE {}").format(
                    size, relation(chosen.table), condition(chosen, "t")
                ),
            )
            tables.append(
                TableMeta(
                    table=table,
                    file=file_name(table, number),
                    rows=rows,
                    columns=[ColumnMeta(name=c.name, type=c.type) for c in columns],
                    key=[column.name for column in chosen.table.key],
                )
            )
            sizes.append(size_)
        return tables, sizes

    def _copy(self, chosen: Chosen) -> sql.Composed:
        columns = (sql.Identifier("t", column.name) for column in chosen.table.stored)
        key = (sql.Identifier("t", column.name) for column in chosen.table.key)
        return sql.SQL(
            "COPY (SELECT {} FROM {} t WHERE {} ORDER BY {}) TO STDOUT (FORMAT text, ENCODING {})"
        ).format(
            sql.SQL(", ").join(columns),
            relation(chosen.table),
            condition(chosen, "t"),
            sql.SQL(", ").join(key),
            sql.Literal(self._meta.encoding),
        )

    def _warnings(self) -> list[str]:
        return [
            f"table {chosen.name}: no row has "
            + " and ".join(f"{match.column.name} = {match.value}" for match in chosen.matches)
            for table, chosen in zip(self._meta.tables, self._chosen, strict=True)
            if not table.rows and chosen.matches
        ]

    def _meta_entry(self) -> Entry:
        return self._entry(meta.FILE.encode(), EntryType.FILE, len(self._meta_json))

    def _entry(self, name: bytes, type_: EntryType, size: int = 0) -> Entry:
        mode = 0o700 if type_ is EntryType.DIRECTORY else 0o600
        return Entry(name=name, type=type_, size=size, mode=mode, mtime_ns=self._mtime)


class _BytesReader:
    """A file that is in memory."""

    def __init__(self, data: bytes, entry: Entry) -> None:
        self._rest = memoryview(data)
        self._entry = entry

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def finish(self) -> Entry:
        return self._entry

    def close(self) -> None:
        """Nothing is held."""


class _TableReader:
    """One table's rows as they come from the database."""

    def __init__(
        self,
        uri: str,
        snapshot: str,
        statement: sql.Composed,
        entry: Entry,
        table: TableMeta,
        *,
        shared: bool,
        reading: set[Connection],
    ) -> None:
        self._entry = entry
        self._doing = f"reading table {name_of(table.table)}"
        self._expected = table.rows
        self._rows = 0
        self._size = 0
        self._rest = memoryview(b"")
        self._shared = shared
        self._reading = reading
        self._connection = connect(uri)
        reading.add(self._connection)
        self._stack = ExitStack()
        try:
            with plain_errors(self._doing):
                self._read = self._begin(snapshot, statement)
        except BaseException:
            self.close()
            raise

    def readinto(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                with plain_errors(self._doing):
                    self._rest = memoryview(self._read())
                if not self._rest:
                    break
                self._rows += 1
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        self._size += filled
        return filled

    def finish(self) -> Entry:
        if self._rows != self._expected:
            raise SourceUnavailableError(
                f"while {self._doing}: {self._rows} rows came instead of {self._expected}"
            )
        return msgspec.structs.replace(self._entry, size=self._size)

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._stack.close()
        self._reading.discard(self._connection)
        self._connection.close()

    def _begin(self, snapshot: str, statement: sql.Composed) -> Callable[[], Buffer]:
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            self._connection.execute(
                sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot))
            )
        except psycopg.Error as error:
            if error.sqlstate in _NO_SUCH_SNAPSHOT:
                # It lives as long as the connection that exported it.
                raise SourceUnavailableError(
                    f"while {self._doing}: the connection that held the snapshot was lost"
                ) from None
            raise
        configure(self._connection, shared=self._shared)
        copy = self._stack.enter_context(self._connection.cursor().copy(statement))
        return copy.read


def _read_position(connection: Connection) -> tuple[Any, ...]:
    """Give log position, system identifier, timeline, database and encoding.

    Asked before the snapshot, so that the position is never later than it.
    """
    return _one(
        connection,
        "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        " ELSE pg_current_wal_lsn() END)::text,"
        " (SELECT system_identifier::text FROM pg_control_system()),"
        " (SELECT timeline_id FROM pg_control_checkpoint()),"
        " current_database()::text, getdatabaseencoding()::text",
    )


def _one(connection: Connection, query: Any) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


def nanoseconds(time: datetime) -> int:
    """Give a moment as nanoseconds since the epoch, exactly."""
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000
