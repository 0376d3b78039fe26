"""Connections that somebody opens and leaves: hung up on, and counted, before they crowd out others.

The HTTP server itself waits for ever for the first byte of a request, and has room for so many
connections. Whoever reaches the broker needs no token for that.
"""

from asyncio import TimerHandle, Transport
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """One connection, by the rules of `header_seconds` and `most_a_peer`.

    Attributes:
        header_seconds: within which a request's headers have to be there, from the connection's
            opening or the headers' first byte.
        most_a_peer: connections of one address at once.
    """

    header_seconds: ClassVar[float] = 10.0
    most_a_peer: ClassVar[int] = 256
    peers: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Count it, and give it a while to ask something."""
        super().connection_made(transport)
        self._late: TimerHandle | None = None
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self.peers[self._peer] += 1
        if self.peers[self._peer] > self.most_a_peer:
            transport.close()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            self._wait()  # headers have begun, and are not there yet
        else:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self._stop()
        self.peers[self._peer] -= 1
        if not self.peers[self._peer]:
            del self.peers[self._peer]
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.header_seconds, self._hang_up)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> Any:
        # A TLS connection whose other side is silent would wait for its farewell.
        self.transport.abort()
