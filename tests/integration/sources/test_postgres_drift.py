"""Tables that changed since the backup, and files that are not whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sources.database import (
    Database,
    backup,
    tables,
)
from tests.integration.sources.small import refused, small
from weddingbackup.sources.postgres import apply

pytestmark = pytest.mark.integration


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
