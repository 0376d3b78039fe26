"""Rows of shared databases: read and written here, for workers that never see the connection.

Which rows follows from the cluster alone: the policy's tables and the BackupDatabase's fence, for the
namespace of the worker. What a worker sends is believed in nothing (docs/decisions/0012).
"""

import asyncio
import base64
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, Protocol

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from weddingbackup.broker import turns
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.broker.turns import Turns
from weddingbackup.kube.client import (
    BACKUPS,
    DATABASES,
    POLICIES,
    REQUESTS,
    SECRETS,
    Cluster,
    Resource,
)
from weddingbackup.log import redact
from weddingbackup.resources.backup_database import BackupDatabase
from weddingbackup.resources.broker import Applied, Refusal, RefusalCode
from weddingbackup.resources.common import Table
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import databases as rules
from weddingbackup.rules.workload import Problem
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import PostgresSource, apply, pack, unpack

_log = structlog.get_logger()

_AT_ONCE: Final = 8
"""Exports and recoveries under way together, of all workers: each holds connections and a thread."""
_AT_ONCE_A_POD: Final = 1
_AT_ONCE_A_NAMESPACE: Final = 3
"""So that one organisation's jobs leave room for those of others."""
_LARGEST: Final = 1 << 30
"""Bytes of rows that may be put back in one go; so many are kept on disk twice, for a moment."""
_BODY_SECONDS: Final = 600.0
_EXPORT_SECONDS: Final = 3600.0
_APPLY_SECONDS: Final = 480.0
"""For the database to take rows back. Who asked waits for ten minutes; before they ask again, whatever
became of their connection, the place is free and nobody else writes these rows."""
_STALL_SECONDS: Final = 60.0
"""For a worker to take a piece, or to send the next: meanwhile it holds a place, and perhaps a snapshot
open in the database."""
_BREAK_SECONDS: Final = 1.0
_LONGEST_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class SharedRows:
    """Where a source's rows are, and which of them are the worker's.

    Attributes:
        uri: a libpq connection string; nobody outside this module and its database sees it.
        schema: where rows are put back, if it is not where they came from.
        parents_of_all: tables that anybody's rows may point to.
    """

    uri: str = field(repr=False)
    tables: list[Table]
    fence: list[Table]
    schema: str | None = None
    parents_of_all: list[tuple[str, str]] = field(default_factory=list)


class Databases(Protocol):
    """Knows the shared databases."""

    async def rows(self, scope: Scope, source: str) -> SharedRows:
        """The rows of one source of a job.

        Raises:
            RefusedError: it has none in a shared database, or they are not its namespace's.
        """


class KubernetesDatabases:
    """`Databases` that goes by the cluster."""

    def __init__(self, cluster: Cluster, home: str) -> None:
        self._cluster = cluster
        self._home = home

    async def rows(self, scope: Scope, source: str) -> SharedRows:
        """See `Databases.rows`."""
        owner = await self._there(
            BACKUPS if scope.purpose is Purpose.BACKUP else REQUESTS,
            scope.owner.name,
            scope.namespace,
        )
        if owner["metadata"]["uid"] != scope.owner.uid:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "the job is gone")
        origin, named, schema = scope.namespace, None, None
        if scope.purpose is Purpose.RESTORE:
            request = RecoveryRequest.model_validate(owner)
            origin = request.spec.policy_ref.namespace or scope.namespace
            for target in request.spec.targets:
                if target.source == source and target.postgres is not None:
                    named, schema = target.postgres.database_ref, target.postgres.schema_name
                    if named is None:
                        raise _no_shared(source)
        policy = WeddingBackupPolicy.model_validate(
            await self._there(POLICIES, scope.policy, origin)
        )
        chosen = next((each.postgres for each in policy.spec.sources if each.name == source), None)
        if chosen is None:
            raise _no_shared(source)
        reference = named or chosen.database_ref
        if reference is None:
            raise _no_shared(source)
        body = await self._there(DATABASES, reference.name, None)
        database = BackupDatabase.model_validate(body)
        tables = [
            table.model_copy(update={"schema_name": schema}) if schema else table
            for table in chosen.tables
        ]
        fence = rules.fence(
            database, scope.namespace, scope.labels, self._fenced(scope, tables, database)
        )
        if isinstance(fence, Problem):
            raise RefusedError(RefusalCode.NOT_YOURS, fence.message)
        return SharedRows(
            await self._uri(database),
            list(chosen.tables),
            fence,
            schema,
            rules.parents_of_all(database),
        )

    def _fenced(self, scope: Scope, tables: list[Table], database: BackupDatabase) -> list[Table]:
        """Those of the policy; what is written may point to any table that somebody's rows are in."""
        if scope.purpose is Purpose.BACKUP:
            return tables
        return [*tables, *rules.described(database)]

    async def _there(self, resource: Resource, name: str, namespace: str | None) -> dict[str, Any]:
        body = await self._cluster.get(resource, name, namespace)
        if body is None:
            raise RefusedError(RefusalCode.SOURCE_FAILED, f"there is no {resource.kind} {name}")
        return body

    async def _uri(self, database: BackupDatabase) -> str:
        reference = database.spec.connection_secret_ref
        secret = await self._cluster.get(SECRETS, reference.name, self._home)
        data = (secret or {}).get("data") or {}
        if reference.key not in data:
            raise RefusedError(
                RefusalCode.SOURCE_FAILED,
                f"the connection of BackupDatabase {database.metadata.name} is not there; its status "
                "says more",
                detail=f"there is no key {reference.key} in Secret {reference.name}",
            )
        return base64.b64decode(data[reference.key]).decode().strip()


def router(worker: Callable[..., Any], databases: Databases, order: Turns) -> APIRouter:
    """The routes.

    Args:
        worker: FastAPI's dependency that gives the `Scope` of whoever asks.
        databases: the shared databases.
        order: says which stage of a recovery a job waits for.
    """
    routes = APIRouter()
    room = _Room()
    Worker = Annotated[Scope, Depends(worker)]  # noqa: N806  a type

    @routes.get("/v1/sources/{source}/rows")
    async def read(scope: Worker, source: str) -> Response:
        _require(scope, source, Purpose.BACKUP)
        rows = await databases.rows(scope, source)
        leave = room.enter(scope)
        export = _Export(PostgresSource(rows.uri, rows.tables, rows.fence), leave)
        try:
            await room.run(export.begin)
        except BaseException:
            room.threads.submit(export.end)
            raise
        _log.info("reading rows", source=source, tables=len(rows.tables))
        return StreamingResponse(_stream(room, export), media_type="application/x-tar")

    @routes.put("/v1/sources/{source}/rows")
    async def write(scope: Worker, source: str, request: Request) -> Response:
        _require(scope, source, Purpose.RESTORE)
        await turns.require(order, scope)
        rows = await databases.rows(scope, source)
        with room.within(scope), TemporaryDirectory(prefix="rows-") as name:
            archive = Path(name) / "rows.tar"
            if not await _receive(request, archive):
                refusal = Refusal(
                    code=RefusalCode.TOO_MUCH,
                    message=f"more than {_LARGEST} bytes of rows are not put back in one go; recover "
                    "into a database of your own",
                )
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                return Response(refusal.to_json(), status, media_type="application/json")
            applied = await _put_back(room, rows, archive, request)
        _log.info("put rows back", source=source, rows=applied.rows)
        return Response(applied.to_json(), media_type="application/json")

    return routes


class _Room:
    """Who reads and writes at the moment, and the threads that do it."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(2 * _AT_ONCE, thread_name_prefix="rows")
        self._pods: Counter[str] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, scope: Scope) -> Callable[[], None]:
        """Take a place; gives how to leave it.

        Raises:
            RefusedError: there is none.
        """
        with self._lock:
            if self._pods[scope.pod_uid] >= _AT_ONCE_A_POD:
                raise RefusedError(
                    RefusalCode.TOO_MUCH, "one source's rows at a time", retry_after=1
                )
            if self._namespaces[scope.namespace] >= _AT_ONCE_A_NAMESPACE:
                raise RefusedError(
                    RefusalCode.TRANSIENT, "rows of other jobs here are under way", retry_after=3
                )
            if self._pods.total() >= _AT_ONCE:
                raise RefusedError(
                    RefusalCode.TRANSIENT, "other organisations' rows are under way", retry_after=3
                )
            self._pods[scope.pod_uid] += 1
            self._namespaces[scope.namespace] += 1

        def leave() -> None:
            with self._lock:
                self._pods[scope.pod_uid] -= 1
                self._namespaces[scope.namespace] -= 1
                self._pods += Counter()  # drops who has none
                self._namespaces += Counter()

        return leave

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        leave = self.enter(scope)
        try:
            yield
        finally:
            leave()

    async def run(self, work: Callable[[], Any]) -> Any:
        """Do blocking work in a thread; a database's trouble becomes a refusal."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)
        except SourceError as error:
            raise RefusedError(RefusalCode.SOURCE_FAILED, _said(error)) from None
        except SourceUnavailableError as error:
            raise RefusedError(RefusalCode.SOURCE_UNAVAILABLE, _said(error)) from None


class _Export:
    """One source on its way out; begun, read and ended in threads, one after the other."""

    def __init__(self, source: PostgresSource, leave: Callable[[], None]) -> None:
        self._source = source
        self._leave = leave
        self._turn = threading.Lock()
        self._leaving = threading.Lock()
        self._left = False
        self._parts: Generator[bytes, None, None] | None = None
        self._begun = False
        self._ended = False

    def begin(self) -> None:
        with self._turn:
            self._source.__enter__()
            self._begun = True
            self._parts = pack(self._source)

    def next(self) -> bytes:
        """The next piece; b"" at the end, or when it is ended."""
        with self._turn:
            return next(self._parts, b"") if self._parts and not self._ended else b""

    def end(self) -> None:
        """Break off what is under way, and leave the database; once more is no more."""
        with self._leaving:
            if self._left:
                return
            self._left = True
        try:
            if self._begun:
                self._source.cancel()
            with self._turn:
                self._ended = True
                if self._parts is not None:
                    with suppress(Exception):
                        self._parts.close()
                    self._source.__exit__(None, None, None)
        finally:
            self._leave()


async def _stream(room: _Room, export: _Export) -> AsyncIterator[bytes]:
    """Hand on piece by piece, each read when the one before has been taken."""
    loop = asyncio.get_running_loop()
    until = time.monotonic() + _EXPORT_SECONDS
    try:
        while time.monotonic() < until and (part := await room.run(export.next)):
            stalled = loop.call_later(_STALL_SECONDS, room.threads.submit, export.end)
            try:
                yield part
            finally:
                stalled.cancel()
    finally:
        # Not waited for: where the worker has gone, this coroutine is being cancelled.
        room.threads.submit(export.end)


async def _put_back(room: _Room, rows: SharedRows, archive: Path, request: Request) -> Applied:
    """Write rows, unless their worker leaves or it takes too long: then all is rolled back, and waited for."""
    breaks: list[Callable[[], None]] = []
    work: asyncio.Task[Applied] = asyncio.create_task(
        room.run(lambda: _apply(rows, archive, breaks.append))
    )
    left = asyncio.create_task(_left(request))
    try:
        await asyncio.wait(
            (work, left), timeout=_APPLY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not work.done():
            _log.warning("breaking off rows", worker_left=left.done())
            await _break_off(room, work, breaks)
        return await work
    finally:
        left.cancel()


async def _break_off(
    room: _Room, work: asyncio.Task[Applied], breaks: list[Callable[[], None]]
) -> None:
    """Until it has ended: between two statements there is nothing to break off."""
    while not work.done():
        for each in breaks:
            room.threads.submit(each)
        await asyncio.wait((work,), timeout=_BREAK_SECONDS)
    if work.exception() is not None:  # else it was done at that very moment
        raise RefusedError(
            RefusalCode.SOURCE_UNAVAILABLE,
            f"the database did not take the rows within {_APPLY_SECONDS:g} s; nothing was changed",
        )


async def _left(request: Request) -> None:
    """Wait until whoever asks hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _receive(request: Request, into: Path) -> bool:
    """Keep a body on disk; False where it is too large."""
    size, loop = 0, asyncio.get_running_loop()
    until = loop.time() + _BODY_SECONDS
    try:
        async with asyncio.timeout(_STALL_SECONDS) as patience:
            with into.open("wb") as file:
                async for part in request.stream():
                    size += len(part)
                    if size > _LARGEST:
                        return False
                    file.write(part)
                    patience.reschedule(min(until, loop.time() + _STALL_SECONDS))
    except TimeoutError:
        raise RefusedError(
            RefusalCode.TOO_MUCH, "the rows came too slowly", retry_after=5
        ) from None
    return True


def _apply(
    rows: SharedRows, archive: Path, opened: Callable[[Callable[[], None]], None]
) -> Applied:
    directory = archive.parent / "rows"
    with archive.open("rb") as file:
        unpack(file.read, directory, most=_LARGEST)
    archive.unlink()
    done = apply(
        directory,
        rows.uri,
        schema=rows.schema,
        tables=rows.tables,
        fence=rows.fence,
        parents_of_all=rows.parents_of_all,
        opened=opened,
    )
    return Applied(rows=done.rows, warnings=done.warnings)


def _require(scope: Scope, source: str, purpose: Purpose) -> None:
    if scope.purpose is not purpose or source not in scope.sources:
        raise RefusedError(
            RefusalCode.NOT_YOURS, f"this job has no source {source} to do that with"
        )


def _no_shared(source: str) -> RefusedError:
    return RefusedError(RefusalCode.NOT_YOURS, f"source {source} is in no shared database")


def _said(error: Exception) -> str:
    return redact(str(error))[:_LONGEST_MESSAGE]
