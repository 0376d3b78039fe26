from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.demo import platform
from tests.integration.sources.database import Database, backup, read, tables, user_of
from tests.servers.process import free_port
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import PostgresSource, apply, connection
from weddingbackup.vault.entries import Reader

pytestmark = pytest.mark.integration

EVENTS = """
CREATE TABLE timeline_events (id int PRIMARY KEY, wedding_id text, title text);
CREATE TABLE timeline_notes (
  id int PRIMARY KEY, event_id int REFERENCES timeline_events ON DELETE SET NULL, note text);
INSERT INTO timeline_events VALUES (2, 'a', 'Ceremony'), (1, 'a', 'Arrival'), (3, 'b', 'Theirs');
INSERT INTO timeline_notes VALUES (10, 1, 'ours'), (11, 3, 'theirs'), (12, NULL, 'nobody''s');
"""
EVENTS_OF_A = {"name": "timeline_events", "match": {"wedding_id": "a"}}
NOTES = {"name": "timeline_notes", "via": {"table": "timeline_events", "foreignKey": "event_id"}}


def files_of(uri: str, *described: dict[str, Any]) -> dict[str, str]:
    with PostgresSource(uri, tables(*described)) as source:
        files = read(source)
    return {
        path.decode().removeprefix("tables/"): data.decode("latin-1")
        for path, data in files.items()
        if path != b"meta.json"
    }


def refusal(uri: str, *described: dict[str, Any]) -> str:
    with pytest.raises(SourceError) as refused, PostgresSource(uri, tables(*described)):
        pass
    return str(refused.value)


def drain(reader: Reader) -> None:
    while reader.readinto(memoryview(bytearray(1 << 16))):
        pass


def test_only_the_weddings_rows_in_the_order_of_the_key(database: Database) -> None:
    database.run(EVENTS)
    assert files_of(database.uri, EVENTS_OF_A, NOTES) == {
        "public.timeline_events.copy": "1\ta\tArrival\n2\ta\tCeremony\n",
        "public.timeline_notes.copy": "10\t1\tours\n",
    }


def test_unchanged_rows_give_the_same_bytes(database: Database) -> None:
    platform.create(database.uri, weddings=3)
    chosen = platform.policy_tables(platform.wedding_id(1))
    before = files_of(database.uri, *chosen)
    # Moves every row to another place in the file.
    database.run("UPDATE guests SET email = email; UPDATE messages SET body = body")
    database.run("VACUUM FULL guests")
    assert files_of(database.uri, *chosen) == before


def test_all_tables_are_of_one_moment(database: Database) -> None:
    database.run(EVENTS)
    with PostgresSource(database.uri, tables(EVENTS_OF_A, NOTES)) as source:
        database.run("DELETE FROM timeline_notes; UPDATE timeline_events SET title = 'late'")
        database.run("INSERT INTO timeline_events VALUES (4, 'a', 'late')")
        files = read(source)
    assert files[b"tables/public.timeline_events.copy"] == b"1\ta\tArrival\n2\ta\tCeremony\n"
    assert files[b"tables/public.timeline_notes.copy"] == b"10\t1\tours\n"


def test_tables_are_read_at_the_same_time(database: Database) -> None:
    platform.create(database.uri, weddings=3)
    chosen = tables(*platform.policy_tables(platform.wedding_id(1)))
    with PostgresSource(database.uri, chosen) as source:
        expected = read(source)
        entries = source.children(b"tables")
        readers = [source.open(b"tables/" + entry.name, entry) for entry in entries]

        def content(number: int) -> bytes:
            buffer, data = memoryview(bytearray(7)), b""
            while count := readers[number].readinto(buffer):
                data += buffer[:count]
            return data

        with ThreadPoolExecutor(len(readers)) as pool:
            found = list(pool.map(content, range(len(readers))))
        for reader in readers:
            reader.finish()
            reader.close()
    assert found == [expected[b"tables/" + entry.name] for entry in entries]


def test_facts_name_the_moment_in_the_databases_own_terms(database: Database) -> None:
    database.run(EVENTS)
    ((system,),) = database.rows("SELECT system_identifier::text FROM pg_control_system()")
    with PostgresSource(database.uri, tables(EVENTS_OF_A, NOTES)) as source:
        database.run("INSERT INTO timeline_events VALUES (4, 'a', 'late')")
        facts = source.facts()
        ((later, lag),) = database.rows(
            "SELECT NOT pg_visible_in_snapshot(t.xmin::text::xid8, %s::pg_snapshot),"
            " pg_current_wal_lsn() - %s::pg_lsn FROM timeline_events t WHERE id = 4",
            facts["snapshot"],
            facts["lsn"],
        )
    assert later
    assert lag > 0
    assert facts["systemIdentifier"] == system
    assert facts["encoding"] == "UTF8"
    assert facts["tables"] == {"public.timeline_events": 2, "public.timeline_notes": 1}
    assert facts["warnings"] == []


def test_no_rows_at_all_is_said(database: Database) -> None:
    database.run(EVENTS)
    with PostgresSource(
        database.uri, tables({**EVENTS_OF_A, "match": {"wedding_id": "z"}}, NOTES)
    ) as source:
        assert read(source)[b"tables/public.timeline_events.copy"] == b""
        assert source.facts()["warnings"] == [
            "table public.timeline_events: no row has wedding_id = z"
        ]


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("short varchar(3)", "abcd", []),  # a cast to varchar(3) would make it abc
        ("short varchar(3)", "abc", [1]),
        ("padded char(5)", "abc", [1]),
        ("padded char(5)", "abcdefgh", []),
        ("number bigint", " 7 ", [1]),
        ("amount numeric(5,2)", "7.0", [1]),
        ("amount numeric(5,2)", "7.001", []),
        ("moment timestamptz", "2026-12-05T12:00:00+02:00", [1]),
        ("id_ uuid", "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", [1]),
        ("flag boolean", "yes", [1]),
        ("mood mood", "glad", [1]),
        ("code code", "abcd", []),  # a domain over varchar(3)
        ("code code", "abc", [1]),
        ("list text[]", '{a,"b c"}', [1]),
        ("plain text", "x' OR true --", [1]),
        ("plain text", "x\\' OR 1=1", []),
        ('"we""ird; DROP TABLE t;--" text', "%s {} 'q'", [1]),
    ],
)
def test_a_value_is_compared_as_its_columns_type(
    database: Database, column: str, value: str, found: list[int]
) -> None:
    database.run("CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN code AS varchar(3)")
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, {column})")
    stored = {
        "short": "abc",
        "padded": "abc",
        "number": "7",
        "amount": "7.00",
        "moment": "2026-12-05 10:00:00+00",
        "id_": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "flag": "t",
        "mood": "glad",
        "code": "abc",
        "list": '{a,"b c"}',
        "plain": "x' OR true --",
        '"we""ird;': "%s {} 'q'",
    }[column.split(" ", maxsplit=1)[0]]
    with psycopg.connect(database.uri) as connection:
        connection.execute("INSERT INTO t VALUES (1, %s)", [stored])
    name = column[: column.rindex(" ")].strip('"').replace('""', '"')
    rows = files_of(database.uri, {"name": "t", "match": {name: value}})["public.t.copy"]
    assert [int(row.split("\t")[0]) for row in rows.splitlines()] == found


def test_all_columns_of_a_match_have_to_fit(database: Database) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, org text, wedding text)")
    database.run("INSERT INTO t VALUES (1, 'x', 'a'), (2, 'x', 'b'), (3, 'y', 'a'), (4, 'x', NULL)")
    chosen = {"name": "t", "match": {"org": "x", "wedding": "a"}}
    assert files_of(database.uri, chosen) == {"public.t.copy": "1\tx\ta\n"}


def test_chains_and_diamonds_of_foreign_keys(database: Database) -> None:
    database.run("""
        CREATE SCHEMA "other.schema";
        CREATE TABLE top (id int PRIMARY KEY, w text);
        CREATE TABLE "left" (a int, b int, top_id int REFERENCES top, PRIMARY KEY (a, b));
        CREATE TABLE "other.schema"."Right Side" (id int PRIMARY KEY, top_id int REFERENCES top);
        CREATE TABLE bottom (id int PRIMARY KEY, la int, lb int,
            right_id int REFERENCES "other.schema"."Right Side",
            CONSTRAINT to_left FOREIGN KEY (la, lb) REFERENCES "left" (a, b));
        CREATE TABLE leaf (id int PRIMARY KEY, bottom_id int REFERENCES bottom);
        INSERT INTO top VALUES (1, 'w'), (2, 'x');
        INSERT INTO "left" VALUES (1, 1, 1), (1, 2, 2);
        INSERT INTO "other.schema"."Right Side" VALUES (5, 1), (6, 2);
        INSERT INTO bottom VALUES (1, 1, 1, 6), (2, 1, 2, 5), (3, 1, NULL, 5);
        INSERT INTO leaf VALUES (1, 1), (2, 2), (3, 3);
    """)
    leaf = {"name": "leaf", "via": {"table": "bottom", "foreignKey": "bottom_id"}}
    left = {"name": "left", "via": {"table": "top", "foreignKey": "top_id"}}
    right = {"schema": "other.schema", "name": "Right Side", "via": left["via"]}
    top = {"name": "top", "match": {"w": "w"}}
    for via, bottoms, leaves in (
        ({"table": "left", "foreignKey": "to_left"}, "1\t1\t1\t6\n", "1\t1\n"),
        (
            {"table": "Right Side", "foreignKey": "right_id"},
            "2\t1\t2\t5\n3\t1\t\\N\t5\n",
            "2\t2\n3\t3\n",
        ),
    ):
        found = files_of(database.uri, leaf, {"name": "bottom", "via": via}, left, right, top)
        assert found["public.bottom.copy"] == bottoms
        assert found["public.leaf.copy"] == leaves
        assert found["other%2Eschema.Right Side.copy"] == "5\t1\n"


def test_partitions_come_with_their_table(database: Database) -> None:
    database.run("""
        CREATE TABLE p (w text, id int, v text, PRIMARY KEY (w, id)) PARTITION BY HASH (id);
        CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO p SELECT w, i, 'v' FROM unnest(ARRAY['a', 'b']) w, generate_series(1, 4) i;
    """)
    chosen = {"name": "p", "match": {"w": "a"}}
    rows = files_of(database.uri, chosen)["public.p.copy"]
    assert rows == "a\t1\tv\na\t2\tv\na\t3\tv\na\t4\tv\n"
    message = refusal(database.uri, chosen, {"name": "p0", "match": {"w": "a"}})
    assert message.startswith("table public.p0 is a partition of public.p, which is listed too")


def test_tables_that_inherit_have_to_be_listed(database: Database) -> None:
    database.run("""
        CREATE TABLE base (id int PRIMARY KEY, w text);
        CREATE TABLE derived (extra text, PRIMARY KEY (id)) INHERITS (base);
        INSERT INTO base VALUES (1, 'a');
        INSERT INTO derived VALUES (2, 'a', 'more');
    """)
    base, derived = ({"name": name, "match": {"w": "a"}} for name in ("base", "derived"))
    assert "inherit from it: public.derived" in refusal(database.uri, base)
    assert files_of(database.uri, base, derived) == {
        "public.base.copy": "1\ta\n",
        "public.derived.copy": "2\ta\tmore\n",
    }


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_databases_own_encoding_is_kept(
    database: Database, encoding: str, tmp_path: Path
) -> None:
    name = f"{database.uri.rsplit('/', 1)[1]}_{encoding.lower()}"
    database.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {encoding} LOCALE 'C'")
    other = Database(database.server, database.server.uri(name))
    text = "'\\303\\251'::bytea" if encoding == "SQL_ASCII" else "'\\351'::bytea"
    if encoding == "EUC_JP":
        text = "'\\264\\301'::bytea"
    other.run(
        f"CREATE TABLE t (id int PRIMARY KEY, w text, v text);"
        f"INSERT INTO t VALUES (1, 'a', convert_from({text}, '{encoding}'))"
    )
    hexes = "SELECT encode(convert_to(v, getdatabaseencoding()), 'hex') FROM t"
    before = other.rows(hexes)
    directory = backup(other.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    other.run("DELETE FROM t")
    apply(directory, other.uri)
    assert other.rows(hexes) == before


def test_a_large_row_is_read_in_small_pieces(database: Database) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, w text, v bytea)")
    database.run(
        "INSERT INTO t SELECT i, 'a', decode(repeat('deadbeef', 13107200), 'hex')"
        " FROM generate_series(1, 2) i"
    )
    with PostgresSource(database.uri, tables({"name": "t", "match": {"w": "a"}})) as source:
        (file,) = (data for path, data in read(source, block=1 << 20).items() if b"tables" in path)
    assert file == b"".join(b"%d\ta\t\\\\x%s\n" % (i, b"deadbeef" * 13107200) for i in (1, 2))


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            [{"name": "timeline_event", "match": {"wedding_id": "a"}}],
            "there is no table public.timeline_event (did you mean timeline_events?)",
        ),
        (
            [{"schema": "app", "name": "timeline_events", "match": {"wedding_id": "a"}}],
            "there is no table app.timeline_events (there is public.timeline_events)",
        ),
        (
            [{"name": "timeline_events", "match": {"weding_id": "a"}}],
            "table public.timeline_events has no column weding_id (did you mean wedding_id?)",
        ),
        (
            [{"name": "timeline_events", "match": {"id": "first"}}],
            "table public.timeline_events: 'first' is no value that column id of type integer can",
        ),
        (
            [NOTES],
            "table public.timeline_notes goes via timeline_events, which is not in the list",
        ),
        (
            [EVENTS_OF_A, {**NOTES, "via": {"table": "timeline_event", "foreignKey": "event_id"}}],
            "which is not in the list of tables (did you mean timeline_events?)",
        ),
        (
            [EVENTS_OF_A, {**NOTES, "via": {"table": "timeline_events", "foreignKey": "note"}}],
            "no foreign key to public.timeline_events (its foreign keys: event_id → public.time",
        ),
        (
            [EVENTS_OF_A, {**NOTES, "via": {"table": "timeline_events", "foreignKey": "evnt_id"}}],
            "table public.timeline_notes has no column evnt_id (did you mean event_id?)",
        ),
        (
            [
                {"name": "timeline_events", "via": {"table": "timeline_notes", "foreignKey": "x"}},
                NOTES,
            ],
            "in a circle: public.timeline_events → public.timeline_notes → public.timeline_events",
        ),
        ([EVENTS_OF_A, EVENTS_OF_A], "listed more than once: table public.timeline_events"),
        ([{"name": "v", "match": {"id": "1"}}], "public.v is no table"),
        ([{"name": "keyless", "match": {"w": "a"}}], "table public.keyless has no primary key"),
        (
            [EVENTS_OF_A, {"name": "two", "via": {"table": "timeline_events", "foreignKey": "x"}}],
            "foreign key to public.timeline_events: write the name of one: two_x_fkey, two_x_fkey1",
        ),
        ([{"name": "j", "match": {"j": "{}"}}], "'{}' is no value that column j of type json"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(
    database: Database, described: list[dict[str, Any]], message: str
) -> None:
    database.run(EVENTS)
    database.run("""
        CREATE VIEW v AS SELECT * FROM timeline_events;
        CREATE TABLE keyless (w text, n int UNIQUE);
        CREATE TABLE two (id int PRIMARY KEY, x int REFERENCES timeline_events,
            FOREIGN KEY (x) REFERENCES timeline_events (id));
        CREATE TABLE j (id int PRIMARY KEY, j json);
    """)
    assert message in refusal(database.uri, *described)


def test_a_unique_index_can_stand_for_the_primary_key(database: Database) -> None:
    database.run("CREATE TABLE t (w text, n int NOT NULL UNIQUE, m int UNIQUE)")
    database.run("INSERT INTO t VALUES ('a', 2, 1), ('a', 1, 2)")
    rows = files_of(database.uri, {"name": "t", "match": {"w": "a"}})
    assert rows == {"public.t.copy": "a\t1\t2\na\t2\t1\n"}


def test_a_primary_key_may_be_deferrable(database: Database) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, w text)")
    database.run("INSERT INTO t VALUES (2, 'a'), (1, 'a')")
    rows = files_of(database.uri, {"name": "t", "match": {"w": "a"}})
    assert rows == {"public.t.copy": "1\ta\n2\ta\n"}


def test_rights_that_are_missing_are_named(database: Database) -> None:
    database.run(f"CREATE SCHEMA app; {EVENTS}; CREATE TABLE app.t (id int PRIMARY KEY, w text)")
    uri = database.role("reader")
    user = user_of(uri)
    database.run(f"GRANT SELECT (id, title) ON timeline_events TO {user}")
    assert refusal(uri, EVENTS_OF_A).startswith(
        f"user {user} may not read wedding_id of table public.timeline_events: GRANT SELECT"
    )
    assert refusal(uri, {"schema": "app", "name": "t", "match": {"w": "a"}}).startswith(
        f"user {user} may not use schema app: GRANT USAGE ON SCHEMA app TO {user}"
    )
    database.run(f"GRANT SELECT ON timeline_events TO {user}")
    assert files_of(uri, EVENTS_OF_A)


def test_rows_hidden_by_row_level_security_are_an_error(database: Database) -> None:
    database.run(EVENTS)
    uri = database.role("tenant")
    user = user_of(uri)
    database.run(f"""
        GRANT SELECT ON timeline_events TO {user};
        ALTER TABLE timeline_events ENABLE ROW LEVEL SECURITY;
        CREATE POLICY few ON timeline_events USING (id = 1);
    """)
    assert "row-level security hides rows of table public.timeline_events" in refusal(
        uri, EVENTS_OF_A
    )
    database.run(f"ALTER ROLE {user} BYPASSRLS")
    assert "2\ta\tCeremony" in files_of(uri, EVENTS_OF_A)["public.timeline_events.copy"]


# --- failures -------------------------------------------------------------------------------------


def test_a_wrong_password_is_refused_and_not_shown(database: Database) -> None:
    uri = database.role("someone", "right").replace(":right@", ":wr0ng-S3cret@")
    message = refusal(uri, EVENTS_OF_A)
    assert "password authentication failed" in message
    assert "wr0ng" not in message


@pytest.mark.parametrize("uri", ["postgresql://u:S3cret@host:port/db", "S3cret", "host='S3cret"])
def test_a_broken_connection_string_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(SourceError) as refused, PostgresSource(uri, tables(EVENTS_OF_A)):
        pass
    assert "S3cret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_missing_database_is_refused(database: Database) -> None:
    assert "does not exist" in refusal(database.server.uri("nowhere"), EVENTS_OF_A)


def test_nobody_listening_is_worth_another_try() -> None:
    uri = f"postgresql://u:S3cret@127.0.0.1:{free_port('127.0.0.1')}/db"
    with (
        pytest.raises(SourceUnavailableError, match="does not answer") as failed,
        PostgresSource(uri, tables(EVENTS_OF_A)),
    ):
        pass
    assert "S3cret" not in str(failed.value)


def test_a_table_that_breaks_off_is_an_error_and_no_short_file(database: Database) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, w text, v text)")
    database.run("INSERT INTO t SELECT i, 'a', repeat('x', 1000) FROM generate_series(1, 50000) i")
    with PostgresSource(database.uri, tables({"name": "t", "match": {"w": "a"}})) as source:
        (entry,) = source.children(b"tables")
        reader = source.open(b"tables/" + entry.name, entry)
        assert reader.readinto(memoryview(bytearray(1 << 16)))
        database.kill("query LIKE 'COPY%%'")
        with pytest.raises(SourceUnavailableError, match=r"while reading table public\.t"):
            drain(reader)
        reader.close()


def test_a_file_with_fewer_rows_than_counted_is_an_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(EVENTS)
    with PostgresSource(database.uri, tables(EVENTS_OF_A)) as source:
        (entry,) = source.children(b"tables")
        monkeypatch.setattr(
            source,
            "_copy",
            lambda _: psycopg.sql.SQL("COPY (SELECT 1) TO STDOUT") + psycopg.sql.SQL(""),
        )
        reader = source.open(b"tables/" + entry.name, entry)
        drain(reader)
        with pytest.raises(SourceUnavailableError, match="1 rows came instead of 2"):
            reader.finish()
        reader.close()


def test_a_lost_snapshot_is_worth_another_try(database: Database) -> None:
    database.run(EVENTS)
    with PostgresSource(database.uri, tables(EVENTS_OF_A)) as source:
        (entry,) = source.children(b"tables")
        database.kill()
        with pytest.raises(SourceUnavailableError, match="held the snapshot was lost"):
            source.open(b"tables/" + entry.name, entry)


def test_a_table_locked_for_long_is_worth_another_try(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(EVENTS)
    monkeypatch.setitem(connection._SETTINGS, "lock_timeout", "100ms")
    with psycopg.connect(database.uri) as holder:
        holder.execute("LOCK TABLE timeline_events IN ACCESS EXCLUSIVE MODE")
        with (
            pytest.raises(SourceUnavailableError, match="lock timeout"),
            PostgresSource(database.uri, tables(EVENTS_OF_A)),
        ):
            pass
