"""Rows of other weddings: never touched, whatever stands in the way."""

from pathlib import Path

import pytest

from tests.integration.sources.database import (
    Database,
    backup,
    tables,
)
from tests.integration.sources.small import PARENT, changes, refused, small
from weddingbackup.sources.postgres import apply

pytestmark = pytest.mark.integration


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
