"""Two small tables of two weddings, and what a recovery made of them."""

from pathlib import Path
from typing import Any

import pytest

from tests.demo import platform
from tests.integration.sources.database import (
    Database,
    backup,
    tables,
)
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres import Applied, apply

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
