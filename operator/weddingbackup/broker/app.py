"""The broker's HTTP interface: who asks, what the job may have, and the answer. See resources.broker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Protocol

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from weddingbackup.broker import allow, manifests, refusals, rows, turns
from weddingbackup.broker.keeping import Keeping, Vaulted
from weddingbackup.broker.manifests import Announcements
from weddingbackup.broker.rows import Databases
from weddingbackup.broker.scope import Authority, RefusedError, Scope
from weddingbackup.broker.spending import Spending
from weddingbackup.broker.turns import Turns
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import (
    LARGEST_MANIFEST,
    Answer,
    Get,
    Listed,
    Location,
    Opening,
    Progress,
    Put,
    RefusalCode,
    SignAnswer,
    Signed,
    SignRequest,
)
from weddingbackup.stores.api import ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.errors import StoreError

_log = structlog.get_logger()

_LARGEST_BODY = 1 << 20
_SIGN_SECONDS = 10.0
_LIST_SECONDS = 60.0
_PAGE = 1000
_AT_ONCE = 16
"""Requests of one pod, or of one address that is not known yet to be a pod's, that are under way together;
more are told to come back."""
_AT_ONCE_A_NAMESPACE = 128
"""So that one organisation, which may make as many workers as it likes, leaves room for others."""
_AT_ONCE_OVERALL = 512
_BODIES = 16 * LARGEST_MANIFEST
"""Bytes of manifests that are held in memory at once."""
_BODY_SECONDS = 120.0


class Reports(Protocol):
    """Where progress goes."""

    async def report(self, scope: Scope, progress: Progress) -> None:
        """Write it down, not more often than anybody reads it."""


def create_app(  # noqa: C901  one route after the other
    authority: Authority,
    keeping: Keeping,
    told: Announcements,
    reports: Reports,
    order: Turns,
    *,
    databases: Databases | None = None,
) -> FastAPI:
    """The application.

    Args:
        authority: says whose job a token stands for.
        keeping: the locations.
        told: the manifests that are announced.
        reports: takes progress.
        order: says which stage of a recovery a job waits for.
        databases: those that organisations share; without, there are no rows to be had.
    """
    asking: Counter[str] = Counter()
    busy, organisations = Counter[str](), Counter[str]()
    held, spending = Counter[str](), Spending()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        keeping.close()

    app = FastAPI(lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)
    refusals.handle(app)

    async def bearer(request: Request) -> Scope:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "show the pod's token (Bearer)")
        if asking.total() + busy.total() >= _AT_ONCE_OVERALL:
            raise RefusedError(RefusalCode.TRANSIENT, "the broker is busy", retry_after=2)
        # To find out who asks takes several answers of the API server, so that counts already.
        with _counted(asking, request.client.host if request.client else ""):
            scope = await authority.scope(token)
        request.state.whose = refusals.whose(scope)
        return scope

    async def worker(scope: Annotated[Scope, Depends(bearer)]) -> AsyncIterator[Scope]:
        with (
            _counted(organisations, scope.namespace, _AT_ONCE_A_NAMESPACE),
            _counted(busy, scope.pod_uid),
            structlog.contextvars.bound_contextvars(**refusals.whose(scope)),
        ):
            yield scope

    Worker = Annotated[Scope, Depends(worker)]  # noqa: N806  a type

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.post("/v1/open")
    async def open_job(scope: Worker) -> Response:
        locations = await asyncio.gather(
            *(_describe(scope, name, keeping) for name in scope.locations)
        )
        opening = Opening.model_construct(
            vault=scope.vault,
            founding=dict(scope.kit.objects),
            keys=allow.keys(scope),
            locations=[location for location in locations if location is not None],
        )
        _log.info(
            "opened", classes=sorted(scope.classes), locations=[x.name for x in opening.locations]
        )
        return _json(opening)

    @app.post("/v1/sign")
    async def sign(scope: Worker, request: Request) -> Response:
        wanted = SignRequest.model_validate_json(await _body(request, _LARGEST_BODY))
        if any(allow.moves_data(get.name) for get in wanted.gets):
            await turns.require(order, scope)
        puts, gets = await asyncio.gather(
            _per_location(scope, wanted.puts, keeping, partial(_puts, spending)),
            _per_location(scope, wanted.gets, keeping, _gets),
        )
        _log.info(
            "signed",
            puts=len(puts),
            gets=len(gets),
            refused=sum(answer.refusal is not None for answer in (*puts, *gets)),
            locations=_named(scope, wanted),
        )
        return _json(SignAnswer(puts=puts, gets=gets))

    @app.get("/v1/locations/{location}/objects")
    async def objects(scope: Worker, location: str, prefix: str) -> StreamingResponse:
        allow.listing(prefix)
        pages = _pages(keeping, allow.location(scope, location), scope, prefix)
        # Before the answer begins: what goes wrong at once has a status of its own.
        first = await anext(pages)
        _log.info("lists", location=location, prefix=prefix)
        return StreamingResponse(
            _lines(first, pages, **refusals.whose(scope), location=location),
            media_type="application/x-ndjson",
        )

    @app.put("/v1/locations/{location}/manifests/{name:path}")
    async def manifest(scope: Worker, location: str, name: str, request: Request) -> Response:
        with _room(request, scope.namespace, held):
            data = await _body(request, LARGEST_MANIFEST)
            await manifests.store(scope, location, name, data, keeping=keeping, told=told)
        _log.info("stored a manifest", location=location, manifest=name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @app.post("/v1/progress")
    async def progress(scope: Worker, request: Request) -> Response:
        said = Progress.model_validate_json(await _body(request, _LARGEST_BODY))
        for name in said.locations:
            allow.location(scope, name)
        await reports.report(scope, said)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    app.include_router(turns.router(bearer, order))
    if databases is not None:
        app.include_router(rows.router(worker, databases, order))
    return app


def _named(scope: Scope, wanted: SignRequest) -> list[str]:
    """The job's own among the locations that are named: others' names are anything at all."""
    named = {put.location for put in wanted.puts} | {get.location for get in wanted.gets}
    return sorted(named & scope.locations.keys())


async def _describe(scope: Scope, name: str, keeping: Keeping) -> Location | None:
    """One location for a worker; None where it cannot even be opened: the job goes on without it."""
    place = scope.locations[name]
    try:
        address, binds_md5 = await keeping.run(
            place,
            scope.vault.prefix,
            lambda v: (v.address, v.binds_md5),
            organisation=scope.namespace,
            seconds=_SIGN_SECONDS,
            signing=True,
        )
        authorities = await keeping.authorities(place)
    except (RefusedError, StoreError) as error:
        _log.warning("a location cannot be opened", location=name, error=str(error))
        return None
    return Location(
        name=name,
        address=address,
        binds_md5=binds_md5,
        authorities=authorities,
        limits=place.spec.limits,
    )


async def _per_location(
    scope: Scope,
    wanted: list[Any],
    keeping: Keeping,
    sign: Callable[[Scope, Vaulted, list[Any]], list[Answer]],
) -> list[Answer]:
    """Sign for each location apart, so that one that hangs is its own trouble alone."""
    answers: dict[int, Answer] = {}
    groups: dict[str, list[int]] = {}
    for number, each in enumerate(wanted):
        groups.setdefault(each.location, []).append(number)

    async def at(location: str, numbers: list[int]) -> None:
        mine = [wanted[number] for number in numbers]
        try:
            place = allow.location(scope, location)
            signed = await keeping.run(
                place,
                scope.vault.prefix,
                lambda v: sign(scope, v, mine),
                organisation=scope.namespace,
                seconds=_SIGN_SECONDS,
                signing=True,
            )
        except (RefusedError, StoreError) as error:
            known = location in scope.locations  # names of others' would fill the log
            refusal = refusals.log(error, location=location) if known else refusals.of(error)
            signed = [Answer(refusal=refusal)] * len(mine)
        answers.update(zip(numbers, signed, strict=True))

    await asyncio.gather(*(at(location, numbers) for location, numbers in groups.items()))
    return [answers[number] for number in range(len(wanted))]


def _puts(spending: Spending, scope: Scope, vaulted: Vaulted, wanted: list[Put]) -> list[Answer]:
    def intent(put: Put) -> PutIntent:
        if vaulted.binds_md5 and put.md5 is None:
            raise RefusedError(RefusalCode.BAD_REQUEST, f"{vaulted.location} needs the MD5 as well")
        allow.put(scope, put)
        spending.charge(scope, put)
        md5 = bytes.fromhex(put.md5) if put.md5 else None
        return PutIntent(put.name, put.size, bytes.fromhex(put.sha256), md5)

    return _each(wanted, intent, vaulted.sign_puts)


def _gets(_: Scope, vaulted: Vaulted, wanted: list[Get]) -> list[Answer]:
    def name(get: Get) -> str:
        allow.get(get.name)
        return get.name

    return _each(wanted, name, vaulted.sign_gets)


def _each(
    wanted: list[Any],
    allowed: Callable[[Any], Any],
    sign: Callable[[list[Any]], list[SignedRequest]],
) -> list[Answer]:
    """Sign those that are allowed, in one go; answer to each in its place."""
    answers: list[Answer] = []
    passed: list[Any] = []
    for each in wanted:
        try:
            passed.append(allowed(each))
            answers.append(Answer())
        except RefusedError as error:
            answers.append(Answer(refusal=error.refusal))
    signed = iter(sign(passed) if passed else ())
    return [answer if answer.refusal else _signed(next(signed)) for answer in answers]


def _signed(request: SignedRequest) -> Answer:
    return Answer(
        signed=Signed(
            method=request.method,
            url=request.url,
            headers=dict(request.headers),
            expires_at=request.expires_at,
        )
    )


async def _pages(
    keeping: Keeping, place: BackupLocation, scope: Scope, prefix: str
) -> AsyncIterator[list[ObjectInfo]]:
    """A listing piece by piece, at least one: a vault may hold more objects than memory has room for."""
    run = partial(
        keeping.run,
        place,
        scope.vault.prefix,
        organisation=scope.namespace,
        seconds=_LIST_SECONDS,
    )
    found = await run(lambda v: iter(v.list(prefix)))
    page = None
    while page is None or len(page) == _PAGE:
        page = await run(lambda _: list(islice(found, _PAGE)))
        yield page


async def _lines(
    first: list[ObjectInfo], others: AsyncIterator[list[ObjectInfo]], **context: str
) -> AsyncIterator[bytes]:
    end = Listed(end=True)
    yield _page(first)
    try:
        async for page in others:
            yield _page(page)
    except (RefusedError, StoreError) as error:
        # The answer has begun as a success: its last line says that it was none.
        end = Listed(end=True, refusal=refusals.log(error, **context))
    yield end.to_json().encode() + b"\n"


def _page(found: list[ObjectInfo]) -> bytes:
    return b"".join(
        Listed(name=x.name, size=x.size, modified=x.modified).to_json().encode() + b"\n"
        for x in found
    )


@contextmanager
def _counted(under_way: Counter[str], who: str, most: int | None = None) -> Iterator[None]:
    """Count a request among those that somebody has under way.

    Raises:
        RefusedError: they have as many as they may.
    """
    most = most or _AT_ONCE
    if under_way[who] >= most:
        raise RefusedError(
            RefusalCode.TOO_MUCH, f"more than {most} requests at once", retry_after=1
        )
    under_way[who] += 1
    try:
        yield
    finally:
        under_way[who] -= 1
        if not under_way[who]:
            del under_way[who]


@contextmanager
def _room(request: Request, namespace: str, held: Counter[str]) -> Iterator[None]:
    """Memory for a body that may be large, counted before its first byte is read.

    Raises:
        RefusedError: the organisation, or all of them together, hold as much as they may.
    """
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):  # HTTP lets no more bytes come than this says
        raise RefusedError(RefusalCode.BAD_REQUEST, "say how long the body is (Content-Length)")
    size = int(length)
    if size > LARGEST_MANIFEST:
        raise RefusedError(
            RefusalCode.TOO_MUCH, f"the body is larger than {LARGEST_MANIFEST} bytes"
        )
    if held[namespace] + size > LARGEST_MANIFEST or held.total() + size > _BODIES:
        raise RefusedError(RefusalCode.TOO_MUCH, "too many large bodies at once", retry_after=1)
    held[namespace] += size
    try:
        yield
    finally:
        held[namespace] -= size
        if not held[namespace]:
            del held[namespace]


async def _body(request: Request, largest: int) -> bytes:
    """The request's body, if it is small enough and comes in time."""
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > largest:
                    raise RefusedError(
                        RefusalCode.TOO_MUCH, f"the body is larger than {largest} bytes"
                    )
    except TimeoutError:
        raise RefusedError(
            RefusalCode.TOO_MUCH, "the body came too slowly", retry_after=1
        ) from None
    return bytes(data)


def _json(model: Any) -> Response:
    return Response(model.to_json(), media_type="application/json")
