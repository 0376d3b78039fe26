"""Links of a given speed in front of servers: `python -m tests.benchmarks.link PLAN`, one process.

What toxiproxy limits is one connection; here all connections of a link share its speed, as they do
in a network, each direction by itself. Bytes go from socket to socket by `splice`, so a link costs
little of the processors that it shares with those whom it stands between.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.servers.process import answers, free_port, running

_HOST = "127.0.0.1"
_PIECE = 256 * 1024
_BUFFER = 256 * 1024  # what waits at a link: by default the kernel would take many seconds' worth
_SLACK_SECONDS = 0.02  # what a sleeper that was woken late may make up for


@dataclass(frozen=True, slots=True)
class Link:
    """One link: the server's URL, and bytes a second each way, or one of the two below."""

    url: str
    speed: float


DEAD = -1.0
"""A speed: nobody listens."""
STALLED = 0.0
"""A speed: connections are taken, and nothing is ever said."""


class Pace:
    """When bytes that go through a link have gone through, one after the other. Takes any thread."""

    def __init__(self, speed: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with an idle link of this speed, in bytes a second."""
        self._speed = speed
        self._clock = clock
        self._free = 0.0
        self._lock = threading.Lock()

    def take(self, size: int) -> float:
        """Send so many bytes; gives the seconds until they are through."""
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now - _SLACK_SECONDS) + size / self._speed
            return max(0.0, self._free - now)


@contextmanager
def links(directory: Path, plan: Mapping[str, Link]) -> Iterator[dict[str, str]]:
    """Run links while the block runs; gives the URL of each one's near end."""
    ports = {name: free_port(_HOST) for name in plan}
    file = directory / "links.json"
    file.write_text(
        json.dumps([{"port": ports[name], **asdict(link)} for name, link in plan.items()])
    )
    command = [sys.executable, "-m", "tests.benchmarks.link", str(file)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}

    def ready() -> bool:
        return all(answers(_HOST, ports[name]) for name in plan if plan[name].speed != DEAD)

    with running(command, log=directory / "links.log", ready=ready, environment=environment):
        yield {
            name: urlunsplit(urlsplit(link.url)._replace(netloc=f"{_HOST}:{ports[name]}"))
            for name, link in plan.items()
        }


def serve(port: int, far: tuple[str, int], speed: float) -> None:
    """Serve one link, for ever."""
    silent = []  # connections that stay open and are not read
    up, down = Pace(speed), Pace(speed)
    with socket.create_server((_HOST, port), backlog=128) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        while True:
            near, _ = listener.accept()
            if speed == STALLED:
                silent.append(near)
                continue
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            try:
                server.connect(far)
            except OSError:
                near.close()
                server.close()
                continue
            for one in (near, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, pace in ((near, server, up), (server, near, down)):
                threading.Thread(target=_carry, args=(source, sink, pace), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, pace: Pace) -> None:
    """Carry bytes one way until an end closes; then the other end hears of it."""
    out, into = os.pipe()
    # An end that is gone is how every connection ends.
    with contextlib.suppress(OSError):
        while size := os.splice(source.fileno(), into, _PIECE):
            time.sleep(pace.take(size))
            while size:
                size -= os.splice(out, sink.fileno(), size)
    os.close(out)
    os.close(into)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main(arguments: list[str]) -> int:
    """Serve all links of a plan."""
    for one in json.loads(Path(arguments[0]).read_text()):
        if one["speed"] == DEAD:
            continue
        far = urlsplit(one["url"])
        threading.Thread(
            target=serve, args=(one["port"], (far.hostname, far.port), one["speed"])
        ).start()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
