"""Sources through the whole engine: chunked, sealed, stored twice, and back on a volume."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.sources.database import Database, read, tables
from tests.unit.sources.volume.kinds import every_kind
from tests.unit.sources.volume.trees import look
from weddingbackup.resources.common import DataClass
from weddingbackup.sources.postgres import PostgresSource
from weddingbackup.sources.volume import VolumeSource, VolumeTarget
from weddingbackup.stores import DirectoryStore
from weddingbackup.vault.catalog import points
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore
from weddingbackup.vault.results import BackupResult
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup

pytestmark = pytest.mark.integration


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    kit = Kit.found()
    stores = [DirectoryStore(tmp_path / name) for name in ("a", "b")]
    found = Vault.open(kit.keyring(), kit.objects, stores)
    assert found.init() == {}
    return found


def protect(origin: Path) -> None:
    origin.mkdir()
    every_kind(origin)


def store(vault: Vault, origin: Path, uid: str) -> BackupResult:
    source = SourceInput("photos", DataClass.PORTFOLIO, VolumeSource(origin))
    job = JobFacts(uid=uid, namespace="n", name=uid, scheduled_at=datetime.now(UTC))
    return backup(vault, job, [source], quorum=2, progress=Progress())


def bring_back(vault: Vault, goal: Path) -> list[str]:
    newest = points(vault.stores)[0]
    with VolumeTarget(goal, privileged=os.geteuid() == 0) as target:
        return list(restore(vault, newest, "photos", target, progress=Progress()).warnings)


def test_every_kind_of_file_comes_back_the_same(vault: Vault, tmp_path: Path) -> None:
    origin, goal = tmp_path / "origin", tmp_path / "goal"
    protect(origin)
    assert store(vault, origin, "job").sources[0].warnings == []
    assert bring_back(vault, goal) == []
    assert look(goal) == look(origin)


def test_a_second_backup_holds_what_changed_and_what_did_not(vault: Vault, tmp_path: Path) -> None:
    origin, goal = tmp_path / "origin", tmp_path / "goal"
    protect(origin)
    store(vault, origin, "one")
    (origin / "plain").write_bytes(b"another timeline")
    (origin / "large").unlink()
    (origin / "program").chmod(0o700)
    (origin / "shared" / "inside").rename(origin / "outside")
    store(vault, origin, "two")
    assert bring_back(vault, goal) == []
    assert look(goal) == look(origin)


def test_a_row_that_is_larger_than_the_database_keeps_it_comes_back(
    vault: Vault, tmp_path: Path, database: Database
) -> None:
    """18 MB of text that says the same again and again take 200 kB in the database."""
    database.run("CREATE TABLE t (id int PRIMARY KEY, w text, v text)")
    database.run("INSERT INTO t VALUES (1, 'a', repeat('I do. ', 3000000)), (2, 'a', 'short')")
    job = JobFacts(uid="job", namespace="n", name="job", scheduled_at=datetime.now(UTC))
    with PostgresSource(database.uri, tables({"name": "t", "match": {"w": "a"}})) as source:
        photos = SourceInput("photos", DataClass.PORTFOLIO, source)
        (result,) = backup(vault, job, [photos], quorum=2, progress=Progress()).sources
        wanted = read(source)
    assert result.warnings == []
    bring_back(vault, tmp_path / "goal")
    for path, data in wanted.items():
        assert (tmp_path / "goal" / os.fsdecode(path)).read_bytes() == data
    assert max(map(len, wanted.values())) > 18_000_000
