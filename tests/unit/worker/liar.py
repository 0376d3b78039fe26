"""A server in the broker's place that answers as a test says: what a good broker never does, too."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.servers.certificate import certificate
from weddingbackup.resources.tasks import BrokerAccess


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    token: str
    body: bytes


@dataclass
class Said:
    """One answer. `cut`: the connection ends before the body does; 0 is no answer at all."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Answer = Callable[[Asked], Said]


@dataclass
class Liar:
    """The server, and what it was asked."""

    access: BrokerAccess
    answer: Answer = lambda _: Said()
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def liar(directory: Path) -> Iterator[Liar]:
    """Run one while the block runs."""
    made = certificate(directory, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.path, made.key)
    found: Liar

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            asked = Asked(self.command, self.path, token, body)
            found.asked.append(asked)
            said = found.answer(asked)
            if not said.status:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body) + said.cut))
            self.end_headers()
            self.wfile.write(said.body)
            self.close_connection = said.cut

        do_GET = do_POST = do_PUT = _serve  # noqa: N815  names of the base class

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    found = Liar(BrokerAccess(url=url, authorities=made.path.read_text()))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
