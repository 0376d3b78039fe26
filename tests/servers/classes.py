"""Storage classes for an S3 server that has none: versitygw keeps everything in STANDARD.

A handler in front of it, which adds what Amazon's reference says of classes, and passes all else on
as it came, signatures included. A copy of an object onto itself is answered here, since versitygw
refuses it, and verifies no signature; nothing moves by itself: a test says when what was asked back
has come.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import urllib3

from tests.servers.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.s3 import S3

_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
_CLASS = "x-amz-storage-class"
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Classes:
    """A server with storage classes. Objects are named `bucket/key`.

    Attributes:
        server: the same, seen through this.
        of: the class of each object that has another than STANDARD.
        returning: archived ones that were asked back.
        back: those that have come.
    """

    server: S3
    of: dict[str, str] = field(default_factory=dict)
    returning: set[str] = field(default_factory=set)
    back: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def arrive(self) -> None:
        """Let all come that was asked back."""
        self.back |= self.returning
        self.returning.clear()

    def is_away(self, name: str) -> bool:
        """Whether an object cannot be read."""
        return self.of.get(name) in _ARCHIVES and name not in self.back

    def as_listed(self, name: str, entry: str, *, returns: bool) -> str:
        """An entry of a listing with the object's class, and its return where that is asked for."""
        if name not in self.of:
            return entry
        entry = re.sub("(<StorageClass>).*?(</)", rf"\g<1>{self.of[name]}\2", entry)
        status = ""
        if returns and name in self.returning:
            status = "<IsRestoreInProgress>true</IsRestoreInProgress>"
        elif returns and name in self.back:
            status = (
                "<IsRestoreInProgress>false</IsRestoreInProgress>"
                "<RestoreExpiryDate>2035-12-21T00:00:00.000Z</RestoreExpiryDate>"
            )
        if not status:
            return entry
        return entry.replace("</Contents>", f"<RestoreStatus>{status}</RestoreStatus></Contents>")

    def headers(self, name: str) -> dict[str, str]:
        """What an answer about an object says of its class."""
        if name not in self.of:
            return {}
        found = {_CLASS: self.of[name]}
        if name in self.returning:
            found["x-amz-restore"] = 'ongoing-request="true"'
        elif name in self.back:
            expiry = 'expiry-date="Fri, 21 Dec 2035 00:00:00 GMT"'
            found["x-amz-restore"] = f'ongoing-request="false", {expiry}'
        return found


@contextmanager
def with_classes(server: S3) -> Iterator[Classes]:
    """Stand in front of a server while the block runs."""
    host = urlsplit(server.endpoint).hostname or "127.0.0.1"
    port = free_port(host)
    classes = Classes(replace(server, endpoint=f"http://{host}:{port}"))
    inner = urllib3.HTTPConnectionPool(urlsplit(server.endpoint).netloc, maxsize=16)
    listener = _Listener((host, port), _Handler)
    listener.classes, listener.buckets, listener.inner = classes, server.buckets, inner
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield classes
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
        inner.close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    classes: Classes
    buckets: Path
    inner: urllib3.HTTPConnectionPool


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "list-type" in query:
            self._pass(listing=True)
        elif self.server.classes.is_away(self._name()) and not query.keys() & {
            "uploads",
            "versions",
        }:
            self._refuse(403, "InvalidObjectState", "The operation is not valid.")
        else:
            self._pass()

    def do_HEAD(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self.server.classes.of.pop(self._name(), None)
        self._pass()

    def do_PUT(self) -> None:
        source = unquote(self.headers.get("x-amz-copy-source", "")).lstrip("/")
        if source != self._name():
            self._pass()
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wanted = self.headers.get(_CLASS, "STANDARD")
        if not (self.server.buckets / source).is_file():
            self._refuse(404, "NoSuchKey", "The specified key does not exist.")
        elif self.server.classes.is_away(source):
            self._refuse(403, "InvalidObjectState", "The source is archived.")
        else:
            self.server.classes.back.discard(source)
            self.server.classes.of[source] = wanted
            self._answer(200, b"<CopyObjectResult><ETag>1</ETag></CopyObjectResult>")

    def do_POST(self) -> None:
        name = self._name()
        if "restore" not in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            self._pass()
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.classes.asked.append(name)
        if not (self.server.buckets / name).is_file():
            self._refuse(404, "NoSuchKey", "The specified key does not exist.")
        elif self.server.classes.of.get(name) not in _ARCHIVES:
            self._refuse(403, "InvalidObjectState", "Restore is not allowed for this class.")
        elif name in self.server.classes.returning:
            self._refuse(409, "RestoreAlreadyInProgress", "It is already in progress.")
        else:
            new = name not in self.server.classes.back
            if new:
                self.server.classes.returning.add(name)
            self._answer(202 if new else 200, b"")

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _pass(self, *, listing: bool = False) -> None:
        size = int(self.headers.get("Content-Length", 0))
        found = self.server.inner.urlopen(
            self.command,
            self.path,
            body=self.rfile.read(size) if size else None,
            headers=dict(self.headers),
            redirect=False,
            retries=False,
            decode_content=False,
        )
        body = self._classified(found.data) if listing else found.data
        headers = {k: v for k, v in found.headers.items() if k.lower() not in _HOP}
        if found.status < 300:
            headers |= self.server.classes.headers(self._name())
        size_told = found.headers.get("Content-Length") if self.command == "HEAD" else None
        self._answer(found.status, body, headers, size_told)

    def _classified(self, listing: bytes) -> bytes:
        bucket = self._name().rstrip("/")
        tells = "RestoreStatus" in self.headers.get("x-amz-optional-object-attributes", "")

        def change(found: re.Match[str]) -> str:
            key = re.search("<Key>(.*?)</Key>", found[0])
            assert key is not None
            return self.server.classes.as_listed(f"{bucket}/{key[1]}", found[0], returns=tells)

        pattern = "<Contents>.*?</Contents>"
        return re.sub(pattern, change, listing.decode(), flags=re.DOTALL).encode()

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(status, text.encode(), {"Content-Type": "application/xml"})

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        size: str | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
