"""What cannot work is refused at once (exit code 3), with a message that says what to put right."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.certificate import certificate
from tests.servers.locations import Location
from tests.servers.postgres import Postgres
from weddingbackup.resources.backup_job import QuotaStatus
from weddingbackup.resources.common import Table
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


@pytest.fixture
def worker(pod: MakePod, three: list[Location]) -> Pod:
    return pod(three[:2])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.photographs(tmp_path / "source")


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB; the files to restore have 6."""
    path = tmp_path / "small"
    path.mkdir()
    become = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run(
        [*become, "mount", "-t", "tmpfs", "-o", "size=3m,mode=777", "t", path], check=True
    )
    yield path
    subprocess.run([*become, "umount", path], check=True)


@pytest.mark.parametrize("work", ["backup", "restore", "copy", "erase"])
@pytest.mark.parametrize("task", ["", "{", "[]", '{"vault": 1}', json.dumps({"x": "y" * 9000})])
def test_a_garbage_task(worker: Pod, work: str, task: str) -> None:
    ended = worker.run(work, task)
    assert (ended.code, ended.error) == (3, "BadTask"), ended
    assert "WEDDINGBACKUP_TASK" in ended.message


def test_a_missing_token(worker: Pod, source: Path) -> None:
    worker.known = False
    ended = worker.run("backup", worker.backup_task(worker.volume(source)))
    assert (ended.code, ended.error) == (3, "FileMissing"), ended
    assert "token" in ended.message


def test_a_token_that_the_broker_does_not_know(worker: Pod, source: Path) -> None:
    worker.known = False
    worker.mount_token("somebody-elses")
    ended = worker.run("backup", worker.backup_task(worker.volume(source)))
    assert (ended.code, ended.error) == (4, "UnknownWorker"), ended
    assert "somebody-elses" not in str(ended)


def test_another_vault_than_the_brokers(worker: Pod, source: Path, tmp_path: Path) -> None:
    made = worker.backup(worker.volume(source))
    task = worker.restore_task(made.point, tmp_path / "back")
    worker.kit = Kit.found()
    back = worker.run("restore", task)
    assert (back.code, back.error) == (3, "WrongKey"), back
    assert not (tmp_path / "back").exists()


def test_a_broker_that_others_vouch_for(worker: Pod, source: Path, tmp_path: Path) -> None:
    """Refused at once, and not waited for: somebody may stand between."""
    stranger = certificate(tmp_path, "127.0.0.1").path.read_text()
    task = worker.backup_task(worker.volume(source))
    access = task.broker.model_copy(update={"authorities": stranger})
    ended = worker.run("backup", task.model_copy(update={"broker": access}))
    assert (ended.code, ended.error) == (3, "BrokerDenied"), ended
    assert "vouch" in ended.message


def test_more_than_the_quota_leaves(worker: Pod, tmp_path: Path) -> None:
    """It ends at once and says why, with what it stored no more than it may; with room for it it works."""
    large = trees.photographs(tmp_path / "large", count=30)
    worker.quota = QuotaStatus(limit=90 * trees.MIB, stored=65 * trees.MIB)
    ended = worker.run("backup", worker.backup_task(worker.volume(large)))
    assert (ended.code, ended.error) == (3, "QuotaExceeded"), ended
    assert f"may take {worker.quota.limit}" in ended.message
    for name in worker.locations:
        assert worker.stored(name) <= worker.quota.left
    worker.quota = QuotaStatus(limit=100 * trees.MIB, stored=65 * trees.MIB)
    worker.backup(worker.volume(large))


def test_another_vaults_prefix(worker: Pod, source: Path) -> None:
    worker.backup(worker.volume(source))
    other = Kit.found()
    stranger = Kit(other.vault_id, worker.kit.prefix, other.wrapping_keys, other.objects)
    worker.kit = stranger
    ended = worker.run("backup", worker.backup_task(worker.volume(source)))
    assert ended.code == 3, ended
    assert "vault" in ended.message


def test_a_point_that_is_not_there(worker: Pod, source: Path, tmp_path: Path) -> None:
    made = worker.backup(worker.volume(source))
    other = made.point.model_copy(update={"manifest": made.point.manifest.replace("job-", "jab-")})
    back = worker.run("restore", worker.restore_task(other, tmp_path / "back"))
    assert back.code == 3, back


def test_a_point_whose_hash_is_not_the_pinned_one(
    worker: Pod, source: Path, tmp_path: Path
) -> None:
    made = worker.backup(worker.volume(source))
    other = made.point.model_copy(update={"sha256": "0" * 64})
    back = worker.run("restore", worker.restore_task(other, tmp_path / "back"))
    assert back.code == 3, back
    assert list(tmp_path.glob("back/*")) == []


def test_a_source_that_the_point_has_not(worker: Pod, source: Path, tmp_path: Path) -> None:
    made = worker.backup(worker.volume(source))
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back", "guests"))
    assert back.code == 3
    assert "portfolio" in back.message


def test_a_full_volume(worker: Pod, source: Path, small_volume: Path) -> None:
    made = worker.backup(worker.volume(source))
    back = worker.run("restore", worker.restore_task(made.point, small_volume))
    assert (back.code, back.error) == (3, "TargetRefused"), back
    assert "full" in back.message
    whole, found = trees.facts(source), trees.facts(small_volume)
    files = [path for path in found if (small_volume / path).is_file()]
    assert all(found[path] == whole[path] for path in files)
    assert len(files) < len([path for path in whole if (source / path).is_file()])


def test_a_source_directory_that_is_missing(worker: Pod, tmp_path: Path) -> None:
    ended = worker.run("backup", worker.backup_task(worker.volume(tmp_path / "nowhere")))
    assert (ended.code, ended.error) == (3, "SourceRefused")


def test_a_connection_string_that_is_missing(worker: Pod) -> None:
    task = worker.database("", [Table(name="events", match={"wedding": "w-1"})])
    ended = worker.run("backup", worker.backup_task(task))
    assert ended.code == 3
    assert "uri" in ended.message


@pytest.mark.parametrize(("table", "column"), [("events", "colour"), ("elephants", "wedding")])
def test_a_table_or_column_that_is_missing(
    worker: Pod, postgres: Postgres, table: str, column: str
) -> None:
    uri = postgres.create_database(f"d{secrets.token_hex(6)}")
    with psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE events (id int PRIMARY KEY, wedding text)")
    task = worker.database(uri, [Table(name=table, match={column: "w-1"})])
    ended = worker.run("backup", worker.backup_task(task))
    assert (ended.code, ended.error) == (3, "SourceRefused"), ended
    assert (column if table == "events" else table) in ended.message
    assert postgres.password not in str(ended)


def test_a_database_that_is_away_may_be_tried_again(worker: Pod, postgres: Postgres) -> None:
    uri = postgres.uri().replace(f":{postgres.port}/", ":1/")
    task = worker.database(uri, [Table(name="events", match={"wedding": "w-1"})])
    ended = worker.run("backup", worker.backup_task(task))
    assert (ended.code, ended.error) == (4, "SourceUnavailable"), ended
    assert postgres.password not in str(ended)
