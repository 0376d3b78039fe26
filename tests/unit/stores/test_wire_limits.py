"""A location's limits on the wire: bodies are paced in slices both ways, and connections counted."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from weddingbackup.resources.common import LocationLimits
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider
from weddingbackup.stores import open_wire
from weddingbackup.stores.api import SignedRequest
from weddingbackup.stores.wire import Wire

_BODY = bytes(range(256)) * (8 << 12)  # 8 MiB
_RATE = 1 << 20


class Server(ThreadingHTTPServer):
    """Takes what is put, gives the body; knows how many requests it had at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[bytes] = []
        self.change = threading.Condition()
        self.busy = self.most = 0
        self.crowd = 0

    def begin(self) -> None:
        with self.change:
            self.busy += 1
            self.most = max(self.most, self.busy)
            self.change.notify_all()
            if self.crowd:  # gives a broken limit the time to show itself
                self.change.wait_for(lambda: self.most > self.crowd, 0.1)

    def end(self) -> None:
        with self.change:
            self.busy -= 1


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.server.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.begin()
        self.server.end()  # before it is answered: then the client may already send the next
        self.send_response(200)
        self.send_header("Content-Length", str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


class Time:
    """A clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def request(server: Server, method: str) -> SignedRequest:
    url = f"http://127.0.0.1:{server.server_port}/object"
    return SignedRequest(method, url, {}, datetime.now(UTC) + timedelta(minutes=5))


@contextmanager
def limited(time: Time, limits: LocationLimits, *, send_seconds: float = 300) -> Iterator[Wire]:
    wire = Wire(
        location="attic",
        address="the attic",
        limits=limits,
        send_seconds=send_seconds,
        clock=time.clock,
        sleep=time.sleep,
    )
    yield wire
    wire.close()


def test_what_is_sent_is_paced_in_slices_and_its_wait_is_nobodys_lateness(server: Server) -> None:
    time = Time()
    limits = LocationLimits(upload_bytes_per_second=_RATE)
    with limited(time, limits, send_seconds=1) as wire:
        wire.put(request(server, "PUT"), _BODY, name="packs/one")
    assert server.taken == [_BODY]
    assert time.now == 8 - 1 / 8
    assert max(time.sleeps) == 1 / 8


def test_what_is_read_is_paced_in_slices(server: Server) -> None:
    time = Time()
    with limited(time, LocationLimits(download_bytes_per_second=_RATE)) as wire:
        assert wire.get(request(server, "GET"), name="packs/one") == _BODY
        wire.put(request(server, "PUT"), _BODY, name="packs/two")  # the other direction is free
    assert time.now == 8 - 1 / 8
    assert max(time.sleeps) == 1 / 8


def test_without_limits_nobody_waits(server: Server) -> None:
    time = Time()
    with limited(time, LocationLimits()) as wire:
        wire.put(request(server, "PUT"), _BODY, name="packs/one")
        assert wire.get(request(server, "GET"), name="packs/one") == _BODY
    assert not time.sleeps


def test_a_location_gets_no_more_connections_than_it_allows(server: Server) -> None:
    access = LocationAccess(
        name="attic",
        provider=Provider.S3,
        bucket="attic",
        region="r",
        limits=LocationLimits(connections=2),
    )
    server.crowd = 2
    wire = open_wire(access, "the attic")
    with ThreadPoolExecutor(6) as pool:
        for _ in pool.map(lambda _: wire.get(request(server, "GET"), name="x"), range(12)):
            pass
    wire.close()
    assert 1 <= server.most <= 2
