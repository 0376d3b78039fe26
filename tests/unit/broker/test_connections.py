"""Who opens connections and says nothing is hung up on, and takes no place from others."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import uvicorn

from tests.servers.process import free_port, wait_until
from weddingbackup.broker.connections import Connection

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: broker\r\n"


async def app(scope: dict[str, object], _receive: object, send: object) -> None:
    assert callable(send)
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Quick(Connection):
    header_seconds = 0.3
    most_a_peer = 3


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port(HOST)
    config = uvicorn.Config(
        app, host=HOST, port=port, http=Quick, log_config=None, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, seconds=30, what="the server")
    wait_until(lambda: not Quick.peers, seconds=30, what="quiet")
    yield port
    server.should_exit = True
    thread.join(30)


def call(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=20)


@pytest.mark.parametrize("said", [b"", REQUEST])
def test_who_asks_nothing_is_hung_up_on(port: int, said: bytes) -> None:
    with call(port) as silent:
        silent.sendall(said)
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""
    wait_until(lambda: not Quick.peers, seconds=20, what="the count")


def test_who_asks_is_answered_again_and_again(port: int) -> None:
    with call(port) as busy:
        for _ in range(3):
            busy.sendall(REQUEST + b"\r\n")
            assert busy.recv(4096).startswith(b"HTTP/1.1 204")
        time.sleep(Quick.header_seconds * 2)  # idle, not late: the keep-alive's business
        busy.sendall(REQUEST + b"\r\n")
        assert busy.recv(4096).startswith(b"HTTP/1.1 204")


def test_one_address_has_so_many(port: int) -> None:
    with ExitStack() as opened:
        lines = [opened.enter_context(call(port)) for _ in range(Quick.most_a_peer)]
        for line in lines:
            line.sendall(REQUEST + b"\r\n")
            assert line.recv(4096).startswith(b"HTTP/1.1 204")
        one_more = opened.enter_context(call(port))
        with suppress(ConnectionResetError, BrokenPipeError):
            one_more.sendall(REQUEST + b"\r\n")
            assert one_more.recv(4096) == b""
    wait_until(lambda: not Quick.peers, seconds=20, what="the count")
    with call(port) as again:
        again.sendall(REQUEST + b"\r\n")
        assert again.recv(4096).startswith(b"HTTP/1.1 204")
