"""What is answered where something is not done, and what the log says of it.

Who asked gets the broker's own words: a provider's may name its accounts, keys and rights, and are none
of an organisation's business. The log, which is in the operator's namespace, has them, without secrets,
and says whose job at which location met them.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.log import redact
from weddingbackup.resources.broker import Refusal, RefusalCode
from weddingbackup.stores import errors
from weddingbackup.stores.errors import StoreError, TransientError

_log = structlog.get_logger()

_LONGEST = 1000
"""Characters of one value in the log: what is refused may be as long as a request may be."""

_STATUS: Mapping[RefusalCode, HTTPStatus] = {
    RefusalCode.TRANSIENT: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusalCode.DENIED: HTTPStatus.FORBIDDEN,
    RefusalCode.MISSING: HTTPStatus.NOT_FOUND,
    RefusalCode.EXISTS: HTTPStatus.CONFLICT,
    RefusalCode.CORRUPT: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalCode.UNSUPPORTED: HTTPStatus.NOT_IMPLEMENTED,
    RefusalCode.UNKNOWN_WORKER: HTTPStatus.UNAUTHORIZED,
    RefusalCode.NOT_YOURS: HTTPStatus.FORBIDDEN,
    RefusalCode.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    RefusalCode.WAITS: HTTPStatus.TOO_EARLY,
    RefusalCode.TOO_MUCH: HTTPStatus.TOO_MANY_REQUESTS,
    RefusalCode.QUOTA_EXCEEDED: HTTPStatus.FORBIDDEN,
    RefusalCode.SOURCE_FAILED: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalCode.SOURCE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}

_WORDS: Mapping[type[StoreError], tuple[RefusalCode, str]] = {
    errors.TransientError: (RefusalCode.TRANSIENT, "could not be served for now"),
    errors.DeniedError: (RefusalCode.DENIED, "is denied to the operator"),
    errors.MissingError: (RefusalCode.MISSING, "is not there"),
    errors.ExistsError: (RefusalCode.EXISTS, "exists already, with other bytes"),
    errors.CorruptError: (RefusalCode.CORRUPT, "arrived with other bytes than were meant"),
    errors.UnsupportedError: (
        RefusalCode.UNSUPPORTED,
        "cannot be served as the location is set up",
    ),
}
_OTHERS = (RefusalCode.TRANSIENT, "could not be served")


def whose(scope: Scope) -> dict[str, str]:
    """What every line of the log says of a job."""
    return {"namespace": scope.namespace, "pod": scope.pod, "job": scope.owner.name}


def of(error: RefusedError | StoreError) -> Refusal:
    """The refusal for whoever asked."""
    if isinstance(error, RefusedError):
        return error.refusal
    kinds = (words for kind, words in _WORDS.items() if isinstance(error, kind))
    code, words = next(kinds, _OTHERS)
    what = f"object {error.name} at location" if error.name else "location"
    return Refusal(
        code=code,
        message=f"{what} {error.location} {words}; the broker's log says more",
        retry_after_seconds=error.retry_after_seconds
        if isinstance(error, TransientError)
        else None,
    )


def log(error: RefusedError | StoreError, **context: str) -> Refusal:
    """The refusal for whoever asked, once the log has all that is known of it."""
    refusal = of(error)
    told = {**context, "code": refusal.code, "message": refusal.message}
    if isinstance(error, StoreError):
        told |= {"location": error.location, "detail": str(error)}
    elif error.detail is not None:
        told["detail"] = error.detail
    _log.info("refused", **{key: redact(value)[:_LONGEST] for key, value in told.items()})
    return refusal


def handle(app: FastAPI) -> None:
    """Answer what goes wrong on any route with a refusal."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError | StoreError)
        refusal = log(error, **_about(request))
        wait = refusal.retry_after_seconds
        return JSONResponse(
            refusal.dump(),
            _status(refusal),
            headers={"Retry-After": f"{wait:.0f}"} if wait else None,
        )

    async def invalid(request: Request, error: Exception) -> Response:
        # Without what was sent: it may be a secret, or as long as a body may be.
        message = f"the request makes no sense: {type(error).__name__}"
        return await refuse(request, RefusedError(RefusalCode.BAD_REQUEST, message))

    async def broken(request: Request, error: Exception) -> Response:
        _log.error("failed", exc_info=error, **_about(request))
        return Response("Internal Server Error", HTTPStatus.INTERNAL_SERVER_ERROR)

    handlers: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        RefusedError: refuse,
        StoreError: refuse,
        RequestValidationError: invalid,
        ValueError: invalid,
        Exception: broken,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _about(request: Request) -> dict[str, str]:
    """Whose request it is, as far as that was found out, and the location that it names."""
    place = request.path_params.get("location")
    known: dict[str, str] = getattr(request.state, "whose", {})
    return {**known, "location": place} if place else known


def _status(refusal: Refusal) -> HTTPStatus:
    if refusal.code is RefusalCode.TOO_MUCH and refusal.retry_after_seconds is None:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE  # to wait would not make it smaller
    return _STATUS[refusal.code]
