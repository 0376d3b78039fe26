"""The way into a location: what it holds is looked at before anything else is read or written there.

Who has not answered when the others have is not waited for. It fails at once, so that it holds up
nobody again and again, and serves from the moment on at which it has answered.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from weddingbackup.stores.errors import StoreError, TransientError, UnsupportedError
from weddingbackup.vault.errors import RefusedError, VaultDamageError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.names import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weddingbackup.stores.api import ObjectInfo, Store


class Entrance:
    """A location that may not have answered yet, as a `Store`. For several threads.

    Attributes:
        refusal: why nothing is read or written there; None: nothing is known against it.
    """

    def __init__(self, store: Store, vault_id: bytes) -> None:
        """Take a location, and the vault that it should hold."""
        self.location = store.location
        self.refusal: RefusedError | None = None
        self._store = store
        self._vault_id = vault_id
        self._inside: Future[Store] = Future()
        self._waits = False

    def enter(self) -> Store:
        """Look at the location's format; gives what it is used by from here on. Done once.

        One without a format, or with a damaged one, is good: the founding has the true one.

        Raises:
            StoreError: it holds another vault or a newer format, or it does not answer; and so will
                fail whatever is asked of it.
        """
        try:
            inside = self._look()
        except BaseException as error:
            self._inside.set_exception(error)
            raise
        self._inside.set_result(inside)
        if isinstance(inside, Closed):
            raise inside.error
        return inside

    @property
    def silent(self) -> bool:
        """Whether it has not answered so far."""
        if not self._inside.done():
            return True
        inside = self._inside.result()
        return isinstance(inside, Closed) and isinstance(inside.error, TransientError)

    @property
    def is_late(self) -> bool:
        """Whether it fails for no more than that it has not answered yet."""
        return not self._waits and not self._inside.done()

    def waiting(self) -> Entrance:
        """Give the same location for who has time: nothing fails because there is no answer yet."""
        twin = copy.copy(self)
        twin._waits = True  # noqa: SLF001  its own class
        return twin

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        """Create an object; see `Store.put`."""
        self._used().put(name, data, sha256=sha256)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object; see `Store.get`."""
        return self._used().get(name, offset=offset, length=length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List objects; see `Store.list`."""
        return self._used().list(prefix)

    def _used(self) -> Store:
        if not self._waits and not self._inside.done():
            raise TransientError("it did not answer in time", location=self.location)
        return self._inside.result()

    def _look(self) -> Store:
        try:
            found = check_format(self._store.get(FORMAT))
        except TransientError as error:
            return Closed(self.location, error)
        except (StoreError, VaultDamageError):
            return self._store
        except RefusedError as error:
            return self._refuse(f"{self.location}: {error}")
        if found == self._vault_id:
            return self._store
        return self._refuse(
            f"{self.location} holds vault {found.hex()} here, not {self._vault_id.hex()}: "
            "wrong kit, or wrong prefix"
        )

    def _refuse(self, why: str) -> Store:
        self.refusal = RefusedError(why)
        return Closed(self.location, UnsupportedError(why, location=self.location))


def waiting(store: Store) -> Store:
    """Give a store for who has time to wait for its first answer."""
    return store.waiting() if isinstance(store, Entrance) else store


@dataclass(frozen=True, slots=True)
class Closed:
    """A location that fails with this, whatever it is asked."""

    location: str
    error: StoreError

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> NoReturn:  # noqa: ARG002  all fail alike
        """Fail."""
        self._fail()

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> NoReturn:  # noqa: ARG002  likewise
        """Fail."""
        self._fail()

    def list(self, prefix: str) -> NoReturn:  # noqa: ARG002  likewise
        """Fail."""
        self._fail()

    def _fail(self) -> NoReturn:
        raise self.error
