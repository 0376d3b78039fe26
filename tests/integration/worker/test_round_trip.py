"""What a worker backs up, another brings back: files and rows, from five real stores."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location
from tests.servers.postgres import Postgres
from weddingbackup.resources.common import Table

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]
TABLES = [
    Table(name="events", match={"wedding": "w-1"}),
    Table.model_validate({"name": "notes", "via": {"table": "events", "foreignKey": "event"}}),
]


@pytest.fixture
def database(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    uri = postgres.create_database(f"d{abs(hash(request.node.name))}")
    with psycopg.connect(uri) as connection:
        connection.execute(
            "CREATE TABLE events (id int PRIMARY KEY, wedding text NOT NULL, what text)"
        )
        connection.execute(
            "CREATE TABLE notes (id int PRIMARY KEY, event int NOT NULL REFERENCES events, t text)"
        )
        connection.execute(
            "INSERT INTO events SELECT n, 'w-' || n % 2, 'event ' || n FROM generate_series(1, 99) n"
        )
        connection.execute(
            "INSERT INTO notes SELECT n, n, 'note ' || n FROM generate_series(1, 99) n"
        )
    return uri


def rows(uri: str) -> list[tuple[object, ...]]:
    with psycopg.connect(uri) as connection:
        return [
            row
            for table in ("events", "notes")
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY id".encode()).fetchall()
        ]


def test_every_kind_of_file_comes_back_from_five_stores(
    pod: MakePod, five: list[Location], tmp_path: Path
) -> None:
    worker = pod(five)
    source = trees.everything(tmp_path / "source")
    made = worker.backup(worker.volume(source), quorum=3)
    assert set(made.phases.values()) == {"Committed"}
    assert made.report["sources"][0]["name"] == "portfolio"
    assert made.report["sources"][0]["newBytes"] > 0

    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert back.code == 0, back
    assert trees.facts(tmp_path / "back") == trees.facts(source)
    assert back.report["files"] == made.report["sources"][0]["files"]
    assert sum(back.report["locations"].values()) > 3 * trees.MIB
    assert "damaged" not in back.report or back.report["damaged"] == []


def test_rows_come_back_and_no_other_weddings_row_changes(
    pod: MakePod, three: list[Location], database: str
) -> None:
    worker = pod(three)
    before = rows(database)
    made = worker.backup(worker.database(database, TABLES))
    assert made.report["sources"][0]["rows"] == 100
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM notes WHERE event IN (1, 3, 5)")
        connection.execute("DELETE FROM events WHERE id IN (1, 3)")
        connection.execute("UPDATE events SET what = 'spoiled' WHERE id = 5")
        connection.execute("UPDATE events SET what = 'of another wedding' WHERE id = 2")
    other = [row for row in rows(database) if row[:2] == (2, "w-0")]

    back = worker.run("restore", worker.restore_task(made.point, database, "planning"))
    assert back.code == 0, back
    assert back.report["rows"] == 100
    expected = [row for row in before if row[:2] != (2, "w-0")]
    after = rows(database)
    assert [row for row in after if row[:2] != (2, "w-0")] == expected
    assert [row for row in after if row[:2] == (2, "w-0")] == other
    assert list(worker.root.joinpath("scratch").iterdir()) == []


def test_a_database_and_a_volume_are_one_point(
    pod: MakePod, three: list[Location], database: str, tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source), worker.database(database, TABLES))
    assert [row["name"] for row in made.report["sources"]] == ["portfolio", "planning"]
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source))


def test_an_empty_source_is_a_point_with_a_warning(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    (tmp_path / "source").mkdir()
    made = worker.backup(worker.volume(tmp_path / "source"))
    [source] = made.report["sources"]
    assert source["files"] == 0
    assert any("empty" in warning for warning in source["warnings"])
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, list((tmp_path / "back").iterdir())) == (0, [])


def test_an_unchanged_source_sends_next_to_nothing_again(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    first = worker.backup(worker.volume(source))
    second = worker.backup(worker.volume(source))
    assert min(first.sent.values()) > 6 * trees.MIB
    assert max(second.sent.values()) < trees.MIB / 10
    assert second.report["manifest"] != first.report["manifest"]


def test_progress_is_told_as_lines_and_no_secret_is_in_the_log(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    told = [line for line in made.lines if line["event"] == "progress"]
    assert told[-1]["bytesDone"] == told[-1]["bytesTotal"] == 6 * trees.MIB
    assert set(told[-1]["locations"]) == {location.name for location in three}
    log = str(made.lines) + made.stderr
    for secret in ["Signature", *(three[0].credentials[key] for key in ("secretAccessKey",))]:
        assert secret not in log


def test_the_same_job_run_again_adopts_its_point(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    task = worker.backup_task(worker.volume(source))
    first, second = worker.run("backup", task), worker.run("backup", task)
    assert (first.code, second.code) == (0, 0)
    assert second.point == first.point
    assert max(second.sent.values()) < 1024  # the manifest alone is offered again
    assert len(worker.objects("london", "snapshots/")) == 1
