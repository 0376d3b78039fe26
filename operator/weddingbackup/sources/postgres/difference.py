"""What has to change so that the wedding's rows are what they were: keys in temporary tables.

For each table, of the rows that are there now:
  present   the wedding's: those the policy chooses, and those of the backup that name no wedding
  changed   present, and in the backup with other content
  vacate    present, and to be deleted: they are not in the backup, or they have to leave before
            they come back, because rows would collide on the way or point to one that leaves
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Catalog, ForeignKey, Name
from weddingbackup.sources.postgres.connection import Connection, plain_errors
from weddingbackup.sources.postgres.plan import Restored, columns_of
from weddingbackup.sources.postgres.selection import Chosen, condition, points_to, relation

_ACTIONS: Final = {
    "a": "would be left pointing at nothing",
    "r": "would be left pointing at nothing",
    "c": "would be deleted with them",
    "n": "would lose their reference",
    "d": "would lose their reference",
}


@dataclass(frozen=True)
class TableChanges:
    """Rows of one table, counted by what recovery does with them."""

    inserted: int
    updated: int
    deleted: int
    unchanged: int

    @property
    def rows(self) -> int:
        """Rows that the wedding has in the table afterwards."""
        return self.inserted + self.updated + self.unchanged

    @property
    def any(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.inserted or self.updated or self.deleted)


def compare(
    connection: Connection, tables: Sequence[Restored], catalog: Catalog
) -> dict[Name, TableChanges]:
    """Find the difference between what is staged and what is there.

    Raises:
        SourceError: it cannot be made without touching rows that are not this wedding's.
    """
    by_name = {table.name: table for table in tables}
    for table in sorted(tables, key=lambda table: _depth(table.chosen)):
        _find_present(connection, table, by_name)
        _refuse_theft(connection, table)
    for table in tables:
        _find_changed(connection, table)
    changes = {table.name: _count(connection, table) for table in tables}
    if any(change.any for change in changes.values()):
        for table in tables:
            _find_colliding(connection, table, by_name, catalog)
        _follow_pointers(connection, by_name, catalog)
        for table in tables:
            _refuse_harm(connection, table, by_name, catalog)
    return changes


def _depth(chosen: Chosen) -> int:
    return 0 if chosen.parent is None else 1 + _depth(chosen.parent)


def _find_present(connection: Connection, table: Restored, by_name: dict[Name, Restored]) -> None:
    def found(parent: Chosen, alias: str) -> sql.Composable:
        known = by_name.get(parent.name)
        return known.is_in("present", alias) if known else condition(parent, alias, found)

    _collect(
        connection,
        table,
        "present",
        condition(table.chosen, "t", found),
    )
    staged = {column.name for column in table.columns}
    if not staged.issuperset(table.chosen.links):
        return
    # A row whose event was deleted with ON DELETE SET NULL names no event any more. It is still the
    # wedding's: nobody else's name stands in it. Behind a fence that has to be the organisation's.
    inside = condition(table.chosen.fence, "t") if table.chosen.fence else sql.SQL("true")
    unclaimed = sql.SQL(" AND ").join(
        sql.SQL("({0} IS NULL OR {0}::text IS NOT DISTINCT FROM {1}::text)").format(
            sql.Identifier("t", link), sql.Identifier("s", link)
        )
        for link in table.chosen.links
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {} SELECT {} FROM {} t JOIN {} s ON {} WHERE {} AND {} AND NOT {}"
        ).format(
            table.temporary("present"),
            table.key_of("t"),
            relation(table.chosen.table),
            table.temporary("stage"),
            table.same_row("t", "s"),
            unclaimed,
            inside,
            table.is_in("present", "t"),
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(table.temporary("present")))


def _refuse_theft(connection: Connection, table: Restored) -> None:
    taken = _number(
        connection,
        sql.SQL("SELECT count(*) FROM {} t JOIN {} s ON {} WHERE NOT {}").format(
            relation(table.chosen.table),
            table.temporary("stage"),
            table.same_row("t", "s"),
            table.is_in("present", "t"),
        ),
    )
    if taken and table.chosen.fence is not None:
        # How many there are, and whose they are, is nobody's business here.
        raise SourceError(
            f"rows of table {table.name} have keys that others have, or that moved away since the "
            "backup was made, and are not taken from them; nothing was changed; recover into "
            "another database"
        )
    if taken:
        raise SourceError(
            f"{_rows(taken)} of table {table.name} that this wedding had when the backup was made "
            "now belong to another wedding, and are not taken from it; nothing was changed; "
            "move them back first, or recover into another database"
        )


def _find_changed(connection: Connection, table: Restored) -> None:
    names = [column.name for column in table.columns]
    _collect(
        connection,
        table,
        "changed",
        sql.SQL("{} AND EXISTS (SELECT FROM {} s WHERE {} AND {})").format(
            table.is_in("present", "t"),
            table.temporary("stage"),
            table.same_row("s", "t"),
            _differ("t", "s", names),
        ),
    )
    _collect(
        connection,
        table,
        "vacate",
        sql.SQL("{} AND NOT {}").format(table.is_in("present", "t"), table.is_in("stage", "t")),
    )


def _count(connection: Connection, table: Restored) -> TableChanges:
    staged, present, changed, gone = (
        _number(connection, sql.SQL("SELECT count(*) FROM {}").format(table.temporary(what)))
        for what in ("stage", "present", "changed", "vacate")
    )
    return TableChanges(
        inserted=staged - (present - gone),
        updated=changed,
        deleted=gone,
        unchanged=present - gone - changed,
    )


def _find_colliding(
    connection: Connection, table: Restored, by_name: dict[Name, Restored], catalog: Catalog
) -> None:
    """Let changed rows leave that could collide with each other while they change.

    Two events that swap their places cannot be updated one after the other. Rows that somebody
    else's rows point to stay, and are changed where they are: PostgreSQL then decides.
    """
    if not table.contested:
        return
    colliding = sql.SQL("FROM {} t JOIN {} s ON {} WHERE {} AND {}").format(
        relation(table.chosen.table),
        table.temporary("stage"),
        table.same_row("t", "s"),
        table.is_in("changed", "t"),
        _differ("t", "s", table.contested),
    )
    if not _number(connection, sql.SQL("SELECT count(*) {}").format(colliding)):
        return
    names = {column.name for column in table.key}
    pinned = [
        sql.SQL("AND NOT {}").format(_pointed_at_from_outside(key, "t", by_name))
        for key in _keys_to(table, catalog)
        if names.issuperset(key.referenced)
    ]
    with plain_errors(f"looking for rows that point to table {table.name}"):
        connection.execute(
            sql.SQL("INSERT INTO {} SELECT {} {} {}").format(
                table.temporary("vacate"), table.key_of("t"), colliding, sql.SQL(" ").join(pinned)
            )
        )


def _follow_pointers(
    connection: Connection, by_name: dict[Name, Restored], catalog: Catalog
) -> None:
    """Let all rows of the wedding leave that point to one that leaves; most of them come back."""
    inner = [
        (by_name[key.table], by_name[key.references], key)
        for key in catalog.foreign_keys
        if key.table in by_name and key.references in by_name
    ]
    more = True
    while more:
        more = False
        for child, parent, key in inner:
            statement = sql.SQL(
                "INSERT INTO {} SELECT {} FROM {} t WHERE {} AND NOT {}"
                " AND EXISTS (SELECT FROM {} p WHERE {} AND {})"
            ).format(
                child.temporary("vacate"),
                child.key_of("t"),
                relation(child.chosen.table),
                child.is_in("present", "t"),
                child.is_in("vacate", "t"),
                relation(parent.chosen.table),
                points_to(key, "t", "p"),
                parent.is_in("vacate", "p"),
            )
            more = connection.execute(statement).rowcount > 0 or more


def _refuse_harm(
    connection: Connection, table: Restored, by_name: dict[Name, Restored], catalog: Catalog
) -> None:
    _refuse_changed_keys(connection, table, by_name, catalog)
    if not _number(
        connection, sql.SQL("SELECT count(*) FROM {}").format(table.temporary("vacate"))
    ):
        return  # and no right to read the tables that point here is needed
    for key in _keys_to(table, catalog):
        query = sql.SQL("SELECT count(*) FROM {} p WHERE {} AND {}").format(
            relation(table.chosen.table),
            table.is_in("vacate", "p"),
            _pointed_at_from_outside(key, "p", by_name),
        )
        with plain_errors(f"looking for rows of table {key.table} that point to {table.name}"):
            harmed = _number(connection, query)
        if harmed:
            raise SourceError(
                f"{_rows(harmed)} of table {table.name} would have to be deleted, but rows of table "
                f"{key.table} that are not this wedding's in the policy point to them ({key.name}) "
                f"and {_ACTIONS[key.on_delete]}; nothing was changed; "
                f"list {key.table} in the policy, or remove those rows first"
            )


def _refuse_changed_keys(
    connection: Connection, table: Restored, by_name: dict[Name, Restored], catalog: Catalog
) -> None:
    """Refuse to write a key in another way where ON UPDATE would carry that into others' rows.

    Two keys can be the same row's and not the same text: `Ana` and `ana` as citext, 1.0 and 1.00.
    """
    staged = {column.name for column in table.columns}
    for key in _keys_to(table, catalog):
        if key.on_update in "ar" or not staged.issuperset(key.referenced):
            continue
        query = sql.SQL("SELECT count(*) FROM {} p JOIN {} s ON {} WHERE {} AND {} AND {}").format(
            relation(table.chosen.table),
            table.temporary("stage"),
            table.same_row("p", "s"),
            table.is_in("changed", "p"),
            _differ("p", "s", key.referenced),
            _pointed_at_from_outside(key, "p", by_name),
        )
        if _number(connection, query):
            raise SourceError(
                f"rows of table {table.name} would get back a key that is written in another way, and "
                f"rows of table {key.table} that are not this wedding's would be changed with it "
                f"({key.name}); nothing was changed"
            )


def _keys_to(table: Restored, catalog: Catalog) -> Iterator[ForeignKey]:
    return (key for key in catalog.foreign_keys if key.references == table.name)


def _pointed_at_from_outside(
    key: ForeignKey, alias: str, by_name: dict[Name, Restored]
) -> sql.Composed:
    child = by_name.get(key.table)
    ours = sql.SQL("false") if child is None else child.is_in("present", "o")
    return sql.SQL("EXISTS (SELECT FROM {} o WHERE {} AND NOT {})").format(
        sql.Identifier(*key.table), points_to(key, "o", alias), ours
    )


def _collect(connection: Connection, table: Restored, what: str, where: sql.Composed) -> None:
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} t WHERE {}").format(
            sql.Identifier(f"{what}_{table.number}"),
            table.key_of("t"),
            relation(table.chosen.table),
            where,
        )
    )


def _differ(left: str, right: str, names: Sequence[str]) -> sql.Composed:
    """Write that two rows differ in these columns, as text.

    By `=`, 1.0 is 1.00 and some types cannot be compared at all; what comes back has to be what
    was there. Most rows are the same byte for byte, which is found out without making text of them.
    """
    return sql.SQL(
        "(ROW({left})::record OPERATOR(pg_catalog.*<>) ROW({right})::record"
        " AND ROW({left})::text IS DISTINCT FROM ROW({right})::text)"
    ).format(left=columns_of(left, names), right=columns_of(right, names))


def _number(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
