"""How long the wire waits for a body: a server that trickles must not hold a range for ever."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from weddingbackup.stores import wire
from weddingbackup.stores.api import SignedRequest
from weddingbackup.stores.errors import TransientError
from weddingbackup.stores.wire import Wire

_SIZE = 12 << 10


class Server:
    """Answers each request with a body that it sends byte by byte, for as long as anyone listens."""

    def __init__(self, status: str) -> None:
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/object"
        self.hung_up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            head = f"HTTP/1.1 {self._status}\r\nContent-Length: {_SIZE}\r\n\r\n"
            try:
                connection.sendall(head.encode())
                connection.settimeout(
                    0.02
                )  # a pause before each byte, which ends when they hang up
                for _ in range(_SIZE):
                    connection.sendall(b"x")
                    try:
                        if not connection.recv(1):
                            break
                    except TimeoutError:
                        pass
            except OSError:
                pass
            self.hung_up.set()


@pytest.fixture(params=["206 Partial Content", "503 Service Unavailable"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found = Server(request.param)
    yield found
    found.close()


def test_a_body_that_trickles_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_SLOWEST", _SIZE * 10)
    carrier = Wire(location="attic", address="the attic", read_seconds=0.2)
    signed = SignedRequest("GET", server.url, {}, datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(TransientError, match=r"the attic took more than 0\.3 s") as caught:
        carrier.get(signed, name="packs/one", offset=0, length=_SIZE)
    assert (caught.value.location, caught.value.name) == ("attic", "packs/one")
    assert server.hung_up.wait(30)
