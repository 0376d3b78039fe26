import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.demo import platform
from tests.integration.sources.database import (
    Database,
    backup,
    in_background,
    tables,
    user_of,
)
from tests.servers.process import wait_until
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import Applied, TableChanges, apply, recovery

pytestmark = pytest.mark.integration

OURS = platform.wedding_id(1)
PARENT = {"name": "parent", "match": {"w": "a"}}
CHILD = {"name": "child", "via": {"table": "parent", "foreignKey": "parent_id"}}
SMALL = """
CREATE TABLE parent (id int PRIMARY KEY, w text, v text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent {action}, v text);
INSERT INTO parent VALUES (1, 'a', 'one'), (2, 'a', 'two'), (9, 'b', 'theirs');
INSERT INTO child VALUES (1, 1, 'one'), (2, 2, 'two'), (9, 9, 'theirs');
"""


def small(database: Database, tmp_path: Path, *, action: str = "", more: str = "") -> Path:
    """Make two small tables of two weddings, and back wedding `a` up."""
    database.run(SMALL.format(action=action) + more)
    return backup(database.uri, tables(PARENT, CHILD), tmp_path / "files")


def refused(database: Database, directory: Path, **more: Any) -> str:
    """Apply, and see that it is refused and that nothing has changed."""
    before = database.content()
    with pytest.raises(SourceError) as refusal:
        apply(directory, more.pop("uri", database.uri), **more)
    assert database.content() == before
    return str(refusal.value)


def result(outcome: list[Any]) -> Applied:
    """Give what a recovery in the background came to."""
    assert isinstance(outcome[0], Applied), outcome[0]
    return outcome[0]


def changes(applied: Applied, table: str) -> tuple[int, int, int, int]:
    found = applied.tables[f"public.{table}"]
    return found.inserted, found.updated, found.deleted, found.unchanged


# --- the promise ----------------------------------------------------------------------------------


def test_a_lost_wedding_comes_back_and_no_other_moves(database: Database, tmp_path: Path) -> None:
    platform.create(database.uri, weddings=8)
    ours = platform.checksum(database.uri, OURS)
    directory = backup(database.uri, tables(*platform.policy_tables(OURS)), tmp_path)
    platform.delete_wedding(database.uri, OURS)
    database.run("UPDATE guests SET reply = 'declined' WHERE number = 3")
    others = platform.checksum_others(database.uri, OURS)
    assert platform.checksum(database.uri, OURS) != ours
    applied = apply(directory, database.uri)
    assert platform.checksum(database.uri, OURS) == ours
    assert platform.checksum_others(database.uri, OURS) == others
    assert changes(applied, "timeline_events") == (11, 0, 0, 0)
    assert applied.rows == sum(int(ours[name].split()[0]) for name in ours if name != "weddings")
    again = apply(directory, database.uri)
    assert not any(found.any for found in again.tables.values())
    assert again.rows == applied.rows


def test_what_changed_came_and_went_is_undone(database: Database, tmp_path: Path) -> None:
    platform.create(database.uri, weddings=3)
    ours = platform.checksum(database.uri, OURS)
    directory = backup(database.uri, tables(*platform.policy_tables(OURS)), tmp_path)
    database.run(f"""
        UPDATE timeline_events SET position = position + 100 WHERE wedding_id = '{OURS}';
        UPDATE timeline_events SET position = 110 - position WHERE wedding_id = '{OURS}';
        DELETE FROM timeline_events WHERE wedding_id = '{OURS}' AND title = 'Drinks';
        INSERT INTO timeline_events (wedding_id, position, title, starts_at, duration)
            VALUES ('{OURS}', 77, 'Fireworks', now(), '1 h');
        INSERT INTO timeline_notes (event_id, author, note, written_at)
            SELECT id, 'x', 'y', now() FROM timeline_events WHERE wedding_id = '{OURS}';
        UPDATE guests SET diet = '{{vegan}}', seat = NULL WHERE wedding_id = '{OURS}' AND number < 9;
        DELETE FROM guests WHERE wedding_id = '{OURS}' AND number >= 30;
        UPDATE contracts SET price = price + 1 WHERE wedding_id = '{OURS}';
        UPDATE messages SET reply_to = NULL WHERE wedding_id = '{OURS}';
        DELETE FROM messages WHERE wedding_id = '{OURS}' AND read;
    """)
    others = platform.checksum_others(database.uri, OURS)
    apply(directory, database.uri)
    assert platform.checksum(database.uri, OURS) == ours
    assert platform.checksum_others(database.uri, OURS) == others


def test_the_difference_is_counted(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    database.run("""
        DELETE FROM child WHERE id = 2;
        DELETE FROM parent WHERE id = 2;
        UPDATE parent SET v = 'changed' WHERE w = 'a';
        INSERT INTO parent VALUES (3, 'a', 'new');
        INSERT INTO child VALUES (3, 3, 'new');
    """)
    bytes_loaded: list[int] = []
    applied = apply(directory, database.uri, progress=bytes_loaded.append)
    assert applied.tables == {
        "public.parent": TableChanges(inserted=1, updated=1, deleted=1, unchanged=0),
        "public.child": TableChanges(inserted=1, updated=0, deleted=1, unchanged=1),
    }
    assert applied.warnings == []
    files = (directory / "tables").iterdir()
    assert sum(bytes_loaded) == sum(file.stat().st_size for file in files)


AWKWARD = """
CREATE SCHEMA "we ird";
CREATE TYPE "we ird"."Mood" AS ENUM ('glad', 'with space', 'quo''te');
CREATE DOMAIN "we ird".small AS int CHECK (VALUE < 100);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE "we ird"."T.able ""x"" y" (
  "wed ding" text,
  "Key 1" uuid, "key2" timestamptz,
  n numeric, f float8, r real, t text, b bytea, j json, jb jsonb, a text[], a2 int[][],
  m "we ird"."Mood", d "we ird".small, ts timestamp, da date, iv interval, ip inet, p pair,
  bits bit varying, c "char", ch char(5), mo money, x xml, tsv tsvector, rng tstzrange, pt point,
  ident int GENERATED ALWAYS AS IDENTITY,
  gen text GENERATED ALWAYS AS (upper(t)) STORED,
  PRIMARY KEY ("Key 1", key2)
);
INSERT INTO "we ird"."T.able ""x"" y" VALUES
 ('a''b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'infinity', 'NaN', '-0', 'Infinity',
  E'tab\\t new\\nline \\r \\\\ \\\\N \\\\. \\x08 "q" ''s'' %s {0}', '\\x00ff5c', '{"b": 1,  "a": 2, "b": 3}',
  '{"b": "\\u2028é", "a": [1.50, null]}', ARRAY['a,b', NULL, 'NULL', '', '{}', E'\\\\"'], '{{1,2},{3,4}}',
  'quo''te', 99, '-infinity', '0044-03-15 BC', '-1 mon +3 days -04:05:06.789', '::1/64', '(1,"a,b")',
  B'10110', 'x', 'ab', '1234.50', '<a>1</a>', 'fat & cat', '[2026-01-01 00:00+00,)', '(1.1,2)'),
 ('a''b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-12-05 12:00:00.000001+00', 1.10, 0.1, 0.1,
  '', '', 'null', 'null', '{}', '{}', 'glad', -5, '1999-12-31 23:59:59.999999', 'infinity', '1 year',
  '10.0.0.1', NULL, B'', '', '', '-0.01', NULL, '', 'empty', '(NaN,0)');
INSERT INTO "we ird"."T.able ""x"" y" ("wed ding", "Key 1", key2)
 VALUES ('a''b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', '-infinity');
INSERT INTO "we ird"."T.able ""x"" y" ("wed ding", "Key 1", key2, t)
 VALUES ('other', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', 'infinity', 'theirs');
"""


def test_awkward_values_and_names_come_back_as_they_were(
    database: Database, tmp_path: Path
) -> None:
    database.run(AWKWARD)
    table = {"schema": "we ird", "name": 'T.able "x" y', "match": {"wed ding": "a'b"}}
    settings = "-c datestyle=german -c intervalstyle=iso_8601 -c timezone=Asia/Tokyo"
    settings += " -c extra_float_digits=-3 -c bytea_output=escape"
    uri = f"{database.uri}?options={quote(settings)}"
    directory = backup(uri, tables(table), tmp_path)
    before = database.content()
    database.run('DELETE FROM "we ird"."T.able ""x"" y" WHERE t IS NULL OR t = \'\'')
    database.run(
        'UPDATE "we ird"."T.able ""x"" y" SET n = 0, f = 0, j = \'{}\', t = t || \'!\','
        " iv = '0', a = NULL, c = 'y' WHERE n = 'NaN'"
    )
    applied = apply(directory, uri)
    assert database.content() == before
    assert applied.tables['we ird.T.able "x" y'] == TableChanges(2, 1, 0, 0)


def test_a_difference_that_equals_would_not_see(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, w text, n numeric, f float8)")
    database.run("INSERT INTO t VALUES (1, 'a', 1.0, 0), (2, 'a', 2.00, '-0')")
    before = database.content()
    directory = backup(database.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    database.run("UPDATE t SET n = n::numeric(10,4), f = 0")
    assert changes(apply(directory, database.uri), "t") == (0, 2, 0, 0)
    assert database.content() == before


def test_a_row_of_fifty_megabytes(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, w text, v bytea)")
    database.run(
        "INSERT INTO t SELECT 1, 'a', string_agg(sha512(i::text::bytea), '')"
        " FROM generate_series(1, 50 * 16384) i"
    )
    digest = "SELECT length(v), md5(v) FROM t"
    before = database.rows(digest)
    directory = backup(database.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    database.run("UPDATE t SET v = substr(v, 2)")
    assert changes(apply(directory, database.uri), "t") == (0, 1, 0, 0)
    assert database.rows(digest) == before
    assert changes(apply(directory, database.uri), "t") == (0, 0, 0, 1)


def test_partitioned_tables(database: Database, tmp_path: Path) -> None:
    database.run("""
        CREATE TABLE p (w text, id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (10);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (10) TO (20);
        CREATE TABLE c (id int PRIMARY KEY, p_id int REFERENCES p ON DELETE CASCADE, n int UNIQUE);
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.v = 'shouted'; RETURN NEW; END $$;
        INSERT INTO p VALUES ('a', 1, 'x'), ('a', 11, 'y'), ('b', 2, 'z');
        INSERT INTO c VALUES (1, 1, 1), (2, 11, 2), (3, 2, 3);
        CREATE TRIGGER above BEFORE INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION shout();
        CREATE TRIGGER below BEFORE INSERT OR UPDATE ON p1 FOR EACH ROW EXECUTE FUNCTION shout();
        ALTER TABLE p1 ENABLE ALWAYS TRIGGER below;
    """)
    before = database.content()
    states = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"
    triggers = database.rows(states)
    chosen = tables(
        {"name": "p", "match": {"w": "a"}},
        {"name": "c", "via": {"table": "p", "foreignKey": "p_id"}},
    )
    directory = backup(database.uri, chosen, tmp_path)
    database.run("DELETE FROM p WHERE id = 11; UPDATE c SET n = 5 WHERE id = 1")
    database.run("INSERT INTO p VALUES ('a', 15, 'new'); INSERT INTO c VALUES (2, 15, 2)")
    apply(directory, database.uri)
    assert database.content() == before
    assert database.rows(states) == triggers


def test_into_another_database(database: Database, tmp_path: Path) -> None:
    platform.create(database.uri, weddings=4)
    directory = backup(database.uri, tables(*platform.policy_tables(OURS)), tmp_path)
    name = f"{database.uri.rsplit('/', 1)[1]}_other"
    other = Database(database.server, database.server.create_database(name))
    platform.create(other.uri, weddings=4)
    platform.delete_wedding(other.uri, OURS)
    platform.delete_wedding(other.uri, platform.wedding_id(3))
    other.run("UPDATE guests SET email = 'elsewhere'")
    others = platform.checksum_others(other.uri, OURS)
    apply(directory, other.uri)
    assert platform.checksum(other.uri, OURS) == platform.checksum(database.uri, OURS)
    assert platform.checksum_others(other.uri, OURS) == others


def test_into_another_schema(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    database.run("""
        CREATE SCHEMA copy;
        CREATE TABLE copy.parent (LIKE parent INCLUDING ALL);
        CREATE TABLE copy.child (v text, parent_id bigint REFERENCES copy.parent, id int PRIMARY KEY);
        DELETE FROM child; UPDATE parent SET v = 'gone';
    """)
    applied = apply(directory, database.uri, schema="copy")
    assert set(applied.tables) == {"copy.parent", "copy.child"}
    assert database.content() == {
        "parent": ["(1,a,gone)", "(2,a,gone)", "(9,b,gone)"],
        "child": [],
        "copy.parent": ["(1,a,one)", "(2,a,two)"],
        "copy.child": ["(one,1,1)", "(two,2,2)"],
    }
    assert "there is no table nowhere.parent" in refused(database, directory, schema="nowhere")


# --- other weddings' rows -------------------------------------------------------------------------


def test_a_row_that_belongs_to_another_wedding_by_now_is_not_taken(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path)
    database.run("UPDATE parent SET w = 'b' WHERE id = 1")
    message = refused(database, directory)
    assert "1 row of table public.parent that this wedding had" in message
    assert "now belong to another wedding" in message


def test_a_child_that_moved_to_another_wedding_is_not_taken(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path)
    database.run("UPDATE child SET parent_id = 9 WHERE id = 1")
    assert "1 row of table public.child that this wedding had" in refused(database, directory)


def test_a_key_that_another_wedding_uses_by_now_is_not_taken(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path)
    database.run("DELETE FROM child WHERE id = 1; INSERT INTO child VALUES (1, 9, 'new')")
    assert "1 row of table public.child" in refused(database, directory)


def test_a_row_that_came_from_another_wedding_goes(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    database.run("UPDATE child SET parent_id = 1 WHERE id = 9")
    assert changes(apply(directory, database.uri), "child") == (0, 0, 1, 2)


def test_a_row_that_lost_its_wedding_is_still_ours(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path, action="ON DELETE SET NULL")
    before = database.content()
    database.run("DELETE FROM parent WHERE id = 1")
    assert database.rows("SELECT parent_id FROM child WHERE id = 1") == [(None,)]
    assert changes(apply(directory, database.uri), "child") == (0, 1, 0, 1)
    assert database.content() == before


def test_half_a_reference_to_another_wedding_is_still_theirs(
    database: Database, tmp_path: Path
) -> None:
    database.run("""
        CREATE TABLE parent (w text, id int, PRIMARY KEY (w, id));
        CREATE TABLE child (id int PRIMARY KEY, w text, p int, FOREIGN KEY (w, p) REFERENCES parent);
        INSERT INTO parent VALUES ('a', 1), ('b', 1);
        INSERT INTO child VALUES (1, 'a', 1);
    """)
    chosen = tables(PARENT, {"name": "child", "via": {"table": "parent", "foreignKey": "p"}})
    directory = backup(database.uri, chosen, tmp_path)
    database.run("UPDATE child SET w = 'b', p = NULL")
    assert "now belong to another wedding" in refused(database, directory)


def test_a_unique_value_that_another_wedding_holds_by_now_is_not_taken(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path, more="CREATE UNIQUE INDEX one_each ON child (v);")
    database.run(
        "UPDATE child SET v = 'free' WHERE id = 1; UPDATE child SET v = 'one' WHERE id = 9"
    )
    message = refused(database, directory)
    assert "constraint one_each of table public.child does not let the rows" in message
    assert "one)" not in message


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"])
def test_rows_outside_the_policy_are_not_deleted_along(
    database: Database, tmp_path: Path, action: str
) -> None:
    directory = small(database, tmp_path)
    database.run(f"""
        CREATE TABLE invoices (id int PRIMARY KEY, p int REFERENCES parent ON DELETE {action});
        INSERT INTO parent VALUES (3, 'a', 'new');
        INSERT INTO invoices VALUES (1, 3), (2, 1), (3, 9);
    """)
    message = refused(database, directory)
    assert "1 row of table public.parent would have to be deleted, but rows of table" in message
    assert "public.invoices" in message
    database.run("DELETE FROM invoices WHERE id = 1")
    assert changes(apply(directory, database.uri), "parent") == (0, 0, 1, 2)
    assert len(database.content()["invoices"]) == 2


def test_another_weddings_row_of_the_same_table_is_not_deleted_along(
    database: Database, tmp_path: Path
) -> None:
    database.run("""
        CREATE TABLE parent (id int PRIMARY KEY, w text,
            answers int REFERENCES parent ON DELETE CASCADE);
        INSERT INTO parent VALUES (1, 'a'), (9, 'b');
    """)
    directory = backup(database.uri, tables(PARENT), tmp_path)
    database.run("INSERT INTO parent VALUES (2, 'a', NULL), (3, 'a', 2), (8, 'b', 2)")
    assert "not this wedding's in the policy point to them" in refused(database, directory)
    database.run("DELETE FROM parent WHERE id = 8")
    assert changes(apply(directory, database.uri), "parent") == (0, 0, 2, 1)


def test_a_parent_outside_the_policy_that_is_gone_is_named(
    database: Database, tmp_path: Path
) -> None:
    database.run("""
        CREATE TABLE vendors (id int PRIMARY KEY);
        CREATE TABLE parent (id int PRIMARY KEY, w text, vendor int REFERENCES vendors);
        INSERT INTO vendors VALUES (1), (2);
        INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2);
    """)
    directory = backup(database.uri, tables(PARENT), tmp_path)
    database.run("DELETE FROM parent WHERE id = 1; DELETE FROM vendors WHERE id = 1")
    message = refused(database, directory)
    assert "constraint parent_vendor_fkey of table public.parent does not let" in message


# --- order, collisions, circles -------------------------------------------------------------------


@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE", "ON DELETE RESTRICT"])
def test_places_are_swapped_and_pointers_move(
    database: Database, tmp_path: Path, action: str
) -> None:
    database.run(f"""
        CREATE TABLE parent (id int PRIMARY KEY, w text, place int NOT NULL, UNIQUE (w, place));
        CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent {action}, v text,
            EXCLUDE (v WITH =));
        INSERT INTO parent VALUES (1, 'a', 1), (2, 'a', 2), (3, 'a', 3), (9, 'b', 1);
        INSERT INTO child VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, NULL), (9, 9, 'z');
    """)
    directory = backup(database.uri, tables(PARENT, CHILD), tmp_path)
    before = database.content()
    database.run("""
        INSERT INTO parent VALUES (4, 'a', 44);
        UPDATE child SET v = NULL;
        UPDATE child SET parent_id = 4, v = 'y' WHERE id = 1;
        UPDATE child SET v = 'x' WHERE id = 2;
        UPDATE child SET v = 'z' WHERE id = 9;
        DELETE FROM child WHERE id = 3; DELETE FROM parent WHERE id = 3;
        UPDATE parent SET place = place + 100 WHERE w = 'a';
        UPDATE parent SET place = 2 WHERE id = 1;
        UPDATE parent SET place = 1 WHERE id = 2;
        UPDATE parent SET place = 3 WHERE id = 4;
    """)
    applied = apply(directory, database.uri)
    assert database.content() == before
    assert changes(applied, "parent") == (1, 2, 1, 0)
    assert changes(applied, "child") == (1, 2, 0, 0)


def test_a_row_that_outsiders_point_to_is_changed_where_it_is(
    database: Database, tmp_path: Path
) -> None:
    database.run("""
        CREATE TABLE parent (id int PRIMARY KEY, w text, place int UNIQUE);
        CREATE TABLE invoices (p int PRIMARY KEY REFERENCES parent ON DELETE CASCADE);
        INSERT INTO parent VALUES (1, 'a', 1), (2, 'a', 2);
        INSERT INTO invoices VALUES (1);
    """)
    directory = backup(database.uri, tables(PARENT), tmp_path)
    before = database.content()
    database.run(
        "UPDATE parent SET place = 7 WHERE id = 1; UPDATE parent SET place = 1 WHERE id = 2"
    )
    apply(directory, database.uri)
    assert database.content() == before
    database.run("DELETE FROM parent WHERE id = 2; UPDATE parent SET place = 2 WHERE id = 1")
    apply(directory, database.uri)
    assert database.content() == before


@pytest.mark.parametrize(("deferrable", "works"), [("DEFERRABLE", True), ("", False)])
def test_tables_that_point_to_each_other(
    database: Database, tmp_path: Path, deferrable: str, works: bool
) -> None:
    database.run(f"""
        CREATE TABLE parent (id int PRIMARY KEY, w text, favourite int);
        CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent);
        INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2);
        INSERT INTO child VALUES (1, 1), (2, 2);
        ALTER TABLE parent ADD CONSTRAINT liked FOREIGN KEY (favourite) REFERENCES child {deferrable};
    """)
    directory = backup(database.uri, tables(PARENT, CHILD), tmp_path)
    before = database.content()
    if works:
        database.run(
            "UPDATE parent SET favourite = NULL WHERE id = 1; DELETE FROM child WHERE id = 1;"
            "DELETE FROM parent WHERE id = 1"
        )
        apply(directory, database.uri)
        assert database.content() == before
    else:
        message = refused(database, directory)
        assert "go round in a circle" in message
        assert "ALTER CONSTRAINT" in message


def test_trees_within_a_table(database: Database, tmp_path: Path) -> None:
    database.run("""
        CREATE TABLE parent (id int PRIMARY KEY, w text, above int REFERENCES parent);
        INSERT INTO parent VALUES (1, 'a', NULL), (2, 'a', 1), (3, 'a', 2), (9, 'b', NULL);
    """)
    directory = backup(database.uri, tables(PARENT), tmp_path)
    before = database.content()
    database.run("""
        DELETE FROM parent WHERE id IN (1, 2, 3);
        INSERT INTO parent VALUES (3, 'a', NULL), (4, 'a', 3), (2, 'a', 4);
    """)
    assert changes(apply(directory, database.uri), "parent") == (1, 2, 1, 0)
    assert database.content() == before


# --- drift ----------------------------------------------------------------------------------------


def test_a_new_column_keeps_what_is_in_it(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path, more="ALTER TABLE parent ADD UNIQUE (w, v);")
    database.run("""
        ALTER TABLE parent ADD note text, ADD level int NOT NULL DEFAULT 5,
            ADD shout text GENERATED ALWAYS AS (upper(v)) STORED;
        UPDATE parent SET note = 'n' || id, level = id, v = 'x' || id WHERE w = 'a';
        UPDATE parent SET v = 'one' WHERE id = 2;
        UPDATE parent SET v = 'two' WHERE id = 1;
        DELETE FROM child;
    """)
    apply(directory, database.uri)
    assert database.content()["parent"] == [
        "(1,a,one,n1,1,ONE)",
        "(2,a,two,n2,2,TWO)",
        "(9,b,theirs,,5,THEIRS)",
    ]
    database.run("DELETE FROM child; DELETE FROM parent WHERE w = 'a'")
    apply(directory, database.uri)
    assert database.content()["parent"][0] == "(1,a,one,,5,ONE)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE child DROP v", "table public.child has no column v (text) any more"),
        ("ALTER TABLE child RENAME TO kid", "there is no table public.child"),
        (
            "ALTER TABLE child ADD x int; UPDATE child SET x = 1; ALTER TABLE child ALTER x SET NOT NULL",
            "column x of table public.child is new since",
        ),
        ("ALTER TABLE child DROP CONSTRAINT child_pkey", "table public.child has no primary key"),
        (
            "ALTER TABLE child DROP CONSTRAINT child_pkey, ADD n serial PRIMARY KEY",
            "table public.child is not unique by id any more",
        ),
        (
            "ALTER TABLE child ALTER v TYPE varchar(2) USING 'x'",
            "would not come back as they were (v was text, is character varying(2))",
        ),
        (
            "ALTER TABLE child DROP v, ADD v text GENERATED ALWAYS AS ('x') STORED",
            "column v of table public.child is a generated one by now",
        ),
        ("ALTER TABLE child ADD CHECK (v <> 'two') NOT VALID", "child_v_check of table public.chi"),
        (
            "CREATE RULE r AS ON INSERT TO child DO INSTEAD NOTHING",
            "table public.child has rules that rewrite what is written to it (r)",
        ),
    ],
)
def test_drift_that_would_lose_something_is_refused(
    database: Database, tmp_path: Path, change: str, message: str
) -> None:
    directory = small(database, tmp_path)
    database.run(f"DELETE FROM child WHERE id < 5; {change}")
    assert message in refused(database, directory)


@pytest.mark.parametrize(
    ("was", "is_", "value", "fits"),
    [
        ("varchar(5)", "varchar(50)", "abc", True),
        ("int", "bigint", "7", True),
        ("numeric(10,3)", "numeric(10,2)", "1.255", False),
        ("timestamptz", "timestamp", "2026-12-05 12:00:00+01", False),
        ("float8", "real", "0.1234567890123", False),
        ("text", "varchar", "x", True),
        ("timestamptz", "timestamptz(0)", "2026-12-05 12:00:00.5+00", False),
        ("timestamptz", "timestamptz(0)", "2026-12-05 12:00:00+00", True),
    ],
)
def test_another_type_is_fine_while_every_value_reads_the_same(
    database: Database, tmp_path: Path, *, was: str, is_: str, value: str, fits: bool
) -> None:
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, w text, v {was})")
    database.run(f"INSERT INTO t VALUES (1, 'a', '{value}')")
    directory = backup(database.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    before = database.content()
    database.run(f"DELETE FROM t; ALTER TABLE t ALTER v TYPE {is_}")
    if fits:
        apply(directory, database.uri)
        assert database.content() == before
    else:
        assert "would not come back as they were (v was" in refused(database, directory)


# --- triggers, rights, sequences ------------------------------------------------------------------

SHOUTING = """
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'fired'; END $$;
CREATE TRIGGER shout BEFORE INSERT OR UPDATE OR DELETE ON child
  FOR EACH ROW EXECUTE FUNCTION shout();
CREATE TRIGGER all_the_time AFTER DELETE ON parent EXECUTE FUNCTION shout();
ALTER TABLE parent ENABLE ALWAYS TRIGGER all_the_time;
CREATE TRIGGER sleeping AFTER DELETE ON parent EXECUTE FUNCTION shout();
ALTER TABLE parent DISABLE TRIGGER sleeping;
"""


def test_triggers_do_not_fire_and_are_on_again_afterwards(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path)
    before = database.content()
    database.run("DELETE FROM child WHERE id < 5; DELETE FROM parent WHERE id = 1;")
    database.run("INSERT INTO parent VALUES (3, 'a', 'new')")
    database.run(SHOUTING)
    states = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    triggers = database.rows(states)
    apply(directory, database.uri)
    assert database.content() == before
    assert database.rows(states) == triggers


def test_triggers_that_cannot_be_switched_off_are_a_refusal(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path)
    uri = database.role("restorer")
    database.run(f"GRANT ALL ON parent, child TO {user_of(uri)}; DELETE FROM child WHERE id = 1")
    database.run(SHOUTING)
    message = refused(database, directory, uri=uri)
    assert message.startswith("trigger shout of table public.child would fire")
    database.run("DROP TRIGGER shout ON child; DROP TRIGGER all_the_time ON parent")
    apply(directory, uri)


def test_rights_to_write_are_needed_and_named(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    uri = database.role("reader")
    database.run(f"GRANT SELECT ON parent, child TO {user_of(uri)}")
    assert refused(database, directory, uri=uri).startswith(
        f"user {user_of(uri)} may not write to table public.parent: GRANT DELETE, INSERT, UPDATE ON"
    )


def test_tables_that_point_here_are_read_only_where_rows_have_to_leave(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path, more="ALTER TABLE parent ADD UNIQUE (v);")
    uri = database.role("restorer")
    database.run(f"""
        CREATE TABLE invoices (id int PRIMARY KEY, p int REFERENCES parent);
        GRANT ALL ON parent, child TO {user_of(uri)};
        DELETE FROM child WHERE id < 5; DELETE FROM parent WHERE id = 1;
    """)
    apply(directory, uri)
    database.run("INSERT INTO parent VALUES (3, 'a', 'new')")
    message = refused(database, directory, uri=uri)
    assert "rows of table public.invoices that point to public.parent: permission denied" in message


def test_no_rows_are_written_past_row_level_security(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    uri = database.role("tenant")
    database.run(f"""
        GRANT ALL ON parent, child TO {user_of(uri)};
        ALTER TABLE child ENABLE ROW LEVEL SECURITY;
        CREATE POLICY few ON child USING (id <> 1);
        DELETE FROM child WHERE id = 1;
    """)
    assert "row-level security hides rows of table public.child" in refused(
        database, directory, uri=uri
    )


def test_constraints_may_call_functions_that_find_others_by_name(
    database: Database, tmp_path: Path
) -> None:
    more = """
        CREATE FUNCTION inner_check(text) RETURNS boolean LANGUAGE plpgsql AS
            'BEGIN RETURN true; END';
        CREATE FUNCTION outer_check(text) RETURNS boolean LANGUAGE plpgsql AS
            'BEGIN RETURN inner_check($1); END';
        ALTER TABLE child ADD CHECK (outer_check(v));
    """
    directory = small(database, tmp_path, more=more)
    before = database.content()
    database.run("DELETE FROM child WHERE id = 1")
    apply(directory, database.uri)
    assert database.content() == before


def test_sequences_are_moved_behind_what_came_back(database: Database, tmp_path: Path) -> None:
    definition = """
        CREATE SEQUENCE own;
        CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b serial,
            c bigint DEFAULT nextval('own'), d int GENERATED BY DEFAULT AS IDENTITY, w text);
        INSERT INTO t (w) VALUES ('a'), ('a'), ('a');
    """
    database.run(definition)
    directory = backup(database.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    database.run("DROP TABLE t; DROP SEQUENCE own;" + definition)
    database.run("TRUNCATE t RESTART IDENTITY; ALTER SEQUENCE own RESTART WITH 1000")
    database.run("SELECT nextval('own')")
    applied = apply(directory, database.uri)
    assert applied.warnings == []
    database.run("INSERT INTO t (w) VALUES ('b')")
    assert database.rows("SELECT a, b, c, d FROM t WHERE w = 'b'") == [(4, 4, 1001, 4)]


def test_a_sequence_that_may_not_be_moved_is_a_warning(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id serial PRIMARY KEY, w text); INSERT INTO t (w) VALUES ('a')")
    directory = backup(database.uri, tables({"name": "t", "match": {"w": "a"}}), tmp_path)
    uri = database.role("restorer")
    database.run(f"TRUNCATE t RESTART IDENTITY; GRANT ALL ON t TO {user_of(uri)}")
    (warning,) = apply(directory, uri).warnings
    assert warning.startswith("sequence public.t_id_seq may be behind column id of table public.t")
    assert warning.endswith("SELECT setval('public.t_id_seq', 1)")


# --- others at work, and crashes ------------------------------------------------------------------

WAITING = "wait_event_type = 'Lock'"


def test_a_writer_in_the_way_is_waited_for(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    with psycopg.connect(database.uri) as writer:
        writer.execute("INSERT INTO child VALUES (5, 1, 'uncommitted')")
        with in_background(lambda: apply(directory, database.uri)) as outcome:
            wait_until(lambda: bool(database.sessions(WAITING)), seconds=30, what="the recovery")
            writer.commit()
    # What was committed before the recovery got its turn is part of the difference.
    assert changes(result(outcome), "child") == (0, 0, 1, 2)


def test_a_writer_that_gives_way_late_is_waited_for(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = small(database, tmp_path)
    database.run("DELETE FROM child WHERE id = 1")
    monkeypatch.setattr(recovery, "_LOCK_TIMEOUT", "50ms")
    pauses: list[float] = []
    with psycopg.connect(database.uri) as writer:
        writer.execute("UPDATE parent SET v = v")

        def give_way(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                writer.rollback()

        applied = apply(directory, database.uri, sleep=give_way)
    assert changes(applied, "child") == (1, 0, 0, 1)
    assert len(pauses) == 3
    assert all(0 < pause <= 5 for pause in pauses)


def test_a_writer_that_never_ends_is_worth_another_try_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = small(database, tmp_path)
    monkeypatch.setattr(recovery, "_LOCK_TIMEOUT", "20ms")
    pauses: list[float] = []
    with psycopg.connect(database.uri) as writer:
        writer.execute("UPDATE parent SET v = v")
        with pytest.raises(SourceUnavailableError, match="lock timeout"):
            apply(directory, database.uri, sleep=pauses.append)
    assert len(pauses) == 7


def test_readers_are_not_held_up(database: Database, tmp_path: Path) -> None:
    directory = small(database, tmp_path)
    database.run("UPDATE child SET v = 'changed'")
    with psycopg.connect(database.uri) as holder:
        holder.execute("SELECT * FROM child WHERE id = 2 FOR UPDATE")
        with in_background(lambda: apply(directory, database.uri)) as outcome:
            wait_until(lambda: bool(database.sessions(WAITING)), seconds=30, what="the recovery")
            assert len(database.rows("SELECT * FROM child")) == 3
            holder.rollback()
    assert changes(result(outcome), "child") == (0, 2, 0, 0)


def test_a_connection_that_breaks_while_writing_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    directory = small(database, tmp_path, action="ON DELETE CASCADE")
    database.run("UPDATE child SET v = 'changed'; UPDATE parent SET v = 'changed'")
    database.run("INSERT INTO parent VALUES (3, 'a', 'new'); DELETE FROM child WHERE id = 1")
    database.run(
        "CREATE TRIGGER t AFTER UPDATE ON parent EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()"
    )
    before = database.content()
    with psycopg.connect(database.uri) as holder:
        # The parents have been written when this row is reached.
        holder.execute("SELECT * FROM child WHERE id = 2 FOR UPDATE")
        with in_background(lambda: apply(directory, database.uri)) as outcome:
            database.kill(f"{WAITING} AND query LIKE '%%UPDATE%%child%%'")
    assert isinstance(outcome[0], SourceUnavailableError)
    assert database.content() == before
    assert database.rows("SELECT tgenabled FROM pg_trigger WHERE tgname = 't'") == [("O",)]


# --- damaged or foreign files ---------------------------------------------------------------------


def shorten(directory: Path) -> None:
    file = directory / "tables" / "public.child.copy"
    file.write_bytes(file.read_bytes().split(b"\n")[0] + b"\n")


def cut(directory: Path) -> None:
    file = directory / "tables" / "public.child.copy"
    file.write_bytes(file.read_bytes()[:-6])


def newer(directory: Path) -> None:
    file = directory / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "meta.json cannot be read"),
        (lambda files: (files / "meta.json").write_text("{"), "meta.json cannot be read"),
        (lambda files: (files / "tables/public.child.copy").unlink(), "was not restored"),
        (shorten, "has 1 rows, the backup had 2"),
        (cut, "do not fit its columns as they are now"),
        (newer, "version 2 of their format, which this release does not know"),
    ],
)
def test_files_that_are_not_whole_are_refused(
    database: Database, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    directory = small(database, tmp_path)
    database.run("DELETE FROM child WHERE id = 1")
    damage(directory)
    assert message in refused(database, directory)
