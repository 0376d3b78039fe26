"""Carries out signed requests over plain HTTP: one client for all providers, without credentials.

Bodies go from the caller's memory straight to the socket, and connections are kept. What a URL
signs is a secret for ten minutes, so no message, log line or exception text holds one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NoReturn, Self

import urllib3
from urllib3 import exceptions

from weddingbackup.resources.common import LocationLimits
from weddingbackup.stores import answers
from weddingbackup.stores.api import SignedRequest
from weddingbackup.stores.errors import CorruptError, StoreError, TransientError, UnsupportedError
from weddingbackup.stores.line import Line

_SLICE = 1 << 20
_MAX_REFUSAL = 64 << 10
_SLOWEST = 64 << 10
"""Bytes a second that an answer has to come with. Slower, and another location is asked: a full
pack may take as long to come as to be sent. Not more, for several streams share a thin line, and
where one location is all there is, a restore over it has to end."""
_SUCCESS = range(200, 300)


class Wire:
    """An HTTP client for one location. Safe to use from threads, of which `connections` run at once.

    Time is bounded four ways: `connect_seconds` to connect and for each MiB sent, `read_seconds`
    for each silence of the other side, `send_seconds` for sending a body as a whole, and for an
    answer's body as a whole `read_seconds` and what it takes at 64 KiB/s. The time for which the
    location's own limits hold a body back counts for none of them.
    """

    def __init__(
        self,
        *,
        location: str,
        address: str,
        ca_file: str | None = None,
        connections: int = 8,
        limits: LocationLimits | None = None,
        connect_seconds: float = 5,
        read_seconds: float = 20,
        send_seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        limits = limits or LocationLimits()
        up, down = limits.upload_bytes_per_second, limits.download_bytes_per_second
        self._upload = Line(up, clock=clock, sleep=sleep) if up else None
        self._download = Line(down, clock=clock, sleep=sleep) if down else None
        self._connections = limits.connections or connections
        self._location = location
        self._address = address
        self._read_seconds = read_seconds
        self._send_seconds = send_seconds
        self._clock = clock
        self._pool = urllib3.PoolManager(
            num_pools=1,  # a location is one host
            maxsize=self._connections,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds),
            ca_certs=ca_file,
            cert_reqs="CERT_REQUIRED",
        )

    def put(self, signed: SignedRequest, data: bytes | memoryview, *, name: str) -> None:
        """Send an object. Its name is for messages.

        Raises:
            StoreError: as errors.py says; TransientError also where the answer got lost, when the
                object may exist or not.
        """
        view = memoryview(data).cast("B")
        headers = {**signed.headers, "Content-Length": str(len(view))}
        response = self._send(signed, headers, name, self._slices(view, name))
        with _Released(response):
            if response.status not in _SUCCESS:
                self._refuse(response, name)
            # The connection is kept only once the answer has been read to its end.
            self._read(response, name, _MAX_REFUSAL)

    def get(
        self, signed: SignedRequest, *, name: str, offset: int = 0, length: int | None = None
    ) -> bytes:
        """Read an object, or just so many bytes of it.

        Raises:
            CorruptError: it ends before `offset + length`.
            StoreError: as errors.py says.
        """
        headers = dict(signed.headers)
        ranged = offset > 0 or length is not None
        if ranged:
            last = "" if length is None else offset + length - 1
            headers["Range"] = f"bytes={offset}-{last}"
        response = self._send(signed, headers, name, None)
        with _Released(response):
            if response.status != (206 if ranged else 200):
                self._refuse(response, name)
            data = self._read(response, name, None)
        if length is not None and len(data) != length:
            raise CorruptError(
                f"object {name} in {self._address} gave {len(data)} bytes from {offset} where"
                f" {length} were expected",
                location=self._location,
                name=name,
            )
        return data

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.clear()

    def _send(
        self,
        signed: SignedRequest,
        headers: dict[str, str],
        name: str,
        body: Iterator[memoryview] | None,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                signed.method,
                signed.url,
                headers=headers,
                body=body,  # type: ignore[arg-type]  # any buffer goes to the socket
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (exceptions.HTTPError, OSError) as error:
            raise self._lost(error, name) from None

    def _slices(self, view: memoryview, name: str) -> Iterator[memoryview]:
        # In slices, because a socket's timeout is for all that one call sends.
        end = self._clock() + self._send_seconds
        size = self._upload.slice if self._upload else _SLICE
        for start in range(0, len(view), size):
            part = view[start : start + size]
            if self._upload:
                end += self._upload.take(len(part))
            if self._clock() > end:
                raise TransientError(
                    f"{self._address} took more than {self._send_seconds:g} s to receive an object",
                    location=self._location,
                    name=name,
                )
            yield part

    def _read(self, response: urllib3.BaseHTTPResponse, name: str, at_most: int | None) -> bytes:
        with self._in_time(response, name, at_most):
            try:
                if self._download and at_most is None:
                    return b"".join(_slices_of(response, self._download))
                # In one piece: pieces that are joined cost half as much CPU again.
                return response.read(at_most, decode_content=False)
            except (exceptions.HTTPError, OSError) as error:
                raise self._lost(error, name) from None

    @contextmanager
    def _in_time(
        self, response: urllib3.BaseHTTPResponse, name: str, at_most: int | None
    ) -> Iterator[None]:
        """Cut off a body that takes too long; a socket's own timeout begins anew with each byte."""
        size = response.length_remaining
        if size is None:  # it does not say: as long as the largest body that is sent may take
            seconds = self._send_seconds
        else:
            seconds = self._read_seconds + min(size, at_most or size) / _SLOWEST
            if self._download:  # and so long, if all connections share the line
                seconds += size / self._download.rate * self._connections
        late = threading.Event()

        def cut() -> None:
            late.set()
            # It may have come to its end just now.
            with suppress(OSError, RuntimeError, ValueError):
                response.shutdown()

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            # Whatever was read: under TLS, what follows a cut may be bytes that are still encrypted.
            if late.is_set():
                raise TransientError(
                    f"{self._address} took more than {seconds:.1f} s to send an object",
                    location=self._location,
                    name=name,
                ) from None

    def _refuse(self, response: urllib3.BaseHTTPResponse, name: str) -> NoReturn:
        if response.status in _SUCCESS:
            raise UnsupportedError(
                f"{self._address} answered {response.status} to a request for a part of an object:"
                " it must support ranges",
                location=self._location,
                name=name,
            )
        body = self._read(response, name, _MAX_REFUSAL)
        answer = answers.parse(response.status, response.headers, body)
        raise answers.error(answer, location=self._location, address=self._address, name=name)

    def _lost(self, error: Exception, name: str) -> StoreError:
        """The typed error for a request without an answer. `error` is not chained: it may hold the URL."""
        return answers.no_answer(
            error, _reason(error), location=self._location, address=self._address, name=name
        )


def _slices_of(response: urllib3.BaseHTTPResponse, line: Line) -> Iterator[bytes]:
    """A body as fast as the line lets it through: what is not read yet, the other side cannot send."""
    while part := response.read(line.slice, decode_content=False):
        line.take(len(part))
        yield part


class _Released:
    """Gives a response's connection back to the pool, or closes it where bytes are left in it."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._response.close()
        self._response.release_conn()


def _reason(error: Exception) -> str:
    """What happened, in words that hold no URL."""
    match error:
        case exceptions.NameResolutionError():
            return "its host name is unknown"
        case exceptions.NewConnectionError():
            return "no connection (refused or no route)"
        case exceptions.ConnectTimeoutError():
            return "connecting timed out"
        case exceptions.ReadTimeoutError() | TimeoutError():
            return "it fell silent"
        case exceptions.SSLError():
            return "TLS failed"
        case _:
            return "the connection was lost"
