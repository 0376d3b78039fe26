"""A wedding comes back as it was."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.demo import platform
from tests.integration.sources.database import (
    Database,
    backup,
    tables,
)
from tests.integration.sources.small import OURS, changes, refused, small
from weddingbackup.sources.postgres import TableChanges, apply

pytestmark = pytest.mark.integration


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
