"""Keeps a recovery inside its organisation's rows, in a database that organisations share.

What is put back may be anything: it comes from a pod that its organisation can enter. So nothing is
believed of it. Which rows may be touched follows from the fence alone, before the writing and after
it, in one transaction. What a refusal cannot hide: that a key, or another value that has to be
unique, is taken by somebody (PostgreSQL would say so, too); never by whom, nor anything of the row.
"""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from weddingbackup.resources.common import Table
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import (
    Catalog,
    Counter,
    ForeignKey,
    Name,
    read_catalog,
    read_counters,
)
from weddingbackup.sources.postgres.connection import (
    Connection,
    configure,
    connect,
    passes,
    plain_errors,
    translate,
)
from weddingbackup.sources.postgres.plan import Restored, columns_of
from weddingbackup.sources.postgres.selection import (
    Chosen,
    choose,
    condition,
    equal,
    name_of,
    points_to,
    relation,
)

Fences = Mapping[Name, Chosen]


def read_fences(connection: Connection, fence: Sequence[Table]) -> dict[Name, Chosen]:
    """Resolve what an administrator says of whose rows are.

    Raises:
        SourceError: it does not fit what the database has.
    """
    catalog = read_catalog(connection, [name_of(table) for table in fence])
    return {chosen.name: chosen for chosen in choose(fence, catalog, exact=True)}


def look(uri: str, tables: Sequence[Table]) -> None:
    """See whether all tables are there, with the columns and foreign keys that say whose rows are.

    Raises:
        SourceError: they are not, or this connection cannot see them.
        SourceUnavailableError: nobody answers.
    """
    connection = connect(uri)
    try:
        with plain_errors("looking at the tables"), connection.transaction():
            configure(connection, shared=True)
            read_fences(connection, tables)
    finally:
        connection.close()


def try_values(connection: Connection, chosen: Sequence[Chosen]) -> None:
    """Refuse a value that its column can never have, before it is taken for "no rows"."""
    for table in chosen:
        for match in table.matches:
            query = sql.SQL("SELECT {}, v::text FROM (SELECT {} AS v) t").format(
                equal("t", "v", match.column.equals, match.literal()), match.literal()
            )
            try:
                with connection.transaction():
                    row = connection.execute(query).fetchone()
            except psycopg.Error as error:
                if passes(error):
                    raise translate(error, f"trying the values for table {table.name}") from None
                raise SourceError(
                    f"table {table.name}: {match.value!r} is no value that column "
                    f"{match.column.name} of type {match.column.type} can be compared with"
                ) from None
            if match.exact and row is not None and row[1] != match.value:
                raise SourceError(
                    f"table {table.name}: the namespace's label says {match.value!r}, which column "
                    f"{match.column.name} of type {match.column.type} holds as {row[1]!r}; an "
                    "administrator writes the label as the column holds it"
                )


def refuse_before(
    connection: Connection, tables: Sequence[Restored], catalog: Catalog, fences: Fences
) -> None:
    """Refuse rows that would reach out, once they are staged and compared, before any is written.

    Raises:
        SourceError: nothing was changed.
    """
    by_name = {table.name: table for table in tables}
    for table in tables:
        staged = {column.name for column in table.columns}
        for key in catalog.foreign_keys:
            if key.table == table.name and key.references in fences and staged >= {*key.columns}:
                _refuse_pointers(connection, table, key, by_name.get(key.references), fences)
        for counter in read_counters(connection, table.name):
            if counter.column in staged:
                _refuse_numbers(connection, table, counter)


def refuse_after(
    connection: Connection, tables: Sequence[Restored], catalog: Catalog, fences: Fences
) -> None:
    """See, with everything written, that each row is there and inside; else nothing stays written.

    Raises:
        SourceError: nothing was changed.
    """
    for table in tables:
        query = sql.SQL("SELECT count(*) FROM {} s WHERE NOT EXISTS ({})").format(
            table.temporary("stage"),
            sql.SQL("SELECT FROM {} t WHERE {} AND {}").format(
                relation(table.chosen.table),
                table.same_row("t", "s"),
                condition(table.chosen, "t"),
            ),
        )
        if _any(connection, query):
            raise SourceError(
                f"rows of table {table.name} would not be this wedding's, or not this "
                "organisation's, once they are back; nothing was changed; recover into a database "
                "of your own instead, or ask who administers this one"
            )
        computed = {column.name for column in table.chosen.table.columns if column.generated}
        for key in catalog.foreign_keys:
            if key.table == table.name and key.references in fences and computed & {*key.columns}:
                _refuse_computed(connection, table, key, fences[key.references])


def _refuse_pointers(
    connection: Connection,
    table: Restored,
    key: ForeignKey,
    parent: Restored | None,
    fences: Fences,
) -> None:
    """Refuse rows that come to point to a row that is not ours, or not there: in the same words."""
    reached = [_reaches(key, "s", fences[key.references])]
    if parent is not None and {column.name for column in parent.columns} >= {*key.referenced}:
        # It is going to be there, and `refuse_after` sees to it that it is inside.
        reached.append(
            sql.SQL("EXISTS (SELECT FROM {} r WHERE {})").format(
                parent.temporary("stage"), points_to(key, "s", "r")
            )
        )
    # What points there already, and goes on to, is the platform's own doing.
    unmoved = sql.SQL(
        "EXISTS (SELECT FROM {} t WHERE {} AND {} AND ROW({})::text = ROW({})::text)"
    ).format(
        relation(table.chosen.table),
        table.same_row("t", "s"),
        table.is_in("present", "t"),
        columns_of("t", key.columns),
        columns_of("s", key.columns),
    )
    query = sql.SQL("SELECT count(*) FROM {} s WHERE {} AND NOT ({}) AND NOT {}").format(
        table.temporary("stage"), _points(key, "s"), sql.SQL(" OR ").join(reached), unmoved
    )
    if _any(connection, query):
        raise SourceError(_outside(table, key))


def _refuse_computed(
    connection: Connection, table: Restored, key: ForeignKey, parent: Chosen
) -> None:
    query = sql.SQL("SELECT count(*) FROM {} t JOIN {} s ON {} WHERE {} AND NOT {}").format(
        relation(table.chosen.table),
        table.temporary("stage"),
        table.same_row("t", "s"),
        _points(key, "t"),
        _reaches(key, "t", parent),
    )
    if _any(connection, query):
        raise SourceError(_outside(table, key))


def _refuse_numbers(connection: Connection, table: Restored, counter: Counter) -> None:
    """Refuse numbers that a sequence has yet to hand out.

    Taken in advance, they would fail the next writers of everybody; and a sequence that is moved
    behind the largest number there can be would fail all writers for good.
    """
    column = sql.Identifier("s", counter.column)
    handed_out: sql.Composable = sql.SQL("false")
    if counter.last is not None:
        handed_out = sql.SQL("{} {} {}").format(
            column, sql.SQL("<=" if counter.increment > 0 else ">="), sql.Literal(counter.last)
        )
    query = sql.SQL("SELECT count(*) FROM {} s WHERE NOT ({}) AND NOT {}").format(
        table.temporary("stage"), handed_out, table.is_in("present", "s")
    )
    if _any(connection, query):
        raise SourceError(
            f"rows of table {table.name} have numbers in column {counter.column} that sequence "
            f"{counter.name} has not handed out yet, as far as the connection's user can see; nothing "
            "was changed; an administrator lets that user read the sequence (GRANT SELECT ON SEQUENCE "
            f"{counter.name}), or moves it behind them with setval"
        )


def _points(key: ForeignKey, alias: str) -> sql.Composed:
    """Write that a row has a pointer at all: with a NULL in it, a foreign key says nothing."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} IS NOT NULL").format(sql.Identifier(alias, column)) for column in key.columns
    )


def _reaches(key: ForeignKey, alias: str, parent: Chosen) -> sql.Composed:
    return sql.SQL("EXISTS (SELECT FROM {} p WHERE {} AND {})").format(
        relation(parent.table), points_to(key, alias, "p"), condition(parent, "p")
    )


def _outside(table: Restored, key: ForeignKey) -> str:
    return (
        f"rows of table {table.name} would point ({key.name}) to rows of table {key.references} that "
        "are not there, or not this organisation's; nothing was changed; recover those first, or "
        "list their table in the policy, too; where everybody's rows may point to that table, an "
        "administrator writes referencedBy: Everyone for it in the BackupDatabase"
    )


def _any(connection: Connection, query: sql.Composed) -> bool:
    row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0
