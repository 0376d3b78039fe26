"""One location as a vault sees it: what somebody signs, the wire carries out, and passing faults end here."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from weddingbackup.stores import names
from weddingbackup.stores.api import Grants, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.errors import (
    DeniedError,
    ExistsError,
    MissingError,
    TransientError,
)
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire

_SPARE = timedelta(minutes=1)  # a signature this old is renewed before it is used
_MAX_REMEMBERED = 4096


class WireStore:
    """A `Store` that holds no credentials: `grants` signs, `wire` sends."""

    def __init__(
        self,
        grants: Grants,
        wire: Wire,
        *,
        retry: Retry | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._grants = grants
        self._wire = wire
        self._retry = retry or Retry()
        self._now = now
        self._signed_gets: dict[str, SignedRequest] = {}  # one serves all ranges of an object
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """The location's name."""
        return self._grants.location

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        """Create an object; see `Store.put`."""
        names.check(name)
        data = memoryview(data).cast("B")
        md5 = hashlib.md5(data, usedforsecurity=False).digest() if self._grants.binds_md5 else None
        intent = PutIntent(name, len(data), sha256, md5)
        lost = False

        def attempt() -> None:
            nonlocal lost
            # An answer may have got lost on its way, or been cut off by a server that refuses a
            # put before it has read the body: sending once more could go on like that for ever.
            if lost and self._holds(intent):
                return
            try:
                self._send(intent, data)
            except TransientError:
                lost = True
                raise

        self._retry.call(attempt)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a part of it; see `Store.get`."""
        names.check(name)
        if offset < 0 or (length is not None and length <= 0):
            raise ValueError(f"no such part of an object: {length} bytes from {offset}")
        return self._retry.call(lambda: self._read(name, offset, length))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so; see `Store.list`."""
        return self._grants.list(names.check_prefix(prefix))

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _send(self, intent: PutIntent, data: memoryview) -> None:
        try:
            self._wire.put(self._sign_put(intent), data, name=intent.name)
        except ExistsError:
            if not self._holds(intent):
                raise
        except DeniedError:
            # Where a signature may only create, "denied" can mean "exists". Or it was signed ahead
            # of time and is too old by now, which not every provider says in so many words.
            if not self._holds(intent):
                self._wire.put(self._sign_put(intent), data, name=intent.name)

    def _sign_put(self, intent: PutIntent) -> SignedRequest:
        [signed] = self._grants.sign_puts([intent])
        return signed

    def _holds(self, intent: PutIntent) -> bool:
        """Whether the object is there, with the bytes that we mean.

        Raises:
            ExistsError: it is there with other bytes.
        """
        try:
            there = self._read(intent.name, 0, None)
        except (MissingError, DeniedError):
            return False
        if hashlib.sha256(there).digest() == intent.sha256:
            return True
        raise ExistsError(
            f"object {intent.name} in {self._grants.address} exists with other bytes; it was left"
            " as it is",
            location=self.location,
            name=intent.name,
        )

    def _read(self, name: str, offset: int, length: int | None) -> bytes:
        try:
            signed = self._signed_get(name)
            return self._wire.get(signed, name=name, offset=offset, length=length)
        except DeniedError:  # perhaps only too old, whatever its date says: clocks differ
            self._forget(name)
            signed = self._signed_get(name)
            return self._wire.get(signed, name=name, offset=offset, length=length)

    def _signed_get(self, name: str) -> SignedRequest:
        with self._lock:
            known = self._signed_gets.get(name)
        if known is not None and known.expires_at - _SPARE > self._now():
            return known
        [signed] = self._grants.sign_gets([name])
        with self._lock:
            self._signed_gets.pop(name, None)
            while len(self._signed_gets) >= _MAX_REMEMBERED:
                self._signed_gets.pop(next(iter(self._signed_gets)))  # the oldest
            self._signed_gets[name] = signed
        return signed

    def _forget(self, name: str) -> None:
        with self._lock:
            self._signed_gets.pop(name, None)
