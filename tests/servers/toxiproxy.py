"""Faults on the way to a server: toxiproxy, and a small client of its HTTP API."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import urllib3

from tests.servers.process import free_port, running
from tests.servers.s3 import is_ok
from tests.tools import binary


@dataclass(frozen=True)
class Proxy:
    """A port that leads to a server as long as nothing is put in the way."""

    api: str
    name: str
    host: str
    port: int

    def in_front_of(self, url: str) -> str:
        """The same URL, by way of this proxy."""
        return urlunsplit(urlsplit(url)._replace(netloc=f"{self.host}:{self.port}"))

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        _call("POST", f"{self.api}/proxies/{self.name}", {"enabled": False})

    def heal(self) -> None:
        """Take away everything that was put in the way of this proxy."""
        for toxic in _call("GET", f"{self.api}/proxies/{self.name}/toxics"):
            _call("DELETE", f"{self.api}/proxies/{self.name}/toxics/{toxic['name']}")
        _call("POST", f"{self.api}/proxies/{self.name}", {"enabled": True})

    def toxic(
        self, kind: str, stream: Literal["upstream", "downstream"], **attributes: int
    ) -> None:
        """Put something in the way: `latency`, `bandwidth`, `reset_peer`, `timeout`, `limit_data`, …

        Args:
            stream: upstream is what the client sends, downstream what it gets.
            kind: see toxiproxy's README for these and their attributes.
            **attributes: milliseconds, KiB/s or bytes.
        """
        toxic = {"type": kind, "stream": stream, "attributes": attributes}
        _call("POST", f"{self.api}/proxies/{self.name}/toxics", toxic)


@dataclass(frozen=True)
class Toxiproxy:
    """The proxy server; one serves any number of proxies."""

    api: str
    host: str

    def proxy(self, name: str, url: str) -> Proxy:
        """A proxy in front of the server that a URL leads to."""
        listen = f"{self.host}:{free_port(self.host)}"
        request = {"name": name, "listen": listen, "upstream": urlsplit(url).netloc}
        listen = _call("POST", f"{self.api}/proxies", request)["listen"]
        return Proxy(self.api, name, self.host, int(listen.rpartition(":")[2]))


@contextmanager
def toxiproxy(directory: Path, *, host: str = "127.0.0.1") -> Iterator[Toxiproxy]:
    """Run toxiproxy while the block runs. Its API listens on loopback only."""
    port = free_port("127.0.0.1")
    api = f"http://127.0.0.1:{port}"
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(binary("toxiproxy")), "-host", "127.0.0.1", "-port", str(port)]
    log = directory / "toxiproxy.log"
    with running(command, log=log, ready=lambda: is_ok(f"{api}/version")):
        yield Toxiproxy(api, host)


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    answer = urllib3.request(method, url, json=body, retries=False, timeout=60)
    if answer.status >= 400:
        raise RuntimeError(f"toxiproxy refused {method} {url}: {answer.data.decode()}")
    return answer.json() if answer.data else None
