"""A recovery beside others at work, and broken off."""

from pathlib import Path

import psycopg
import pytest

from tests.integration.sources.database import (
    Database,
    in_background,
)
from tests.integration.sources.small import changes, result, small
from tests.servers.process import wait_until
from weddingbackup.sources.errors import SourceUnavailableError
from weddingbackup.sources.postgres import apply, recovery

pytestmark = pytest.mark.integration


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
