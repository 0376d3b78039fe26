"""Runs a worker as its pod would: a process of its own, a task in its environment, mounted files."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.broker import Broker, registered, token_for
from tests.servers.locations import Location
from tests.servers.process import wait_until
from weddingbackup.broker.scope import Purpose, Scope
from weddingbackup.resources import tasks
from weddingbackup.resources.base import Model
from weddingbackup.resources.common import DataClass, Privilege, Table
from weddingbackup.resources.tasks import (
    BackupTask,
    CopyTask,
    EraseTask,
    ObjectRef,
    PointRef,
    PostgresSource,
    PostgresTarget,
    RestoreTarget,
    RestoreTask,
    SourceTask,
    VaultRef,
    VolumeSource,
    VolumeTarget,
)
from weddingbackup.vault.kit import Kit

if TYPE_CHECKING:
    from weddingbackup.resources.backup_job import QuotaStatus

_SOURCES = Path(__file__).parents[3] / "operator"
_SECONDS = 240


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit code, its report, its log lines, its standard error."""

    code: int
    report: dict[str, Any]
    lines: list[dict[str, Any]]
    stderr: str

    @property
    def error(self) -> str:
        """The code of the report's error; "" where there is none."""
        return str(self.report.get("error", {}).get("code", ""))

    @property
    def message(self) -> str:
        """The message of the report's error."""
        return str(self.report.get("error", {}).get("message", ""))

    @property
    def point(self) -> PointRef:
        """The point that a backup made."""
        return PointRef.model_validate(self.report)

    @property
    def phases(self) -> dict[str, str]:
        """A backup's phase at each location."""
        return {row["name"]: row["phase"] for row in self.report["locations"]}

    @property
    def sent(self) -> dict[str, int]:
        """Bytes that a backup sent to each location."""
        return {row["name"]: row["bytes"] for row in self.report["locations"]}


class Running:
    """A worker under way."""

    def __init__(self, process: subprocess.Popen[str], termination_log: Path) -> None:
        self._process = process
        self._termination_log = termination_log

    def kill(self) -> None:
        """As a node that loses its power. It must not have ended before."""
        self._process.kill()
        assert self.wait().code == -signal.SIGKILL

    def stop(self) -> Ended:
        """As the kubelet does when the pod is deleted."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> Ended:
        """Wait for its end."""
        stdout, stderr = self._process.communicate(timeout=_SECONDS)
        report = self._termination_log.read_text() if self._termination_log.exists() else ""
        assert len(report.encode()) <= 4000
        return Ended(
            code=self._process.returncode,
            report=json.loads(report or "{}"),
            lines=[json.loads(line) for line in stdout.splitlines()],
            stderr=stderr,
        )


class Pod:
    """One vault's pods: the files that they mount, the tasks that they are given."""

    def __init__(self, root: Path, locations: Sequence[Location], broker: Broker) -> None:
        self.root = root
        self.broker = broker
        self.locations = {location.name: location for location in locations}
        self.accesses = [location.access for location in locations]
        self.kit = Kit.found()
        self.classes = {
            "portfolio": DataClass.PORTFOLIO,
            "planning": DataClass.TIMELINE,
            "guests": DataClass.GUESTS,
        }
        self.known = True
        """Whether the broker knows this pod's workers."""
        self.quota: QuotaStatus | None = None
        """What the organisation's limit on bytes leaves for a backup."""
        self._path("/dev").mkdir(parents=True)
        self._path(tasks.SCRATCH).mkdir()
        for location in locations:
            self.mount_credentials(location.name, location.credentials)

    @property
    def vault(self) -> VaultRef:
        return VaultRef(id=self.kit.vault_id, prefix=self.kit.prefix)

    @property
    def token_file(self) -> Path:
        return self._path(tasks.TOKEN_FILE)

    def location_directory(self, location: str) -> Path:
        return self._path(tasks.location_directory(location))

    def mount_token(self, token: str) -> None:
        self.token_file.parent.mkdir(parents=True, exist_ok=True)
        self.token_file.write_text(token + "\n")

    def admit(self, task: BackupTask | RestoreTask) -> None:
        """Have the broker know this task's worker, and mount its token."""
        if isinstance(task, BackupTask):
            purpose, owner, quorum = Purpose.BACKUP, task.job, task.quorum
            sources = {source.name: source.data_class for source in task.sources}
        else:
            purpose, owner, quorum = Purpose.RESTORE, task.request, 0
            sources = {task.source: self.classes[task.source]}
        token = token_for(owner.uid)
        self.broker.jobs.scopes[token] = Scope(
            purpose=purpose,
            namespace=owner.namespace,
            labels={},
            pod=f"{owner.name}-pod",
            pod_uid=owner.uid,
            owner=owner,
            job_uid=f"job-of-{owner.uid}",
            policy="saturday",
            vault=self.vault,
            kit=self.kit,
            classes=frozenset(sources.values()),
            planned=frozenset(self.locations),
            locations={name: registered(found) for name, found in self.locations.items()},
            quorum=quorum,
            sources=sources,
            started_at=datetime.now(UTC),
            quota=self.quota,
        )
        self.mount_token(token)

    def mount_credentials(self, location: str, credentials: Any) -> None:
        directory = self.location_directory(location)
        directory.mkdir(parents=True, exist_ok=True)
        for key, value in credentials.items():
            (directory / key).write_text(value)

    def reach(self, location: Location) -> None:
        """Have the broker reach the location of this name so."""
        jobs = self.broker.jobs
        jobs.locations = {**jobs.locations, location.name: location}

    def mount_connection(self, source: str, uri: str) -> str:
        """Mount a connection string; gives its path."""
        file = self._path(tasks.source_directory(source)) / "uri"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(uri + "\n")
        return str(file)

    def volume(self, path: Path, name: str = "portfolio") -> SourceTask:
        return SourceTask(
            name=name, data_class=DataClass.PORTFOLIO, volume=VolumeSource(path=str(path))
        )

    def database(self, uri: str, tables: list[Table], name: str = "planning") -> SourceTask:
        connection = self.mount_connection(name, uri)
        return SourceTask(
            name=name,
            data_class=DataClass.TIMELINE,
            postgres=PostgresSource(connection_file=connection, tables=tables),
        )

    def backup_task(
        self, *sources: SourceTask, quorum: int | None = None, uid: str | None = None
    ) -> BackupTask:
        return BackupTask(
            job=ObjectRef(
                namespace="weddings", name="saturday", uid=uid or f"job-{secrets.token_hex(8)}"
            ),
            scheduled_at=datetime(2026, 12, 5, 12, tzinfo=UTC),
            broker=self.broker.access,
            vault=self.vault,
            locations=list(self.locations),
            quorum=quorum or len(self.accesses),
            sources=list(sources),
        )

    def restore_task(
        self,
        point: PointRef,
        target: Path | str,
        source: str = "portfolio",
        *,
        privilege: Privilege = Privilege.ROOT,
    ) -> RestoreTask:
        """Restore into a directory, or into the database that a connection string leads to."""
        if isinstance(target, Path):
            where = RestoreTarget(volume=VolumeTarget(path=str(target)))
        else:
            connection = self.mount_connection(f"{source}-target", target)
            where = RestoreTarget(postgres=PostgresTarget(connection_file=connection))
        return RestoreTask(
            request=ObjectRef(namespace="weddings", name="bring-it-back", uid="request-1"),
            broker=self.broker.access,
            vault=self.vault,
            point=point,
            source=source,
            target=where,
            privilege=privilege,
        )

    def copy_task(self, point: PointRef, target: str, *, verify: bool = False) -> CopyTask:
        return CopyTask(
            vault=self.vault,
            manifests=[point.manifest],
            verify=verify,
            target=target,
            locations=self.accesses,
        )

    def erase_task(self) -> EraseTask:
        return EraseTask(vault=self.vault, locations=self.accesses)

    def start(self, work: str, task: Model | str) -> Running:
        """Start a worker with a fresh scratch directory's worth of surroundings."""
        if isinstance(task, (BackupTask, RestoreTask)) and self.known:
            self.admit(task)
        termination_log = self._path(tasks.TERMINATION_LOG)
        termination_log.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(_SOURCES),
            "WEDDINGBACKUP_ROOT": str(self.root),
            "TMPDIR": str(self._path(tasks.SCRATCH)),
            tasks.VARIABLE: task if isinstance(task, str) else task.to_json(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "weddingbackup", "worker", work],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Running(process, termination_log)

    def run(self, work: str, task: Model | str) -> Ended:
        """Run a worker to its end."""
        return self.start(work, task).wait()

    def begin_restore(
        self,
        point: PointRef,
        target: Path,
        *,
        until: str,
        rate: int = 8000,
    ) -> Running:
        """Start a restore that takes a while, and wait until there is a file of this pattern.

        Args:
            rate: KiB a second that each location sends.
        """
        for location in self.locations.values():
            location.proxy.toxic("bandwidth", "downstream", rate=rate)
        job = self.start("restore", self.restore_task(point, target))
        wait_until(lambda: any(target.rglob(until)), seconds=60, what=f"a file {until}")
        return job

    def backup(self, *sources: SourceTask, quorum: int | None = None) -> Ended:
        """Make a point; it has to work."""
        ended = self.run("backup", self.backup_task(*sources, quorum=quorum))
        assert ended.code == 0, ended
        return ended

    def objects(self, location: str, prefix: str = "") -> dict[str, Path]:
        """The vault's objects at a location whose objects are files: name -> file."""
        found = self.locations[location].object_file(self.kit.prefix)
        return {
            name: file
            for file in sorted(found.rglob("*"))
            if file.is_file() and (name := str(file.relative_to(found))).startswith(prefix)
        }

    def stored(self, location: str) -> int:
        """Bytes of the vault at such a location."""
        return sum(file.stat().st_size for file in self.objects(location).values())

    def wait_for(self, location: str, prefix: str, count: int = 1) -> None:
        """Wait until so many objects of a kind have arrived at a location."""
        wait_until(
            lambda: len(self.objects(location, prefix)) >= count,
            seconds=60,
            what=f"{count} of {prefix} at {location}",
        )

    def _path(self, path: str) -> Path:
        return self.root / path.removeprefix("/")
