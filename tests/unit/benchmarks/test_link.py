"""Links of a given speed."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.link import DEAD, STALLED, Link, Pace, links


def test_all_who_send_share_one_speed() -> None:
    now = 100.0
    pace = Pace(1000, clock=lambda: now)
    # An idle link makes up for 20 ms, and no more.
    assert pace.take(100) == pytest.approx(0.08)
    assert pace.take(50) == pytest.approx(0.13)
    now = 100.05
    assert pace.take(50) == pytest.approx(0.13)
    now = 200.0
    assert pace.take(20) == pytest.approx(0.0)


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that says what it heard, once it has heard all; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as heard:
                    connection.sendall(heard.read())

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _connect(url: str) -> socket.socket:
    split = urlsplit(url)
    return socket.create_connection((split.hostname or "", split.port or 0), timeout=30)


def test_a_link_carries_all_bytes_both_ways_and_the_end(echo: str, tmp_path: Path) -> None:
    said = bytes(range(256)) * 4000
    plan = {"fast": Link(echo, 1e9), "dead": Link(echo, DEAD), "stalled": Link(echo, STALLED)}
    with links(tmp_path, plan) as urls:
        with _connect(urls["fast"]) as line, line.makefile("rb") as heard:
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            assert heard.read() == said
        with pytest.raises(ConnectionRefusedError):
            _connect(urls["dead"])
        with _connect(urls["stalled"]) as line:
            line.sendall(b"hello")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(1)
