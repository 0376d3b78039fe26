"""Speaks to the broker over HTTPS, and waits for one that is away.

The pod's token is all that it shows, read anew for each request since the kubelet renews it. A
broker that gives no answer, or says that it cannot serve for now, is asked again for ten minutes;
one that says that it is not this job's turn yet is asked when it is, however long that takes; one whose certificate the task's authorities do not vouch for gets no token at all. No message holds
a URL, a token or anything of an answer but the words of its refusal.
"""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import structlog
import urllib3
from pydantic import BaseModel, ValidationError
from urllib3 import exceptions

from weddingbackup.resources.broker import (
    Applied,
    Listed,
    Opening,
    Progress,
    Refusal,
    RefusalCode,
    SignAnswer,
    SignRequest,
    Turn,
)
from weddingbackup.resources.tasks import BrokerAccess
from weddingbackup.stores.answers import retry_after
from weddingbackup.stores.errors import TransientError
from weddingbackup.stores.retry import Retry
from weddingbackup.worker.environment import read_file
from weddingbackup.worker.errors import BrokerError, RefusedError

PATIENCE = Retry(deadline_seconds=600)
"""How long a broker that is away is waited for."""

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_LISTING_SECONDS = 120.0
"""Of silence, while the broker lists a bucket."""
_MANIFEST_SECONDS = 180.0
"""Of silence, while the broker looks whether a location holds all that a manifest needs."""
_ROWS_SECONDS = 900.0
"""Of silence, while the broker reads a database, or writes into one."""
_TELL_SECONDS = 5.0
_TURN_SECONDS = 0.25
"""Between two questions for the job's turn; the broker holds each for a while."""
_CONNECTIONS = 16
_SLICE = 1 << 20
_LARGEST_ANSWER = 64 << 20
_LISTING_IN_MEMORY = 4 << 20
_SUCCESS = range(200, 300)
# Who stands before a broker says these while it is away; so does a broker that cannot tell yet who asks.
_AWAY = {502, 503, 504}
_PLACES = "/v1/locations/"

_log = structlog.get_logger()

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Client:
    """One worker's line to the broker. Safe to use from threads."""

    def __init__(
        self, access: BrokerAccess, token_file: Path, *, patience: Retry = PATIENCE
    ) -> None:
        """Trust these authorities and nobody else.

        Raises:
            RefusedError: the task's URL or its authorities make no sense.
        """
        url = urlsplit(access.url)
        if url.scheme != "https" or not url.netloc:
            # In the clear everybody on the way could read the token and the keys.
            raise RefusedError("BadTask", "the broker's URL does not begin with https://")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=access.authorities)
        except (ssl.SSLError, ValueError):
            raise RefusedError(
                "BadTask", "the task's authorities for the broker are no PEM certificates"
            ) from None
        self._url = access.url.rstrip("/")
        self._token_file = token_file
        self._patience = patience
        self._waited = threading.local()
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=_CONNECTIONS,
            block=True,
            retries=False,
            ssl_context=context,
            cert_reqs="CERT_REQUIRED",
        )

    def clock(self) -> float:
        """A clock that stands still for a thread while it waits for the broker; in seconds.

        For the deadlines of what else the thread does: a broker that was away for a minute must not
        have used up the time that a location is given.
        """
        waited: float = getattr(self._waited, "seconds", 0.0)
        return time.monotonic() - waited

    def waiting(self, operation: Callable[[], T]) -> T:
        """Do something that waits for the broker, off this thread's `clock`."""
        before, begun = self.clock(), time.monotonic()
        try:
            return operation()
        finally:
            self._waited.seconds = begun - before + (time.monotonic() - begun)

    def open(self) -> Opening:
        """What the job begins with.

        Raises:
            BrokerError: this and all below: the broker refused, or stayed away.
        """
        return self._ask("POST", "/v1/open", Opening)

    def sign(self, request: SignRequest) -> SignAnswer:
        """Have requests signed; the answers stand in the order of what was asked."""
        answer = self._ask("POST", "/v1/sign", SignAnswer, body=request.to_json().encode())
        if (len(answer.puts), len(answer.gets)) != (len(request.puts), len(request.gets)):
            raise _nonsense()
        return answer

    def list(self, location: str, prefix: str) -> Iterator[Listed]:
        """All objects at a location whose names begin so; a listing that broke off is none.

        It is kept aside until it is whole, so that one that breaks off can be asked for again.
        """
        path = f"{_PLACES}{quote(location, safe='')}/objects?prefix={quote(prefix, safe='')}"

        def attempt() -> Iterator[Listed]:
            aside = SpooledTemporaryFile(_LISTING_IN_MEMORY)  # noqa: SIM115  closed by whoever reads it
            try:
                response = self._send("GET", path, silence=_LISTING_SECONDS)
                self._receive(response, aside)
                _require_end(aside, location)
            except BaseException:
                aside.close()
                raise
            return _lines(aside)

        return self._persist(attempt)

    def put_manifest(self, location: str, name: str, data: bytes | memoryview) -> None:
        """Have a manifest stored at a location; the same bytes there already are a success."""
        path = f"{_PLACES}{quote(location, safe='')}/manifests/{quote(name)}"
        body = bytes(data)
        self._persist(
            lambda: self._drain(self._send("PUT", path, body=body, silence=_MANIFEST_SECONDS))
        )

    def tell(self, progress: Progress) -> None:
        """Say how far the job is; asked once only, since the next will say it better."""
        try:
            body = progress.to_json().encode()
            self._drain(self._send("POST", "/v1/progress", body=body, silence=_TELL_SECONDS))
        except TransientError as error:
            raise BrokerError(_away(error)) from None

    def get_rows(self, source: str, into: Path) -> None:
        """Save the rows of a source of a shared database: a tar, whole or not at all."""

        def attempt() -> None:
            response = self._send("GET", _rows(source), silence=_ROWS_SECONDS)
            with into.open("wb") as file:
                self._receive(response, file)

        try:
            self._persist(attempt)
        except BaseException:
            into.unlink(missing_ok=True)
            raise

    def put_rows(self, source: str, from_: Path) -> Applied:
        """Put rows of a shared database back, from a tar. Doing it twice is as doing it once."""

        def attempt() -> Applied:
            with from_.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                response = self._send(
                    "PUT", _rows(source), body=file, size=size, silence=_ROWS_SECONDS
                )
                return _parse(Applied, self._drain(response))

        return self._persist(attempt)

    def _ask(self, method: str, path: str, kind: type[M], *, body: bytes = b"") -> M:
        return self._persist(lambda: _parse(kind, self._drain(self._send(method, path, body=body))))

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Try until the broker answers, or has been away for too long; wait for the job's turn."""
        while True:
            try:
                return self.waiting(lambda: self._patience.call(attempt))
            except TransientError as error:
                raise BrokerError(_away(error)) from None
            except BrokerError as error:
                if error.refusal.code is not RefusalCode.WAITS:
                    raise
                _log.info("waiting", reason=error.refusal.message)
            self.waiting(self._await_turn)

    def _await_turn(self) -> None:
        """Return when the broker says that this job may move data."""
        while True:
            # First: two brokers may see the turn come at two moments, and must not be asked in a circle.
            self._patience.sleep(_TURN_SECONDS)
            if self._ask("GET", "/v1/turn", Turn).waits_for is None:
                return

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | IO[bytes] = b"",
        size: int | None = None,
        silence: float = _ANSWER_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; gives an answer that is a success, its body not read yet."""
        token = read_file(self._token_file, what="the pod's token for the broker")
        headers = {"Authorization": f"Bearer {token}"}
        if method != "GET":
            headers["Content-Length"] = str(len(body) if isinstance(body, bytes) else size)
        try:
            response = self._pool.request(
                method,
                self._url + path,
                headers=headers,
                body=body or None,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=silence),
            )
        except (exceptions.HTTPError, OSError) as error:
            _lost(error)
        if response.status not in _SUCCESS:
            after = retry_after(response.headers.get("retry-after"))
            _refuse(response.status, after, self._drain(response), located=path.startswith(_PLACES))
        return response

    def _drain(self, response: urllib3.BaseHTTPResponse) -> bytes:
        try:
            data = response.read(_LARGEST_ANSWER)
        except (exceptions.HTTPError, OSError) as error:
            response.close()
            _lost(error)
        response.release_conn()
        return data

    def _receive(self, response: urllib3.BaseHTTPResponse, file: IO[bytes]) -> None:
        # Written outside the guard: a full disk is no absent broker.
        while data := self._slice(response):
            file.write(data)
        response.release_conn()

    def _slice(self, response: urllib3.BaseHTTPResponse) -> bytes:
        try:
            return response.read(_SLICE)
        except (exceptions.HTTPError, OSError) as error:
            response.close()
            _lost(error)


def _rows(source: str) -> str:
    return f"/v1/sources/{quote(source, safe='')}/rows"


def _require_end(aside: IO[bytes], location: str) -> None:
    """Make sure by its last line that a listing is whole."""
    aside.seek(0)
    line = b""
    for line in aside:  # noqa: B007  the last one is what counts
        pass
    try:
        last = Listed.model_validate_json(line)
    except ValidationError:  # cut off in the middle
        last = Listed()
    if not last.end:
        raise TransientError("the broker's listing broke off", location=location)
    if last.refusal is not None:
        raise BrokerError(last.refusal)


def _lines(aside: IO[bytes]) -> Iterator[Listed]:
    with aside:
        aside.seek(0)
        for line in aside:
            if not (listed := _parse(Listed, line)).end:
                yield listed


def _parse(kind: type[M], data: bytes) -> M:
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        # Its text quotes what it read, which may be keys or signatures.
        raise _nonsense() from None


def _nonsense() -> BrokerError:
    message = "the broker's answer makes no sense: do operator, broker and worker have one version?"
    return BrokerError(Refusal(code=RefusalCode.BAD_REQUEST, message=message))


def _lost(error: Exception) -> NoReturn:
    """Say in a type, and in words of our own, why there is no answer: others' words hold the URL."""
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        raise BrokerError(
            Refusal(
                code=RefusalCode.DENIED,
                message="the broker shows a certificate that the task's authorities do not vouch"
                " for; it was told nothing. Look whether somebody stands between, or whether the"
                " operator's certificate Secrets were made anew",
            )
        ) from None
    raise TransientError("the broker gives no answer", location="") from None


def _refuse(status: int, after: float | None, body: bytes, *, located: bool) -> NoReturn:
    """Tell who is away: the broker, which is waited for, or what it speaks to for us."""
    try:
        refusal = Refusal.model_validate_json(body)
    except ValidationError:
        message = f"the broker answered {status}; its log has the reason"
        refusal = Refusal(code=RefusalCode.TRANSIENT, message=message)
        located = False
    # Of a location it is the location that is away, and other locations may be asked instead.
    passing = refusal.code is RefusalCode.TRANSIENT and status in _AWAY and not located
    seconds = after if refusal.retry_after_seconds is None else refusal.retry_after_seconds
    # Without a time to come back at, it is too much at any time.
    if passing or (status == HTTPStatus.TOO_MANY_REQUESTS and seconds is not None):
        message = f"the broker cannot serve for now ({status})"
        raise TransientError(message, location="", retry_after_seconds=seconds)
    raise BrokerError(refusal)


def _away(error: TransientError) -> Refusal:
    return Refusal(
        code=RefusalCode.TRANSIENT,
        message=f"{error}: look whether the Deployment of the broker is up, and may be reached from"
        " this namespace",
    )
