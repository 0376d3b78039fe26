"""Which rows belong to the wedding: a policy's `match` and `via` become SQL here, and nowhere else.

In a database that organisations share, each table has a fence besides: the rows that are the
organisation's at all. It is said in the same words, by an administrator, and both have to hold.

Pure. Names go into SQL as quoted identifiers and values as quoted literals, whatever they contain;
no text of a user is ever SQL. Foreign keys are followed as the database declares them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from psycopg import sql

from weddingbackup.resources.common import Table, Via
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Catalog, Column, ForeignKey, Name, TableFacts


@dataclass(frozen=True)
class Match:
    """Rows whose column has this value.

    Attributes:
        exact: to the letter: an integer 7 is not `07`, and no collation makes `A` of `a`.
    """

    column: Column
    value: str
    exact: bool = False

    def literal(self) -> sql.Composed:
        """Write the value as one of the column's type.

        The cast is to the bare type: one to varchar(3) would cut `abcd` short, and choose the rows
        of wedding `abc`.
        """
        return sql.SQL("CAST({} AS {})").format(
            sql.Literal(self.value), sql.Identifier(*self.column.base_type)
        )


@dataclass(frozen=True)
class Chosen:
    """One table of the policy, resolved: `matches`, or a `parent` by a `foreign_key`.

    Attributes:
        fence: what has to hold as well; None in a database of the organisation's own.
    """

    table: TableFacts
    matches: tuple[Match, ...] = ()
    parent: "Chosen | None" = None
    foreign_key: ForeignKey | None = None
    fence: "Chosen | None" = None

    @property
    def name(self) -> Name:
        """The table's name."""
        return self.table.name

    @property
    def links(self) -> tuple[str, ...]:
        """The columns that say whose a row is."""
        if self.foreign_key is not None:
            return self.foreign_key.columns
        return tuple(match.column.name for match in self.matches)


def name_of(table: Table) -> Name:
    """Give a policy's table the name that the database knows it by."""
    return Name(table.schema_name, table.name)


def choose(
    tables: Sequence[Table],
    catalog: Catalog,
    known: Collection[Name] = (),
    *,
    fences: Mapping[Name, Chosen] | None = None,
    exact: bool = False,
) -> list[Chosen]:
    """Resolve the tables of a policy, in the policy's order.

    Args:
        tables: as the policy describes them.
        catalog: what the database has.
        known: the names of all tables, for "did you mean".
        fences: what has to hold of each table as well; one that has none is refused.
        exact: values are compared to the letter, as a fence's are.

    Raises:
        SourceError: what the policy says does not fit what the database has.
    """
    wanted = {name_of(table): table for table in tables}
    twice = [name for name, count in Counter(map(name_of, tables)).items() if count > 1]
    if twice:
        raise SourceError(f"listed more than once: table {', '.join(map(str, twice))}")
    chosen: dict[Name, Chosen] = {}

    def resolve(name: Name, path: tuple[Name, ...]) -> Chosen:
        if name in path:
            circle = " → ".join(map(str, (*path[path.index(name) :], name)))
            raise SourceError(f"`via` goes round in a circle: {circle}; one needs a `match`")
        if name not in chosen:
            table, facts = wanted[name], _facts(name, catalog, wanted, known)
            fence = None if fences is None else _fence(name, fences)
            if table.match is not None:
                matches = _matches(facts, table.match, exact=exact)
                chosen[name] = Chosen(facts, matches=matches, fence=fence)
            else:
                assert table.via is not None
                parent = resolve(_parent(name, table.via, wanted), (*path, name))
                key = _foreign_key(facts, parent.table, table.via, catalog)
                chosen[name] = Chosen(facts, parent=parent, foreign_key=key, fence=fence)
        return chosen[name]

    return [resolve(name, ()) for name in wanted]


def relation(table: TableFacts) -> sql.Composed:
    """Write the table for FROM: with its partitions, without tables that merely inherit from it."""
    only = sql.SQL("" if table.kind == "p" else "ONLY ")
    return sql.Composed([only, sql.Identifier(*table.name)])


def condition(
    chosen: Chosen, alias: str, parents: Callable[[Chosen, str], sql.Composable] | None = None
) -> sql.Composed:
    """Write what holds for exactly the chosen rows of a table, called `alias` in the query.

    `parents` says the same of the parent's rows; where it is None, this very function does.
    """
    wanted = _wanted(chosen, alias, parents)
    if chosen.fence is None:
        return wanted
    return sql.SQL("({}) AND ({})").format(wanted, condition(chosen.fence, alias))


def _wanted(
    chosen: Chosen, alias: str, parents: Callable[[Chosen, str], sql.Composable] | None
) -> sql.Composed:
    if chosen.parent is None or chosen.foreign_key is None:
        return sql.SQL(" AND ").join(_equals(match, alias) for match in chosen.matches)
    above = f"{alias}_"
    return sql.SQL("EXISTS (SELECT FROM {} {} WHERE {} AND {})").format(
        relation(chosen.parent.table),
        sql.Identifier(above),
        points_to(chosen.foreign_key, alias, above),
        (parents or condition)(chosen.parent, above),
    )


def _equals(match: Match, alias: str) -> sql.Composed:
    alike = equal(alias, match.column.name, match.column.equals, match.literal())
    if not match.exact:
        return alike
    # The first half is for the index; the second knows no case, no padding and no other spelling.
    return sql.SQL(
        '{} AND ({}::pg_catalog.text COLLATE pg_catalog."C") OPERATOR(pg_catalog.=) {}'
    ).format(alike, sql.Identifier(alias, match.column.name), sql.Literal(match.value))


def equal(alias: str, column: str, operator: Name, value: sql.Composable) -> sql.Composed:
    """Compare by the very operator that the column's index goes by, found by its full name."""
    return sql.SQL("{} OPERATOR({}.{}) {}").format(
        sql.Identifier(alias, column),
        sql.Identifier(operator.schema),
        # An operator cannot be quoted. Its name comes from the database's catalog, and PostgreSQL
        # lets it consist of + - * / < > = ~ ! @ # % ^ & | ` ? alone.
        sql.SQL(operator.name),
        value,
    )


def points_to(key: ForeignKey, alias: str, to_alias: str) -> sql.Composed:
    """Write that the row `alias` points to the row `to_alias` by a foreign key."""
    return sql.SQL(" AND ").join(
        equal(to_alias, referenced, operator, sql.Identifier(alias, column))
        for column, referenced, operator in zip(
            key.columns, key.referenced, key.equals, strict=True
        )
    )


def _facts(
    name: Name, catalog: Catalog, wanted: Collection[Name], known: Collection[Name]
) -> TableFacts:
    facts = catalog.tables.get(name)
    if facts is None:
        raise SourceError(f"there is no table {name}{_did_you_mean_table(name, known)}")
    if facts.kind not in ("r", "p"):
        raise SourceError(f"{name} is no table (views and the like hold no rows of their own)")
    if not facts.schema_usable:
        raise SourceError(
            f"user {catalog.user} may not use schema {name.schema}: "
            f"GRANT USAGE ON SCHEMA {name.schema} TO {catalog.user}"
        )
    unreadable = [column.name for column in facts.stored if not column.readable]
    if unreadable:
        raise SourceError(
            f"user {catalog.user} may not read {', '.join(unreadable)} of table {name}: "
            f"GRANT SELECT ON {name} TO {catalog.user}"
        )
    if facts.hidden:
        raise SourceError(
            f"row-level security hides rows of table {name} from user {catalog.user}, so rows could "
            "be missing; use a role with BYPASSRLS, or one that owns the table"
        )
    if not facts.key:
        raise SourceError(
            f"table {name} has no primary key, so its rows cannot be told apart; "
            "add one, or a unique index over columns that are NOT NULL"
        )
    if facts.partition_of in wanted:
        raise SourceError(
            f"table {name} is a partition of {facts.partition_of}, which is listed too and brings "
            "its rows along; list one of them"
        )
    missing = [child for child in facts.children if child not in wanted]
    if missing:
        raise SourceError(
            f"table {name} has tables that inherit from it: {', '.join(map(str, missing))}; "
            "rows in them would be missed, so list them too"
        )
    return facts


def _fence(name: Name, fences: Mapping[Name, Chosen]) -> Chosen:
    if name not in fences:
        raise SourceError(f"nothing says whose the rows of table {name} are, so none can be had")
    return fences[name]


def _matches(facts: TableFacts, match: dict[str, str], *, exact: bool) -> tuple[Match, ...]:
    matches = []
    for name, value in match.items():
        column = facts.column(name)
        if column is None:
            raise SourceError(
                f"table {facts.name} has no column {name}{_did_you_mean_column(name, facts)}"
            )
        if "\0" in value:
            raise SourceError(f"the value for {name} of table {facts.name} holds a zero byte")
        matches.append(Match(column, value, exact))
    return tuple(matches)


def _parent(name: Name, via: Via, wanted: Collection[Name]) -> Name:
    same_schema = Name(name.schema, via.table)
    candidates = [other for other in wanted if other.name == via.table]
    if same_schema in candidates:
        return same_schema
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise SourceError(
            f"table {name} goes via {via.table}, which could be any of "
            f"{', '.join(map(str, candidates))}"
        )
    hint = _hint(via.table, (other.name for other in wanted))
    raise SourceError(
        f"table {name} goes via {via.table}, which is not in the list of tables{hint}"
    )


def _foreign_key(facts: TableFacts, parent: TableFacts, via: Via, catalog: Catalog) -> ForeignKey:
    keys = [key for key in catalog.foreign_keys if key.table == facts.name]
    found = [
        key
        for key in keys
        if key.references == parent.name
        and (via.foreign_key in key.columns or via.foreign_key == key.name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise SourceError(
            f"{via.foreign_key} of table {facts.name} is in more than one foreign key to "
            f"{parent.name}: write the name of one: {', '.join(key.name for key in found)}"
        )
    if facts.column(via.foreign_key) is None:
        hint = _did_you_mean_column(via.foreign_key, facts)
        raise SourceError(f"table {facts.name} has no column {via.foreign_key}{hint}")
    has = "; ".join(f"{', '.join(key.columns)} → {key.references}" for key in keys) or "none"
    raise SourceError(
        f"{via.foreign_key} of table {facts.name} is no foreign key to {parent.name} "
        f"(its foreign keys: {has}); declare it in the database, or use `match`"
    )


def _did_you_mean_table(name: Name, known: Collection[Name]) -> str:
    elsewhere = [str(other) for other in known if other.name == name.name]
    if elsewhere:
        return f" (there is {', '.join(elsewhere)})"
    return _hint(name.name, (other.name for other in known if other.schema == name.schema))


def _did_you_mean_column(name: str, facts: TableFacts) -> str:
    return _hint(name, (column.name for column in facts.columns))


def _hint(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
