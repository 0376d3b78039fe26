from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from tests.unit.sources_postgres.catalogs import (
    catalog,
    column,
    match,
    points,
    table,
    unique,
)
from weddingbackup.resources.common import Table
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Catalog
from weddingbackup.sources.postgres.meta import ColumnMeta, Meta, TableMeta, file_name
from weddingbackup.sources.postgres.plan import Restored, plan, targets, type_changes


def described(*tables: Table, columns: tuple[str, ...] = ("id", "w")) -> Meta:
    return Meta(
        time=datetime(2026, 12, 5, tzinfo=UTC),
        lsn="0/1",
        snapshot="1:1:",
        system_identifier="1",
        timeline=1,
        database="d",
        server_version=150000,
        encoding="UTF8",
        tables=[
            TableMeta(
                table=one,
                file=file_name(one, number),
                rows=0,
                columns=[ColumnMeta(name=name, type="text") for name in columns],
                key=["id"],
            )
            for number, one in enumerate(tables)
        ],
    )


def planned(facts: Catalog, *tables: Table, **more: Any) -> list[Restored]:
    return plan(described(*tables, **more), tables, facts, [])


@pytest.mark.parametrize("names", [*permutations("abcd")])
def test_parents_come_before_what_points_to_them(names: tuple[str, ...]) -> None:
    keys = (
        points("b", "w", "a"),
        points("c", "w", "a"),
        points("d", "w", "b"),
        points("d", "w", "c"),
    )
    facts = catalog(*(table(name, "w") for name in "abcd"), keys=keys)
    order = [one.name.name for one in planned(facts, *(match(name, w="x") for name in names))]
    assert order[0] == "a"
    assert order[-1] == "d"


def test_a_circle_is_fine_where_one_key_can_wait() -> None:
    tables = (table("a", "w"), table("b", "w"))
    chosen = (match("a", w="x"), match("b", w="x"))
    back = points("b", "w", "a", deferrable=True)
    facts = catalog(*tables, keys=(points("a", "w", "b"), back, points("a", "w", "a")))
    assert [one.name.name for one in planned(facts, *chosen)] == ["b", "a"]
    facts = catalog(*tables, keys=(points("a", "w", "b"), points("b", "w", "a")))
    with pytest.raises(SourceError, match=r"in a circle \(a_w, b_w\).*ALTER CONSTRAINT a_w DEF"):
        planned(facts, *chosen)


@pytest.mark.parametrize(
    ("uniques", "contested"),
    [
        ((), ()),
        ((unique("w", "n"),), ("w", "n")),
        ((unique("id"),), ()),
        ((unique("w", immediate=False),), ()),
        ((unique(),), ("id", "w", "n")),  # an expression or a predicate: it may be about anything
        ((unique("n", exclusion=True),), ("n",)),
    ],
)
def test_columns_that_rows_contend_for(
    uniques: tuple[Any, ...], contested: tuple[str, ...]
) -> None:
    facts = catalog(table("t", "w", "n", uniques=uniques))
    (one,) = planned(facts, match("t", w="x"), columns=("id", "w", "n"))
    assert one.contested == contested


def test_a_column_that_cannot_be_updated_is_contested_too() -> None:
    facts = catalog(table("t", "w", column("n", "int4", identity="a")))
    (one,) = planned(facts, match("t", w="x"), columns=("id", "w", "n"))
    assert one.contested == ("n",)


def test_columns_since_the_backup_are_extra() -> None:
    more = (column("note"), column("level", not_null=True, has_default=True))
    computed = column("shout", generated=True)
    (one,) = planned(catalog(table("t", "w", *more, computed)), match("t", w="x"))
    assert one.extra == ("note", "level")
    assert [c.name for c in one.columns] == ["id", "w"]


def test_types_that_changed_are_named() -> None:
    (one,) = planned(catalog(table("t", column("w", "varchar(3)"))), match("t", w="x"))
    assert type_changes(one) == ["w was text, is varchar(3)"]


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (table("t", "x"), r"table public\.t has no column w"),
        (
            table("t", "w", column("x", not_null=True)),
            "column x of table public.t is new since the",
        ),
        (table("t", column("w", generated=True)), "column w of table public.t is a generated one"),
        (table("t", "w", lacks=frozenset({"INSERT"})), "GRANT INSERT ON public.t TO someone"),
        (table("t", "w", hidden=True), "row-level security hides rows of table public.t"),
        (table("t", "w", kind="v"), "public.t is no table"),
    ],
)
def test_drift_that_loses_something_is_refused(now: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        planned(catalog(now), match("t", w="x"))


def test_all_tables_can_go_to_another_schema() -> None:
    one = match("t", w="x").model_copy(update={"schema_name": "a"})
    two = match("t", w="x").model_copy(update={"schema_name": "b"})
    three = match("u", w="x")
    assert [t.schema_name for t in targets([one, three], None)] == ["a", "public"]
    assert [t.schema_name for t in targets([one, three], "copy")] == ["copy", "copy"]
    with pytest.raises(SourceError, match="cannot go into one, copy: they share the names t"):
        targets([one, two], "copy")


@pytest.mark.parametrize(
    ("schema", "name", "file"),
    [
        ("public", "guests", "public.guests.copy"),
        ("a.b", "c", "a%2Eb.c.copy"),
        ("a", "b.c", "a.b%2Ec.copy"),
        ("..", "/etc/passwd", "%2E%2E.%2Fetc%2Fpasswd.copy"),
        ("x" * 63, "é" * 31, "7.copy"),
    ],
)
def test_files_have_names_that_every_file_system_takes(schema: str, name: str, file: str) -> None:
    one = match(name, w="x").model_copy(update={"schema_name": schema})
    assert file_name(one, 7) == file


def test_meta_is_read_as_it_was_written() -> None:
    meta = described(match("t", w="x"))
    assert Meta.model_validate_json(meta.to_json()) == meta
