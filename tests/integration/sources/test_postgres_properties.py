"""Whatever happened since: the wedding as it was then, all others as they were just before."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.integration.sources.database import backup, tables
from tests.servers.postgres import Postgres
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres import apply

pytestmark = pytest.mark.integration

SCHEMA = """
CREATE TABLE item (id int PRIMARY KEY, w text NOT NULL, place int NOT NULL,
  above int REFERENCES item ON DELETE SET NULL, UNIQUE (w, place));
CREATE TABLE note (id int PRIMARY KEY, item_id int REFERENCES item ON DELETE CASCADE,
  label text UNIQUE);
CREATE TABLE tag (note_id int REFERENCES note ON DELETE CASCADE, name text,
  item_id int REFERENCES item ON DELETE SET NULL, PRIMARY KEY (note_id, name));
CREATE TABLE bill (id int PRIMARY KEY, item_id int NOT NULL REFERENCES item ON DELETE CASCADE);
"""
POLICY = tables(
    {"name": "tag", "via": {"table": "note", "foreignKey": "note_id"}},
    {"name": "note", "via": {"table": "item", "foreignKey": "item_id"}},
    {"name": "item", "match": {"w": "a"}},
)
KEYS = {"item": 1, "note": 1, "tag": 2, "bill": 1}
"""How many columns, from the left, are a table's key."""
COLUMNS = {
    "item": ("id", "w", "place", "above"),
    "note": ("id", "item_id", "label"),
    "tag": ("note_id", "name", "item_id"),
    "bill": ("id", "item_id"),
}
Content = dict[str, set[tuple[Any, ...]]]
Connection = psycopg.Connection[tuple[Any, ...]]
Change = tuple[str, str, tuple[Any, ...]]


def rows_of(
    ids: st.SearchStrategy[int], weddings: str
) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    """Draw a row of any table, whose numbers are `ids`."""
    maybe = st.none() | ids
    wedding = st.sampled_from(weddings)
    return st.one_of(
        st.tuples(st.just("item"), st.tuples(ids, wedding, st.integers(1, 3), maybe)),
        st.tuples(
            st.just("note"),
            st.tuples(ids, maybe, st.none() | st.builds("{}{}".format, wedding, st.integers(1, 3))),
        ),
        st.tuples(st.just("tag"), st.tuples(ids, st.sampled_from("xy"), maybe)),
        st.tuples(st.just("bill"), st.tuples(ids, ids)),
    )


def changes_of(ids: st.SearchStrategy[int], weddings: str) -> st.SearchStrategy[list[Change]]:
    """Draw what an application did: a row that it wrote anew, changed or removed."""
    act = st.sampled_from(("insert", "update", "delete"))
    change = st.tuples(act, rows_of(ids, weddings)).map(lambda drawn: (drawn[0], *drawn[1]))
    return st.lists(change, max_size=25)


def not_bill(change: Change) -> bool:
    return change[1] != "bill"


OURS = st.integers(1, 4)
THEIRS = st.integers(11, 13)


def full(weddings: dict[int, str], *, bills: bool) -> list[Change]:
    """Give each item a note, a tag and maybe a bill, so that changes meet something."""
    rows: list[tuple[str, tuple[Any, ...]]] = []
    for number, wedding in weddings.items():
        rows += [
            ("item", (number, wedding, number % 10, None)),
            ("note", (number, number, f"{wedding}{number % 10}")),
            ("tag", (number, "x", number)),
        ]
        if bills:
            rows.append(("bill", (number, number)))
    return [("insert", *row) for row in rows]


def write(connection: Connection, changes: list[Change]) -> None:
    """Do what the database lets an application do; the rest did not happen."""
    with connection.transaction():
        for act, table, row in changes:
            with suppress(psycopg.errors.IntegrityError), connection.transaction():
                connection.execute(*statement(act, table, row))


def statement(act: str, table: str, row: tuple[Any, ...]) -> tuple[sql.Composed, list[Any]]:
    name = sql.Identifier(table)
    columns = [sql.Identifier(column) for column in COLUMNS[table]]
    key = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(c) for c in columns[: KEYS[table]])
    key_values = [*row[: KEYS[table]]]
    values = sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    if act == "insert":
        return sql.SQL("INSERT INTO {} VALUES ({})").format(name, values), [*row]
    if act == "delete":
        return sql.SQL("DELETE FROM {} WHERE {}").format(name, key), key_values
    settings_ = sql.SQL(", ").join(sql.SQL("{} = %s").format(column) for column in columns)
    query = sql.SQL("UPDATE {} SET {} WHERE {}").format(name, settings_, key)
    return query, [*row, *key_values]


def content(connection: Connection) -> Content:
    return {
        table: set(connection.execute(sql.SQL("TABLE {}").format(sql.Identifier(table))))
        for table in COLUMNS
    }


def of_wedding_a(rows: Content) -> Content:
    """Choose the rows that the policy chooses, in another way than the product does."""
    items = {row for row in rows["item"] if row[1] == "a"}
    notes = {row for row in rows["note"] if row[1] in {item[0] for item in items}}
    tags = {row for row in rows["tag"] if row[0] in {note[0] for note in notes}}
    return {"item": items, "note": notes, "tag": tags, "bill": set()}


def without(rows: Content, others: Content) -> Content:
    """Take away rows, by key."""
    return {
        table: {
            row
            for row in rows[table]
            if row[: KEYS[table]] not in {other[: KEYS[table]] for other in others[table]}
        }
        for table in rows
    }


def union(rows: Content, more: Content) -> Content:
    return {table: rows[table] | more[table] for table in rows}


@pytest.fixture(scope="module")
def scratch(postgres: Postgres) -> Iterator[tuple[str, Connection]]:
    uri = postgres.create_database(f"test_{secrets.token_hex(6)}")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(SCHEMA)
        yield uri, connection


def recovered(scratch: tuple[str, Connection], before: list[Change], since: list[Change]) -> None:
    """Back up, go on, recover; and hold the result against what the promise says."""
    uri, database = scratch
    database.execute("DELETE FROM item; DELETE FROM note")
    write(database, before)
    with tempfile.TemporaryDirectory() as folder:
        directory = backup(uri, POLICY, Path(folder))
        then = of_wedding_a(content(database))
        write(database, since)
        now = content(database)
        try:
            applied = apply(directory, uri)
        except SourceError:
            assert content(database) == now
            raise
        expected = union(without(without(now, of_wedding_a(now)), then), then)
        assert content(database) == expected
        assert applied.rows == sum(map(len, then.values()))
        again = apply(directory, uri)
        assert not any(changes.any for changes in again.tables.values())
        assert content(database) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    before=changes_of(OURS, "a"),
    since=changes_of(OURS, "a"),
    theirs_before=changes_of(THEIRS, "b"),
    theirs_since=changes_of(THEIRS, "b"),
)
def test_recovery_never_fails_where_weddings_keep_apart(
    scratch: tuple[str, Connection],
    before: list[Change],
    since: list[Change],
    theirs_before: list[Change],
    theirs_since: list[Change],
) -> None:
    recovered(
        scratch,
        [
            *full(dict.fromkeys(range(1, 5), "a"), bills=False),
            *full(dict.fromkeys(range(11, 14), "b"), bills=True),
            *filter(not_bill, before),
            *theirs_before,
        ],
        [*filter(not_bill, since), *theirs_since],
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(before=changes_of(OURS, "ab"), since=changes_of(OURS, "ab"))
def test_recovery_is_exact_or_refused_where_weddings_meet(
    scratch: tuple[str, Connection], before: list[Change], since: list[Change]
) -> None:
    try:
        some = full({1: "a", 2: "a", 3: "b"}, bills=False)
        recovered(scratch, [*some, *before], since)
        event("recovered")
    except SourceError as error:
        event(f"refused: {' '.join(str(error).split()[:9])}")
