"""Puts the rows of one wedding back: in one transaction, and without touching another wedding's.

The restored files are loaded into temporary tables, compared with what is there by primary key, and
only the difference is written. While it is, nobody else writes to these tables; everybody reads.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from pydantic import ValidationError

from weddingbackup.resources.common import Table
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres import meta
from weddingbackup.sources.postgres.catalog import Catalog, all_tables, read_catalog
from weddingbackup.sources.postgres.connection import (
    Connection,
    cancel,
    configure,
    connect,
    plain_errors,
)
from weddingbackup.sources.postgres.difference import TableChanges, compare
from weddingbackup.sources.postgres.fences import (
    Fences,
    read_fences,
    refuse_after,
    refuse_before,
    try_values,
)
from weddingbackup.sources.postgres.meta import Meta
from weddingbackup.sources.postgres.plan import Restored, plan, targets
from weddingbackup.sources.postgres.selection import name_of, relation
from weddingbackup.sources.postgres.staging import stage
from weddingbackup.sources.postgres.write import write

_ATTEMPTS: Final = 8
_LOCK_TIMEOUT: Final = "5s"
_LONGEST_PAUSE: Final = 5.0
_IN_THE_WAY: Final = ("55P03", "40P01", "40001")
"""Somebody holds a lock, a deadlock, a conflict: the same may succeed a moment later."""


@dataclass(frozen=True)
class Applied:
    """What was done to each table, by its name `schema.table`."""

    tables: dict[str, TableChanges]
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that the wedding has now."""
        return sum(changes.rows for changes in self.tables.values())


def apply(
    directory: Path,
    uri: str,
    *,
    schema: str | None = None,
    tables: Sequence[Table] | None = None,
    fence: Sequence[Table] | None = None,
    parents_of_all: Collection[tuple[str, str]] = (),
    progress: Callable[[int], None] = lambda _: None,
    opened: Callable[[Callable[[], None]], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Applied:
    """Make the wedding's rows what they were when the files in `directory` were taken.

    Args:
        directory: with `meta.json` and `tables/`, as a `PostgresSource` gave them.
        uri: a libpq connection string; the tables have to be there.
        schema: all tables are in this one instead of where they came from.
        tables: which rows are the wedding's, in place of what `directory` says of itself.
        fence: of a shared database, which rows are the organisation's at all (rules/databases.py);
            then nothing of `directory` is believed, and `tables` has to be given. Each row that is
            written, changed or deleted lies inside both before and after, or nothing happens.
        parents_of_all: schema and name of tables whose rows anybody's rows may point to, in spite
            of the fence.
        progress: told the bytes of each batch that was loaded.
        opened: told how to break off, from another thread, what the database is being asked; then
            nothing is changed.
        sleep: waits that many seconds before another attempt.

    Raises:
        SourceError: it cannot be done; nothing was changed.
        SourceUnavailableError: the database is away or too busy; nothing was changed.
    """
    description = _read_meta(directory)
    if fence is not None and tables is None:
        raise ValueError("files that are not believed do not say which rows are the wedding's")
    wanted = targets(tables or [table.table for table in description.tables], schema)
    connection = connect(uri)
    try:
        opened(lambda: cancel(connection))
        with plain_errors("recovering rows"), connection.transaction():
            path = _search_path(connection)
            configure(connection, shared=fence is not None)
            fences = None if fence is None else read_fences(connection, fence)
            catalog, restored = _plan(connection, description, wanted, schema, fences)
            try_values(connection, [*(fences or {}).values()])
            for table in restored:
                stage(connection, table, directory, description.encoding, progress)
            _set(connection, "lock_timeout", _LOCK_TIMEOUT)
            guarded = fences and {n: f for n, f in fences.items() if n not in parents_of_all}
            return _persistently(
                connection, lambda: _exchange(connection, restored, catalog, path, guarded), sleep
            )
    finally:
        connection.close()


def _read_meta(directory: Path) -> Meta:
    try:
        description = Meta.model_validate_json((directory / meta.FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise SourceError(f"{directory / meta.FILE} cannot be read: {error}") from None
    if description.version != meta.VERSION:
        raise SourceError(
            f"the rows were backed up in version {description.version} of their format, which this "
            "release does not know; use a newer one"
        )
    for table in description.tables:
        # Else a file of whoever reads this could be named, and come back in an error or as rows.
        if not meta.is_file_name(table.file):
            raise SourceError(f"{meta.FILE} names no file of its own: {table.file!r}")
    return description


def _plan(
    connection: Connection,
    description: Meta,
    tables: Sequence[Table],
    schema: str | None,
    fences: Fences | None,
) -> tuple[Catalog, list[Restored]]:
    names = [name_of(table) for table in tables]
    catalog = read_catalog(connection, names)
    missing = len(catalog.tables) < len(names) and fences is None
    known = all_tables(connection) if missing else []
    return catalog, plan(description, tables, catalog, known, schema=schema, fences=fences)


def _persistently(
    connection: Connection, attempt: Callable[[], Applied], sleep: Callable[[float], None]
) -> Applied:
    """Try until nobody is in the way; what is staged stays, as each attempt is a savepoint."""
    for number in range(_ATTEMPTS - 1):
        try:
            with connection.transaction():
                return attempt()
        except psycopg.Error as error:
            if error.sqlstate not in _IN_THE_WAY:
                raise
        sleep(min(_LONGEST_PAUSE, 0.1 * 2**number) * random.uniform(0.5, 1))  # noqa: S311  jitter
    with connection.transaction():
        return attempt()


def _exchange(
    connection: Connection,
    restored: Sequence[Restored],
    catalog: Catalog,
    path: str,
    fences: Fences | None,
) -> Applied:
    _lock(connection, restored)
    changes = compare(connection, restored, catalog)
    warnings: list[str] = []
    if any(change.any for change in changes.values()):
        if fences is not None:
            refuse_before(connection, restored, catalog, fences)
        # Functions that constraints and defaults call may find their helpers by name.
        _set(connection, "search_path", path)
        warnings = write(connection, restored, catalog)
        _set(connection, "search_path", "")
        if fences is not None:
            refuse_after(connection, restored, catalog, fences)
    return Applied({str(name): change for name, change in changes.items()}, warnings)


def _lock(connection: Connection, restored: Sequence[Restored]) -> None:
    """Keep writers out, in one order for all recoveries; the lock ends with the transaction.

    A row that the application adds to the wedding would otherwise fall between difference and
    writing, and be neither kept nor removed.
    """
    ordered = sorted(restored, key=lambda table: table.name)
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(
            sql.SQL(", ").join(relation(table.chosen.table) for table in ordered)
        )
    )


def _search_path(connection: Connection) -> str:
    row = connection.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    assert row is not None
    return str(row[0])


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
