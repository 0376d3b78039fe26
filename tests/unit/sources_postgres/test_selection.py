import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.sources_postgres.catalogs import catalog, column, match, points, table, via
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres.catalog import Name
from weddingbackup.sources.postgres.selection import choose, condition, relation

PLATFORM = catalog(
    table("events", "w", column("n", "int4")),
    table("notes", "event_id"),
    table("replies", "note_id"),
    keys=(points("notes", "event_id", "events"), points("replies", "note_id", "notes")),
)


def test_columns_of_a_match_are_all_asked_for() -> None:
    (events,) = choose([match("events", w="a", n="7")], PLATFORM)
    assert condition(events, "t").as_string() == (
        """"t"."w" OPERATOR("pg_catalog".=) CAST('a' AS "pg_catalog"."text") AND """
        """"t"."n" OPERATOR("pg_catalog".=) CAST('7' AS "pg_catalog"."int4")"""
    )


def test_a_chain_of_foreign_keys_is_followed_to_its_match() -> None:
    chosen = choose(
        [
            via("replies", "notes", "note_id"),
            via("notes", "events", "event_id"),
            match("events", w="a"),
        ],
        PLATFORM,
    )
    assert [str(one.name) for one in chosen] == ["public.replies", "public.notes", "public.events"]
    assert condition(chosen[0], "t").as_string() == (
        'EXISTS (SELECT FROM ONLY "public"."notes" "t_"'
        ' WHERE "t_"."id" OPERATOR("pg_catalog".=) "t"."note_id"'
        ' AND EXISTS (SELECT FROM ONLY "public"."events" "t__"'
        ' WHERE "t__"."id" OPERATOR("pg_catalog".=) "t_"."event_id"'
        """ AND "t__"."w" OPERATOR("pg_catalog".=) CAST('a' AS "pg_catalog"."text")))"""
    )


def test_partitioned_tables_are_asked_with_their_partitions() -> None:
    assert relation(table("t")).as_string() == 'ONLY "public"."t"'
    assert relation(table("t", kind="p")).as_string() == '"public"."t"'


NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63)
LITERAL = r"(?: E?'(?:[^'\\]|''|\\\\)*'|E?'(?:[^'\\]|''|\\\\)*')"


@given(name=NAMES, key=NAMES, value=NAMES | st.just(""))
@example(name='t" WHERE true --', key='w"', value="a' OR 'a' = 'a")
@example(name="t", key="w", value="\\' OR true --")
def test_no_name_and_no_value_gets_out_of_its_quotes(name: str, key: str, value: str) -> None:
    facts = catalog(table(name, key)) if key != "id" else catalog(table(name))
    (chosen,) = choose([match(name, **{key: value})], facts)
    text = condition(chosen, "t").as_string() + " FROM " + relation(chosen.table).as_string()
    quoted = r'"(?:[^"]|"")*"'
    assert re.fullmatch(
        rf"{quoted}\.{quoted} OPERATOR\({quoted}\.=\) CAST\({LITERAL} AS {quoted}\.{quoted}\)"
        rf" FROM ONLY {quoted}\.{quoted}",
        text,
        re.DOTALL,
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("x", "x of table public.notes is no foreign key to public.events"),
        ("event", "table public.notes has no column event (did you mean event_id?)"),
    ],
)
def test_a_foreign_key_has_to_be_declared(key: str, message: str) -> None:
    tables = (table("events", "w"), table("notes", "event_id", "x"))
    with pytest.raises(SourceError) as refused:
        choose([match("events", w="a"), via("notes", "events", key)], catalog(*tables))
    assert str(refused.value).startswith(message)


def test_a_table_via_itself_is_a_circle() -> None:
    facts = catalog(table("t", "above"), keys=(points("t", "above", "t"),))
    with pytest.raises(SourceError, match=r"in a circle: public\.t → public\.t"):
        choose([via("t", "t", "above")], facts)


def test_a_parents_name_in_several_schemas_is_ambiguous() -> None:
    x, y = (replace(table("events", "w"), name=Name(schema, "events")) for schema in "xy")
    tables = [match("events", w="a").model_copy(update={"schema_name": schema}) for schema in "xy"]
    with pytest.raises(SourceError, match=r"could be any of x\.events, y\.events"):
        choose([*tables, via("notes", "events", "event_id")], catalog(x, y, table("notes")))


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(SourceError, match="holds a zero byte"):
        choose([match("events", w="a\0b")], PLATFORM)


def test_near_misses_are_offered() -> None:
    known = [Name("public", "events"), Name("app", "guests")]
    with pytest.raises(SourceError, match=r"public\.event \(did you mean events\?\)"):
        choose([match("event", w="a")], PLATFORM, known)
    with pytest.raises(SourceError, match=r"public\.guests \(there is app\.guests\)"):
        choose([match("guests", w="a")], PLATFORM, known)
    with pytest.raises(SourceError, match=r"there is no table public\.zzz$"):
        choose([match("zzz", w="a")], PLATFORM, known)
