"""The real broker over TLS, for jobs that a test hands out itself instead of a cluster's status.

Only the authority is the test's own: tokens stand for the scopes that the test puts there.
"""

import asyncio
import hashlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from tests.servers.certificate import certificate
from tests.servers.locations import Location
from tests.servers.process import answers, free_port, wait_until
from weddingbackup.broker.app import create_app
from weddingbackup.broker.connections import Connection
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.rows import Databases
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.backup_job import Announced
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import Progress, RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import BrokerAccess, LocationAccess


def registered(location: Location) -> BackupLocation:
    """A test's location as its BackupLocation."""
    access = location.access
    return BackupLocation.model_validate(
        {
            "metadata": {"name": location.name, "uid": location.name, "generation": 1},
            "spec": {
                "provider": access.provider,
                "region": access.region,
                "bucket": access.bucket,
                "prefix": access.prefix,
                "endpoint": access.endpoint,
                "credentialsSecretRef": {"name": location.name},
            },
        }
    )


@dataclass
class Jobs:
    """Who may what, and what was told: the authority, the announcements and the reports in one.

    Attributes:
        scopes: by token.
        locations: all, by name; their credentials are known.
        databases: those that are shared, if any are.
        waiting: the stage that a recovery's job waits for, by its UID.
    """

    locations: Mapping[str, Location]
    scopes: dict[str, Scope] = field(default_factory=dict)
    announced: dict[str, Announced] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    databases: Databases | None = None
    waiting: dict[str, DataClass] = field(default_factory=dict)

    async def scope(self, token: str) -> Scope:
        found = self.scopes.get(token)
        if found is None:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "this token is none of a worker's")
        return found

    async def waits_for(self, scope: Scope) -> DataClass | None:
        return self.waiting.get(scope.job_uid)

    async def credentials(
        self, location: BackupLocation
    ) -> tuple[LocationAccess, Mapping[str, str]]:
        there = self.locations[location.metadata.name]
        return there.access, there.credentials

    async def read(self, scope: Scope) -> Announced | None:
        return self.announced.get(scope.owner.uid)

    async def replace(self, scope: Scope, old: Announced | None, new: Announced) -> bool:
        if self.announced.get(scope.owner.uid) != old:
            return False
        self.announced[scope.owner.uid] = new
        return True

    async def report(self, _: Scope, progress: Progress) -> None:
        self.progress.append(progress)


class Broker:
    """Starts and stops on the same port, as a broker does that is away for a while."""

    def __init__(self, jobs: Jobs, directory: Path, host: str = "127.0.0.1") -> None:
        self.jobs = jobs
        self._host, self._port = host, free_port(host)
        directory.mkdir(parents=True, exist_ok=True)
        self._certificate = certificate(directory, host)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def access(self) -> BrokerAccess:
        """What a task says of it."""
        return BrokerAccess(
            url=f"https://{self._host}:{self._port}", authorities=self._certificate.path.read_text()
        )

    def start(self) -> None:
        jobs = self.jobs
        app = create_app(
            jobs, Keeping(jobs.credentials), jobs, jobs, jobs, databases=jobs.databases
        )
        config = uvicorn.Config(
            app,
            host=self._host,
            port=self._port,
            ssl_certfile=str(self._certificate.path),
            ssl_keyfile=str(self._certificate.key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            log_config=None,
            http=Connection,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        serving = _serve(self._server)
        self._thread = threading.Thread(target=asyncio.run, args=(serving,), daemon=True)
        self._thread.start()
        wait_until(self._answers, seconds=30, what="the broker")

    def _answers(self) -> bool:
        try:
            return answers(self._host, self._port)
        except OSError:
            return False

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(30)
            self._server = None


async def _serve(server: uvicorn.Server) -> None:
    await server.serve()
    await asyncio.sleep(0)  # who was let in last gets its transport
    # TLS waits for a handshake's other half, or for the good-bye of a client that keeps its connection
    # and says none. Only the loop knows them all, and closes none of them at its own end.
    transports: Mapping[int, asyncio.Transport] = getattr(asyncio.get_running_loop(), "_transports")  # noqa: B009
    for transport in list(transports.values()):
        transport.abort()
    await asyncio.sleep(0)  # they close their sockets


@contextmanager
def broker(
    locations: Mapping[str, Location], directory: Path, host: str = "127.0.0.1"
) -> Iterator[Broker]:
    """A broker that runs while the block does."""
    running = Broker(Jobs(locations), directory, host)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def token_for(text: str) -> str:
    """A token for a job of that name."""
    return hashlib.sha256(text.encode()).hexdigest()
