"""Writes the difference: rows leave, children first; rows come and change, parents first.

Foreign keys and constraints stay on and have the last word. The users' triggers are off meanwhile:
they did their work when the rows were first written (docs/decisions/0006).
"""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Catalog, Counter, Trigger, read_counters
from weddingbackup.sources.postgres.connection import Connection
from weddingbackup.sources.postgres.plan import Restored, columns_of
from weddingbackup.sources.postgres.selection import relation

_REFUSED_BY_CONSTRAINT = "23"


def write(connection: Connection, tables: Sequence[Restored], catalog: Catalog) -> list[str]:
    """Make the wedding's rows those that are staged; gives warnings.

    The tables are compared, and parents come before what points to them.

    Raises:
        SourceError: a trigger or rule cannot be kept from firing, or a constraint says no.
    """
    _refuse_rules(tables)
    _switch_triggers(connection, catalog, on=False)
    try:
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for table in tables:
            _keep_extra_columns(connection, table)
        for table in reversed(tables):
            _remove(connection, table)
        for table in tables:
            _fill(connection, table)
        for table in tables:
            _restore_extra_columns(connection, table)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error as error:
        if error.sqlstate and error.sqlstate.startswith(_REFUSED_BY_CONSTRAINT):
            raise _refusal(error) from None
        raise
    _switch_triggers(connection, catalog, on=True)
    return [warning for table in tables for warning in _advance_counters(connection, table)]


def _refuse_rules(tables: Sequence[Restored]) -> None:
    for table in tables:
        if table.chosen.table.rules:
            raise SourceError(
                f"table {table.name} has rules that rewrite what is written to it "
                f"({', '.join(table.chosen.table.rules)}), so its rows would not come back as they "
                f"were; nothing was changed; ALTER TABLE {table.name} DISABLE RULE … meanwhile"
            )


def _switch_triggers(connection: Connection, catalog: Catalog, *, on: bool) -> None:
    """Switch triggers within the transaction: a crash leaves them as they were."""
    for trigger in catalog.triggers:
        if not trigger.may_disable:
            raise SourceError(_trigger_refusal(trigger, catalog))
        verb = ("ENABLE ALWAYS" if trigger.always else "ENABLE") if on else "DISABLE"
        connection.execute(
            sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(
                sql.Identifier(*trigger.table),
                sql.SQL(verb),
                sql.Identifier(trigger.name),
            )
        )


def _trigger_refusal(trigger: Trigger, catalog: Catalog) -> str:
    return (
        f"trigger {trigger.name} of table {trigger.table} would fire for each row that is put back, "
        f"and only the table's owner can switch it off, which user {catalog.user} is not; nothing "
        "was changed; recover with a connection whose user owns the table, or is a member of "
        "the role that does"
    )


def _keep_extra_columns(connection: Connection, table: Restored) -> None:
    """Remember what is in columns that the backup does not know, of rows that leave and come back."""
    if table.extra:
        connection.execute(
            sql.SQL(
                "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {}, {} FROM {} t WHERE {} AND {}"
            ).format(
                sql.Identifier(f"kept_{table.number}"),
                table.key_of("t"),
                columns_of("t", table.extra),
                relation(table.chosen.table),
                table.is_in("vacate", "t"),
                table.is_in("stage", "t"),
            )
        )


def _remove(connection: Connection, table: Restored) -> None:
    connection.execute(
        sql.SQL("DELETE FROM {} t WHERE {}").format(
            relation(table.chosen.table), table.is_in("vacate", "t")
        )
    )


def _fill(connection: Connection, table: Restored) -> None:
    """Update and insert in one statement: foreign keys are checked when both are done."""
    insert = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE (NOT {} OR {})"
    ).format(
        sql.Identifier(*table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
        columns_of("s", [column.name for column in table.columns]),
        table.temporary("stage"),
        table.is_in("present", "s"),
        table.is_in("vacate", "s"),
    )
    # A GENERATED ALWAYS column cannot be set by UPDATE. Rows where it differs were deleted.
    settable = [column.name for column in table.columns if column.identity != "a"]
    if not settable:
        connection.execute(insert)
        return
    update = sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {} AND {} AND NOT {} RETURNING 1").format(
        relation(table.chosen.table),
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name))
            for name in settable
        ),
        table.temporary("stage"),
        table.same_row("t", "s"),
        table.is_in("changed", "s"),
        table.is_in("vacate", "s"),
    )
    # Counting the updated rows makes the updates come first: an inserted row may need their place.
    connection.execute(
        sql.SQL("WITH updated AS ({}) {} AND (SELECT count(*) FROM updated) IS NOT NULL").format(
            update, insert
        )
    )


def _restore_extra_columns(connection: Connection, table: Restored) -> None:
    if table.extra:
        connection.execute(
            sql.SQL("UPDATE {} t SET {} FROM {} k WHERE {}").format(
                relation(table.chosen.table),
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("k", name))
                    for name in table.extra
                ),
                table.temporary("kept"),
                table.same_row("t", "k"),
            )
        )


def _advance_counters(connection: Connection, table: Restored) -> list[str]:
    """Move sequences behind the numbers that came back; they are never moved back."""
    warnings = []
    for counter in read_counters(connection, table.name):
        if counter.column not in {column.name for column in table.columns}:
            continue
        row = connection.execute(
            sql.SQL("SELECT max({}) FROM {}").format(
                sql.Identifier(counter.column), table.temporary("stage")
            )
        ).fetchone()
        highest = row[0] if row else None
        if highest is None or not _behind(counter, highest):
            continue
        if counter.may_set and highest <= counter.maximum:
            connection.execute(
                "SELECT pg_catalog.setval(%s::oid::pg_catalog.regclass, %s)",
                [counter.oid, highest],
            )
        else:
            warnings.append(
                f"sequence {counter.name} may be behind column {counter.column} of table "
                f"{table.name} and could not be moved: SELECT setval('{counter.name}', {highest})"
            )
    return warnings


def _behind(counter: Counter, highest: int) -> bool:
    return counter.increment > 0 and (counter.last is None or counter.last < highest)


def _refusal(error: psycopg.Error) -> SourceError:
    diag = error.diag
    where = f"{diag.schema_name}.{diag.table_name}" if diag.table_name else "a table"
    what = f"constraint {diag.constraint_name}" if diag.constraint_name else "a constraint"
    return SourceError(
        f"{what} of table {where} does not let the rows of the backup come back: "
        f"{diag.message_primary} (SQLSTATE {error.sqlstate}); nothing was changed; a row that they "
        "point to is gone, or a row that is not this wedding's holds a value that must be unique"
    )
