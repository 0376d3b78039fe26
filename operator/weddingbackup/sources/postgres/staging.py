"""Brings restored files into temporary tables, and proves that nothing was lost on the way."""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres import meta
from weddingbackup.sources.postgres.connection import Connection, passes
from weddingbackup.sources.postgres.plan import Restored, columns_of, type_changes
from weddingbackup.sources.postgres.selection import relation

_BATCH: Final = 1 << 20
_WRAP: Final = 1 << 128


def stage(
    connection: Connection,
    restored: Restored,
    directory: Path,
    encoding: str,
    progress: Callable[[int], None],
) -> None:
    """Load a table's file into its temporary table `stage`.

    The rows are then read back, and have to be the very lines of the file: where a column's type
    has become narrower since (fewer digits, no time zone), PostgreSQL would round without a word.

    Raises:
        SourceError: the file is missing or short, or its rows do not fit the columns any more.
    """
    names = [column.name for column in restored.columns]
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} t WITH NO DATA").format(
            sql.Identifier(f"stage_{restored.number}"),
            columns_of("t", names),
            relation(restored.chosen.table),
        )
    )
    options = sql.SQL("(FORMAT text, ENCODING {})").format(sql.Literal(encoding))
    target = sql.SQL("COPY {} ({}) FROM STDIN {}").format(
        restored.temporary("stage"), sql.SQL(", ").join(map(sql.Identifier, names)), options
    )
    try:
        rows, sent = _load(
            connection, target, directory / meta.DIRECTORY / restored.meta.file, progress
        )
    except psycopg.Error as error:
        if passes(error):
            raise
        raise SourceError(_does_not_fit(restored)) from None
    if rows != restored.meta.rows:
        raise SourceError(
            f"the file of table {restored.name} has {rows} rows, the backup had "
            f"{restored.meta.rows}; nothing was changed"
        )
    source = sql.SQL("COPY (SELECT {} FROM {} t) TO STDOUT {}").format(
        columns_of("t", names), restored.temporary("stage"), options
    )
    with connection.cursor().copy(source) as lines:
        if _digest(lines) != sent:
            raise SourceError(_does_not_fit(restored))
    connection.execute(sql.SQL("ANALYZE {}").format(restored.temporary("stage")))


def _load(
    connection: Connection, target: sql.Composed, file: Path, progress: Callable[[int], None]
) -> tuple[int, int]:
    cursor = connection.cursor()
    sent = 0
    try:
        with file.open("rb") as lines, cursor.copy(target) as copy:
            while batch := lines.readlines(_BATCH):
                data = b"".join(batch)
                copy.write(data)
                progress(len(data))
                sent = (sent + _digest(batch)) % _WRAP
    except FileNotFoundError:
        raise SourceError(f"the backup's file {file.name} was not restored") from None
    return cursor.rowcount, sent


def _digest(lines: Iterable[bytes | bytearray | memoryview]) -> int:
    """Sum of the lines' hashes: the same for the same lines in any order."""
    total = 0
    for line in lines:
        total += int.from_bytes(blake2b(line, digest_size=16).digest(), "big")
    return total % _WRAP


def _does_not_fit(restored: Restored) -> str:
    changes = "; ".join(type_changes(restored)) or "the types' settings differ"
    return (
        f"the rows of table {restored.name} do not fit its columns as they are now, and would not "
        f"come back as they were ({changes}); nothing was changed; "
        "recover into a database with the tables as they were"
    )
