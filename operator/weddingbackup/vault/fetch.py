"""Gets ranges of packs from whichever location is fastest, and from the next when bytes are bad."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    MissingError,
    StoreError,
    TransientError,
)
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.names import LAST_REPLACEMENT, replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.progress import Progress

T = TypeVar("T")

_FIRST_GUESS = 50e6  # bytes a second of a location that has not been measured yet
_MEMORY = 0.7  # how much of the measured speed stays when a new one comes in


@dataclass(slots=True)
class _Lane:
    """One location as the fetcher has come to know it."""

    store: Store
    holder: bool
    speed: float = _FIRST_GUESS
    outstanding: int = 0
    silent: bool = False
    archived: bool = False
    bad: set[str] = field(default_factory=set)

    def rank(self, name: str, size: int) -> tuple[bool, bool, bool, bool, float]:
        """Who is asked first: who answers, has good bytes, at hand, should have them, is done soonest."""
        seconds = (self.outstanding + size) / self.speed
        return self.silent, name in self.bad, self.archived, not self.holder, seconds


class Fetcher:
    """Reads verified ranges over several locations; used by several threads."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        holders: Collection[str] | None = None,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take all locations; `holders` names those that should have all that will be asked."""
        self._lock = threading.Lock()
        self._lanes = [_Lane(s, holders is None or s.location in holders) for s in stores]
        self._progress = progress
        self._clock = clock
        self._damaged: dict[tuple[str, str], None] = {}

    @property
    def damaged(self) -> list[tuple[str, str]]:
        """(location, object) whose bytes did not verify, or were missing where they should be."""
        with self._lock:
            return list(self._damaged)

    def read(self, name: str, offset: int, length: int, check: Callable[[bytes], T]) -> T:
        """Get a range of an object, from the first location whose bytes `check` accepts.

        `check` gives the verified content, and raises VaultDamageError where it does not verify.

        Raises:
            VaultDamageError: copies answered, and none is good; or nobody has one.
            ArchivedError: one has it archived, and none has it good and at hand.
            StoreError: no location answers.
        """
        failure: StoreError | VaultDamageError | None = None
        for number in range(LAST_REPLACEMENT + 1):
            asked: set[int] = set()
            found = False
            while lane := self._next(asked, replacement(name, number), length):
                try:
                    data = self._get(lane, replacement(name, number), offset, length)
                    found = True
                    return check(data)
                except MissingError as error:
                    failure = failure or error
                    if not number:
                        self._report(lane, name)
                except (VaultDamageError, CorruptError, ArchivedError) as error:
                    found = True
                    failure = self._pass_over(lane, replacement(name, number), error, failure)
                except StoreError as error:
                    lane.silent = lane.silent or isinstance(error, TransientError)
                    # Who did not answer may have it: that says more than another's "missing".
                    if failure is None or isinstance(failure, MissingError):
                        failure = error
            if number and not found:
                break
        if isinstance(failure, StoreError) and not isinstance(
            failure, (MissingError, CorruptError)
        ):
            raise failure
        raise VaultDamageError(name, f"no location has a good copy ({failure})")

    def _next(self, asked: set[int], name: str, length: int) -> _Lane | None:
        with self._lock:
            left = [
                (lane.rank(name, length), number, lane)
                for number, lane in enumerate(self._lanes)
                if number not in asked
            ]
            if not left:
                return None
            _, number, lane = min(left, key=lambda entry: entry[:2])
            asked.add(number)
            lane.outstanding += length
            return lane

    def _get(self, lane: _Lane, name: str, offset: int, length: int) -> bytes:
        begun = self._clock()
        try:
            data = lane.store.get(name, offset=offset, length=length)
        finally:
            with self._lock:
                lane.outstanding -= length
        speed = length / max(self._clock() - begun, 1e-6)
        with self._lock:
            lane.silent = False
            lane.speed = _MEMORY * lane.speed + (1 - _MEMORY) * speed
        if self._progress:
            self._progress.moved(lane.store.location, length)
        return data

    def _pass_over(
        self,
        lane: _Lane,
        name: str,
        error: StoreError | VaultDamageError,
        failure: StoreError | VaultDamageError | None,
    ) -> StoreError | VaultDamageError:
        """Note why there were no good bytes; give what says the most of all that went wrong so far."""
        if isinstance(error, ArchivedError):
            # Who has archived one has archived others: who has them at hand is asked first.
            lane.archived = True
            return error
        self._report(lane, name)
        return failure if isinstance(failure, ArchivedError) else error

    def _report(self, lane: _Lane, name: str) -> None:
        # Who has one bad range of an object is asked last for its others, which may be good.
        with self._lock:
            lane.bad.add(name)
            if lane.holder:
                self._damaged[lane.store.location, name] = None
