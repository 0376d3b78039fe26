"""What a database says of its tables: columns, keys, foreign keys, triggers, rights.

Read once a transaction, into plain values; all decisions about them are made elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from weddingbackup.sources.postgres.connection import Connection


class Name(NamedTuple):
    """A name within a schema: of a table, a type, an operator."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Column:
    """One column, in the order of the table.

    Attributes:
        type: as PostgreSQL writes it, with its modifiers: `numeric(10,2)`.
        base_type: the same without domain and modifiers, for casts that must not cut a value short.
        equals: the type's own equality operator.
        identity: `a` for GENERATED ALWAYS AS IDENTITY, `d` for BY DEFAULT, else empty.
        generated: computed by the database; never backed up, never written.
    """

    name: str
    type: str
    base_type: Name
    equals: Name
    not_null: bool
    has_default: bool
    identity: str
    generated: bool
    readable: bool


@dataclass(frozen=True)
class Unique:
    """A unique index or an exclusion constraint.

    Attributes:
        columns: None where it is about more than plain columns (an expression, a predicate).
        immediate: it is checked row by row, and no transaction can defer it.
    """

    name: str
    columns: tuple[str, ...] | None
    primary: bool
    replica_identity: bool
    immediate: bool
    exclusion: bool


@dataclass(frozen=True)
class ForeignKey:
    """`table.columns` point to `references.referenced`.

    Attributes:
        equals: for each pair of columns, the operator `referenced = pointing`.
        on_delete: `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
        on_update: likewise.
    """

    name: str
    table: Name
    columns: tuple[str, ...]
    references: Name
    referenced: tuple[str, ...]
    equals: tuple[Name, ...]
    on_delete: str
    deferrable: bool
    on_update: str = "a"


@dataclass(frozen=True)
class Trigger:
    """A user's trigger that would fire on a write to a table, or to one of its partitions."""

    table: Name
    name: str
    always: bool
    may_disable: bool


@dataclass(frozen=True)
class TableFacts:
    """One table.

    Attributes:
        kind: pg_class.relkind: `r` table, `p` partitioned table, `v` view …
        children: tables that inherit from it and are no partitions.
        partition_of: the partitioned table at the top, if it is a partition.
        hidden: row-level security hides some of its rows from this role.
        lacks: which of SELECT, INSERT, UPDATE, DELETE this role may not do.
        rules: rewrite rules that would turn our writes into something else.
    """

    name: Name
    kind: str
    columns: tuple[Column, ...]
    uniques: tuple[Unique, ...]
    children: tuple[Name, ...]
    partition_of: Name | None
    hidden: bool
    schema_usable: bool
    lacks: frozenset[str]
    rules: tuple[str, ...]

    def column(self, name: str) -> Column | None:
        """Find a column."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that hold data of their own."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def key(self) -> tuple[Column, ...]:
        """What tells rows apart: the primary key, or a unique index that could stand for it."""
        candidates = sorted(self.uniques, key=lambda u: (not u.primary, not u.replica_identity))
        for unique in candidates:
            if unique.exclusion or unique.columns is None:
                continue
            if not (unique.immediate or unique.primary):
                continue
            columns = [self.column(name) for name in unique.columns]
            if all(column and column.not_null and not column.generated for column in columns):
                return tuple(column for column in columns if column)
        return ()


@dataclass(frozen=True)
class Catalog:
    """What is known of some tables, and of every foreign key from or to them."""

    user: str
    tables: dict[Name, TableFacts]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]


def read_catalog(connection: Connection, names: Sequence[Name]) -> Catalog:
    """Read what the database says of these tables; those that are not there are left out."""
    rows = connection.execute(_TABLES, _columns_of(names)).fetchall()
    oids = [row[0] for row in rows]
    listed = {row[0]: Name(row[1], row[2]) for row in rows}
    columns: dict[int, list[Column]] = {oid: [] for oid in oids}
    for oid, *values in connection.execute(_COLUMNS, [oids]):
        name, type_, base, equals, not_null, has_default, identity, generated, readable = values
        columns[oid].append(
            Column(
                name=name,
                type=type_,
                base_type=Name(*base),
                equals=Name(*equals),
                not_null=not_null,
                has_default=has_default,
                identity=identity,
                generated=generated,
                readable=readable,
            )
        )
    uniques: dict[int, list[Unique]] = {oid: [] for oid in oids}
    for oid, name, keys, *flags in connection.execute(_UNIQUES, [oids]):
        uniques[oid].append(Unique(name, None if keys is None else tuple(keys), *flags))
    tables = [_table(row, columns[row[0]], uniques[row[0]]) for row in rows]
    triggers = [
        Trigger(Name(schema, table), name, always, may_disable)
        for schema, table, name, always, may_disable in connection.execute(_TRIGGERS, [oids, oids])
    ]
    return Catalog(
        user=connection.info.user,
        tables={table.name: table for table in tables},
        foreign_keys=tuple(
            _foreign_key(row, listed)
            for row in connection.execute(_FOREIGN_KEYS, [oids, oids, oids, oids])
        ),
        triggers=tuple(triggers),
    )


@dataclass(frozen=True)
class Counter:
    """A sequence that numbers a column; `last` is None where it was never used, or is hidden."""

    column: str
    oid: int
    name: Name
    last: int | None
    increment: int
    maximum: int
    may_set: bool


def read_counters(connection: Connection, table: Name) -> list[Counter]:
    """Read which sequences number the columns of a table."""
    return [
        Counter(column, oid, Name(schema, name), *rest)
        for column, oid, schema, name, *rest in connection.execute(_COUNTERS, table)
    ]


def all_tables(connection: Connection) -> list[Name]:
    """Give the names of all tables of the database, for a near miss."""
    return [Name(*row) for row in connection.execute(_ALL_TABLES)]


def _columns_of(names: Sequence[Name]) -> list[list[str]]:
    return [[name.schema for name in names], [name.name for name in names]]


def _table(row: tuple[Any, ...], columns: list[Column], uniques: list[Unique]) -> TableFacts:
    _, schema, name, kind, root, children, hidden, usable, lacks, rules = row
    return TableFacts(
        name=Name(schema, name),
        kind=kind,
        columns=tuple(columns),
        uniques=tuple(uniques),
        children=tuple(Name(*child) for child in children),
        partition_of=Name(*root) if root else None,
        hidden=hidden,
        schema_usable=usable,
        lacks=frozenset(lacks),
        rules=tuple(rules),
    )


def _foreign_key(row: tuple[Any, ...], listed: dict[int, Name]) -> ForeignKey:
    """Make one; a partition stands for the partitioned table above it, where that one is listed."""
    name, (own, own_root, table), columns, (other, other_root, references), referenced = row[:5]
    operators, on_delete, deferrable, on_update = row[5:]
    return ForeignKey(
        name=name,
        table=listed.get(int(own)) or listed.get(int(own_root)) or Name(*table),
        columns=tuple(columns),
        references=listed.get(int(other)) or listed.get(int(other_root)) or Name(*references),
        referenced=tuple(referenced),
        equals=tuple(Name(*operator) for operator in operators),
        on_delete=on_delete,
        deferrable=deferrable,
        on_update=on_update,
    )


_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text,
  (SELECT ARRAY[rn.nspname::text, r.relname::text] FROM pg_class r
    JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE c.relispartition AND r.oid = pg_partition_root(c.oid)),
  (SELECT coalesce(json_agg(json_build_array(hn.nspname, h.relname)), '[]') FROM pg_inherits i
    JOIN pg_class h ON h.oid = i.inhrelid JOIN pg_namespace hn ON hn.oid = h.relnamespace
    WHERE i.inhparent = c.oid AND NOT h.relispartition),
  row_security_active(c.oid),
  has_schema_privilege(n.oid, 'USAGE'),
  ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
    WHERE NOT has_table_privilege(c.oid, p)),
  ARRAY(SELECT rulename::text FROM pg_rewrite
    WHERE ev_class = c.oid AND ev_type <> '1' AND ev_enabled IN ('O', 'A'))
FROM unnest(%s::text[], %s::text[]) w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
"""

# The base type is what is left of a domain over a domain; the equality operator is the one of its
# default btree class, and pg_catalog's where it has none of its own (varchar, arrays, enums).
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod),
  ARRAY[bn.nspname::text, b.typname::text],
  coalesce((SELECT ARRAY[n.nspname::text, o.oprname::text]
    FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
      AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
    JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE c.opcdefault AND c.opcintype = b.oid), ARRAY['pg_catalog', '=']),
  a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attidentity::text, a.attgenerated <> '',
  has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_attribute a
CROSS JOIN LATERAL (
  WITH RECURSIVE base AS (
    SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
    UNION ALL SELECT t.oid, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype)
  SELECT oid FROM base WHERE typbasetype = 0) base
JOIN pg_type b ON b.oid = base.oid JOIN pg_namespace bn ON bn.oid = b.typnamespace
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_UNIQUES = """
SELECT i.indrelid, c.relname,
  CASE WHEN i.indpred IS NULL AND i.indexprs IS NULL THEN ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE k.place <= i.indnkeyatts ORDER BY k.place) END,
  i.indisprimary, i.indisreplident, i.indimmediate, i.indisexclusion
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY(%s::oid[]) AND (i.indisunique OR i.indisexclusion) AND i.indisvalid
ORDER BY i.indrelid, c.relname
"""

# Clones that a partitioned table's foreign key has on its partitions are left out.
_FOREIGN_KEYS = """
SELECT k.conname,
  json_build_array(r.oid::int8, coalesce(pg_partition_root(r.oid), r.oid)::oid::int8,
    json_build_array(rn.nspname, r.relname)),
  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, place)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.place),
  json_build_array(f.oid::int8, coalesce(pg_partition_root(f.oid), f.oid)::oid::int8,
    json_build_array(fn.nspname, f.relname)),
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, place)
    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.place),
  (SELECT json_agg(json_build_array(n.nspname, o.oprname) ORDER BY u.place)
    FROM unnest(k.conpfeqop) WITH ORDINALITY u(oid, place)
    JOIN pg_operator o ON o.oid = u.oid JOIN pg_namespace n ON n.oid = o.oprnamespace),
  k.confdeltype::text, k.condeferrable, k.confupdtype::text
FROM pg_constraint k
JOIN pg_class r ON r.oid = k.conrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND (k.conrelid = ANY(%s::oid[]) OR pg_partition_root(k.conrelid) = ANY(%s::oid[])
    OR k.confrelid = ANY(%s::oid[]) OR pg_partition_root(k.confrelid) = ANY(%s::oid[]))
ORDER BY rn.nspname, r.relname, k.conname
"""

# 28: on INSERT, DELETE or UPDATE. A partition's clone of a trigger follows the one above it.
_TRIGGERS = """
SELECT n.nspname, c.relname, t.tgname, t.tgenabled = 'A', pg_has_role(c.relowner, 'USAGE')
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') AND t.tgtype & 28 <> 0
  AND (c.oid = ANY(%s::oid[]) OR pg_partition_root(c.oid) = ANY(%s::oid[]))
ORDER BY n.nspname, c.relname, t.tgname
"""

_ALL_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""

# A serial or identity column's own sequence, and any other that its default draws from.
_COUNTERS = """
SELECT DISTINCT a.attname, s.oid, sn.nspname, s.relname,
  CASE WHEN has_sequence_privilege(s.oid, 'USAGE, SELECT') THEN pg_sequence_last_value(s.oid) END,
  q.seqincrement, q.seqmax, has_sequence_privilege(s.oid, 'UPDATE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
LEFT JOIN pg_attrdef v ON v.adrelid = c.oid AND v.adnum = a.attnum
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
  OR d.classid = 'pg_attrdef'::regclass AND d.objid = v.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.relkind = 'S' AND s.oid IN (d.objid, d.refobjid)
JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_namespace sn ON sn.oid = s.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
