"""Rows that collide, point in circles, or hang on sequences, triggers and rights."""

from pathlib import Path

import pytest

from tests.integration.sources.database import (
    Database,
    backup,
    tables,
    user_of,
)
from tests.integration.sources.small import CHILD, PARENT, changes, refused, small
from weddingbackup.sources.postgres import apply

pytestmark = pytest.mark.integration


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
