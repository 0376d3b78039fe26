"""How restored files meet the tables that are there now: which columns, which key, in what order.

Pure. Drift since the backup is either harmless or refused here, before anything is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from psycopg import sql

from weddingbackup.resources.common import Table
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Catalog, Column, ForeignKey, Name, TableFacts
from weddingbackup.sources.postgres.meta import Meta, TableMeta
from weddingbackup.sources.postgres.selection import Chosen, choose, equal


@dataclass(frozen=True)
class Restored:
    """One table on its way back.

    Attributes:
        number: tells its temporary tables from the others'.
        columns: those in the file, in the file's order, as the table has them now.
        key: what tells rows apart.
        contested: columns whose values no two rows may share at any instant, or that cannot be
            updated. A row in which one of them changes has to leave before it comes back.
        extra: columns that came since the backup; rows that stay keep what they have in them.
    """

    number: int
    meta: TableMeta
    chosen: Chosen
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    contested: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def name(self) -> Name:
        """The table that the rows go to."""
        return self.chosen.name

    def temporary(self, what: str) -> sql.Identifier:
        """Name one of its temporary tables."""
        return sql.Identifier("pg_temp", f"{what}_{self.number}")

    def same_row(self, left: str, right: str) -> sql.Composed:
        """Write that two rows have the same key."""
        return sql.SQL(" AND ").join(
            equal(left, column.name, column.equals, sql.Identifier(right, column.name))
            for column in self.key
        )

    def key_of(self, alias: str) -> sql.Composed:
        """Write the columns of the key, for SELECT."""
        return columns_of(alias, [column.name for column in self.key])

    def is_in(self, what: str, alias: str) -> sql.Composed:
        """Write that one of its temporary tables holds the key of the row `alias`."""
        return sql.SQL("EXISTS (SELECT FROM {} held WHERE {})").format(
            self.temporary(what), self.same_row("held", alias)
        )


def columns_of(alias: str, names: Sequence[str]) -> sql.Composed:
    """Write columns, for SELECT."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def targets(tables: Sequence[Table], schema: str | None) -> list[Table]:
    """Give the tables that the files go to: where they came from, or all in another schema.

    Raises:
        SourceError: two tables would become one.
    """
    if schema is None:
        return list(tables)
    names = [table.name for table in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"tables of several schemas cannot go into one, {schema}: they share the names "
            f"{', '.join(twice)}"
        )
    return [table.model_copy(update={"schema_name": schema}) for table in tables]


def plan(
    meta: Meta,
    tables: Sequence[Table],
    catalog: Catalog,
    known: Sequence[Name],
    *,
    schema: str | None = None,
    fences: Mapping[Name, Chosen] | None = None,
) -> list[Restored]:
    """Match files with tables, which may be more; parents come before what points to them.

    Raises:
        SourceError: something of the backup has no place any more, or this role may not write.
    """
    chosen = {choice.name: choice for choice in choose(tables, catalog, known, fences=fences)}
    restored = []
    for number, table in enumerate(meta.tables):
        name = Name(schema or table.table.schema_name, table.table.name)
        if name not in chosen:
            raise SourceError(
                f"the backup holds rows of table {name}, which the policy does not list any more; "
                "list it again, and say which of its rows are the wedding's"
            )
        restored.append(_restored(number, table, chosen[name], catalog))
    if len({table.name for table in restored}) < len(restored):
        raise SourceError("the backup's files name one table more than once")
    return _ordered(restored, catalog.foreign_keys)


def type_changes(restored: Restored) -> list[str]:
    """Say which columns have another type than when the backup was made."""
    return [
        f"{then.name} was {then.type}, is {now.type}"
        for then, now in zip(restored.meta.columns, restored.columns, strict=True)
        if then.type != now.type
    ]


def _restored(number: int, meta: TableMeta, chosen: Chosen, catalog: Catalog) -> Restored:
    facts = chosen.table
    lacks = sorted(facts.lacks)
    if lacks:
        raise SourceError(
            f"user {catalog.user} may not write to table {facts.name}: "
            f"GRANT {', '.join(lacks)} ON {facts.name} TO {catalog.user}"
        )
    columns = _columns(meta, facts)
    key = _key(meta, facts)
    extra = [column for column in facts.stored if column not in columns]
    for column in extra:
        if column.not_null and not column.has_default:
            raise SourceError(
                f"column {column.name} of table {facts.name} is new since the backup, NOT NULL and "
                "without a default, so rows of the backup have nothing to put there; "
                "give it a default"
            )
    return Restored(
        number=number,
        meta=meta,
        chosen=chosen,
        columns=columns,
        key=key,
        contested=_contested(facts, columns, key),
        extra=tuple(column.name for column in extra),
    )


def _columns(meta: TableMeta, facts: TableFacts) -> tuple[Column, ...]:
    columns = []
    for then in meta.columns:
        now = facts.column(then.name)
        if now is None:
            raise SourceError(
                f"table {facts.name} has no column {then.name} ({then.type}) any more, so what the "
                "backup holds in it would be lost; add it, or recover into a database that has it"
            )
        if now.generated:
            raise SourceError(
                f"column {then.name} of table {facts.name} is a generated one by now, and cannot "
                "be written; recover into a database with the tables as they were"
            )
        columns.append(now)
    return tuple(columns)


def _key(meta: TableMeta, facts: TableFacts) -> tuple[Column, ...]:
    wanted = set(meta.key)
    if any(
        unique.columns and set(unique.columns) == wanted and not unique.exclusion
        for unique in facts.uniques
    ):
        key = tuple(column for column in facts.columns if column.name in wanted)
        if all(column.not_null for column in key):
            return key
    raise SourceError(
        f"table {facts.name} is not unique by {', '.join(meta.key)} any more, by which the backup "
        "tells its rows apart; recover into a database with the tables as they were"
    )


def _contested(
    facts: TableFacts, columns: Sequence[Column], key: Sequence[Column]
) -> tuple[str, ...]:
    names = {column.name for column in key}
    found = {column.name for column in columns if column.identity == "a"} - names
    for unique in facts.uniques:
        if not unique.immediate or (unique.columns and set(unique.columns) == names):
            continue
        found |= set(unique.columns or (column.name for column in columns))
    return tuple(column.name for column in columns if column.name in found)


def _ordered(restored: Sequence[Restored], keys: Sequence[ForeignKey]) -> list[Restored]:
    by_name = {table.name: table for table in restored}
    inner = [
        key
        for key in keys
        if key.table in by_name and key.references in by_name and key.table != key.references
    ]
    for edges in (inner, [key for key in inner if not key.deferrable]):
        sorter = TopologicalSorter({name: set[Name]() for name in by_name})
        for key in edges:
            sorter.add(key.table, key.references)
        try:
            return [by_name[name] for name in sorter.static_order()]
        except CycleError as error:
            circle = error.args[1]
    around = [
        key
        for key in inner
        if not key.deferrable and key.table in circle and key.references in circle
    ]
    raise SourceError(
        f"the foreign keys of {', '.join(sorted(str(name) for name in set(circle)))} go round in a "
        f"circle ({', '.join(key.name for key in around)}), so none of the tables can be filled "
        f"first; ALTER TABLE {around[0].table} ALTER CONSTRAINT {around[0].name} DEFERRABLE"
    )
