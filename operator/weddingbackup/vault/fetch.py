"""Gets ranges of packs from whichever location is fastest, and from the next when bytes are bad.

`lanes` decides; here are the threads. A request runs in a thread of its own, so that who waits for
it can ask another location, too, and leave the one that is late behind: nobody waits for it again.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    MissingError,
    StoreError,
    TransientError,
)
from weddingbackup.vault.entrance import Entrance, waiting
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.lanes import Fleet, Lane, Step
from weddingbackup.vault.names import LAST_REPLACEMENT, replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.lanes import Asked
    from weddingbackup.vault.progress import Progress

T = TypeVar("T")

_FOUND = (VaultDamageError, CorruptError, ArchivedError)
"""Errors of who has the object, good or not."""

STREAMS = 10
"""Ranges that are waited for at once."""
_MOST_LOST = 10
"""Requests under way that nobody waits for. With so many, no more are doubled."""
_IDLE_SECONDS = 5.0
_LOOK_SECONDS = 1.0  # until it is looked again whether somebody else can help


class _Answer(NamedTuple):
    asked: Asked
    found: bytes | BaseException


@dataclass(slots=True)
class _Race:
    """One range that is wanted: who was asked for it, and what they say. Changed under the lock.

    Attributes:
        doubled: bytes of the requests beside the first, that did not fail.
    """

    name: str
    offset: int
    length: int
    answers: queue.SimpleQueue[_Answer] = field(default_factory=queue.SimpleQueue)
    asked: set[int] = field(default_factory=set)
    running: list[Asked] = field(default_factory=list)
    late: list[Asked] = field(default_factory=list)
    doubled: int = 0
    over: bool = False


class Fetcher:
    """Reads verified ranges over several locations; used by several threads."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        holders: Collection[str] | None = None,
        progress: Progress | None = None,
        streams: int = STREAMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take all locations; `holders` names those that should have all that will be asked."""
        self._lock = threading.Lock()
        self._stores = list(stores)
        self._fleet = Fleet([Lane(holders is None or s.location in holders) for s in stores])
        self._slots = threading.Semaphore(streams)
        self._runners = _Runners()
        self._progress = progress
        self._clock = clock
        self._damaged: dict[tuple[str, str], None] = {}

    @property
    def damaged(self) -> list[tuple[str, str]]:
        """(location, object) whose bytes did not verify, or were missing where they should be."""
        with self._lock:
            return list(self._damaged)

    @property
    def extra(self) -> int:
        """Bytes that came twice, at most: what was asked of a second location for good."""
        with self._lock:
            return self._fleet.extra

    def read(self, name: str, offset: int, length: int, check: Callable[[bytes], T]) -> T:
        """Get a range of an object, from the first location whose bytes `check` accepts.

        `check` gives the verified content, and raises VaultDamageError where it does not verify.

        Raises:
            VaultDamageError: copies answered, and none is good; or nobody has one.
            ArchivedError: one has it archived, and none has it good and at hand.
            StoreError: no location answers.
        """
        late = self._late()
        try:
            return self._read(name, offset, length, check)
        except (StoreError, VaultDamageError):
            # Who was not waited for may be who has it: nothing is lost before all have been heard.
            if not late:
                raise
            self._wait_for(late)
            return self._read(name, offset, length, check)

    def _late(self) -> list[int]:
        with self._lock:
            return [
                number
                for number, store in enumerate(self._stores)
                if isinstance(store, Entrance) and store.is_late
            ]

    def _wait_for(self, late: Sequence[int]) -> None:
        with self._lock:
            for number in late:
                self._stores[number] = waiting(self._stores[number])

    def _read(self, name: str, offset: int, length: int, check: Callable[[bytes], T]) -> T:
        failure: StoreError | VaultDamageError | None = None
        for number in range(LAST_REPLACEMENT + 1):
            found = False
            with closing(self._answers(replacement(name, number), offset, length)) as answers:
                for lane, answer in answers:
                    try:
                        content = check(_bytes(answer))
                    except (StoreError, VaultDamageError) as error:
                        found = found or isinstance(error, _FOUND)
                        failure = self._explain(lane, name, number, error, failure)
                    else:
                        self._judge(lane, good=True)
                        return content
            if number and not found:
                break
        if isinstance(failure, StoreError) and not isinstance(
            failure, (MissingError, CorruptError)
        ):
            raise failure
        raise VaultDamageError(name, f"no location has a good copy ({failure})") from failure

    def _answers(
        self, name: str, offset: int, length: int
    ) -> Generator[tuple[int, bytes | BaseException]]:
        """Ask one location after the other, and two at once where one is late; closed early, leave."""
        race = _Race(name, offset, length)
        try:
            while True:
                # Held while waiting, not while the answer is verified and written: else its lane
                # would stand idle that long.
                with self._slots:
                    if not self._under_way(race) and not self._ask(race):
                        return
                    answer = self._first(race)
                yield answer.asked.lane, answer.found
        finally:
            with self._lock:
                race.over = True
                self._fleet.lost += len(race.running)

    def _ask(self, race: _Race, *, second: bool = False) -> bool:
        """Ask the best location that was not asked; False: there is none."""
        with self._lock:
            now = self._clock()
            choose = self._fleet.choose_second if second else self._fleet.choose
            number = choose(race.name, race.length, race.asked, now)
            if number is None:
                return False
            asked = self._fleet.begin(number, race.length, now)
            race.asked.add(number)
            race.running.append(asked)
            if second:
                race.doubled += race.length
                self._fleet.extra += race.length
        work = partial(self._get, race, asked)
        if len(self._stores) == 1:
            work()  # there is nobody else to ask meanwhile
        else:
            self._runners.run(work)
        return True

    def _first(self, race: _Race) -> _Answer:
        """Wait for the next answer, and hurry when it is late."""
        patience = 0.0
        while True:
            try:
                return race.answers.get(timeout=patience)
            except queue.Empty:
                patience = self._hurry(race)

    def _under_way(self, race: _Race) -> bool:
        with self._lock:
            return bool(race.running) or not race.answers.empty()

    def _hurry(self, race: _Race) -> float:
        """Ask another location where that is due; gives how long to wait."""
        with self._lock:
            if not race.running:  # they answered just now
                return 0.0
            newest = race.running[-1]
            now = self._clock()
            step, seconds = self._fleet.step(newest, now)
            if now >= newest.late_at and newest not in race.late:
                race.late.append(newest)
                self._fleet.lanes[newest.lane].late += 1
            if step is Step.WAIT:
                return seconds
            if self._fleet.lost + len(race.running) > _MOST_LOST:
                return _LOOK_SECONDS
        return 0.0 if self._ask(race, second=True) else _LOOK_SECONDS

    def _get(self, race: _Race, asked: Asked) -> None:
        store = self._stores[asked.lane]
        found: bytes | BaseException
        try:
            found = store.get(race.name, offset=race.offset, length=race.length)
        except BaseException as error:  # noqa: BLE001  raised again by who waits
            found = error
        if self._progress and not isinstance(found, BaseException):
            self._progress.moved(store.location, race.length)
        with self._lock:
            now = self._clock()
            if isinstance(found, BaseException):
                self._fleet.failed(asked, now, silent=isinstance(found, TransientError))
                refund = min(race.doubled, asked.size)
                race.doubled -= refund
                self._fleet.extra -= refund
            else:
                self._fleet.arrived(asked, now)
            if asked in race.late:
                self._fleet.lanes[asked.lane].late -= 1
            race.running.remove(asked)
            if race.over:
                self._fleet.lost -= 1
            else:
                race.answers.put(_Answer(asked, found))

    def _explain(
        self,
        lane: int,
        name: str,
        number: int,
        error: StoreError | VaultDamageError,
        failure: StoreError | VaultDamageError | None,
    ) -> StoreError | VaultDamageError:
        """Note why there were no good bytes; give what says the most of all that went wrong so far."""
        if isinstance(error, MissingError):
            if not number:
                self._report(lane, name)
            return failure or error
        if isinstance(error, ArchivedError):
            # Who has archived one has archived others: who has them at hand is asked first.
            with self._lock:
                self._fleet.lanes[lane].archived = True
            return error
        if isinstance(error, (VaultDamageError, CorruptError)):
            self._judge(lane, good=False)
            self._report(lane, replacement(name, number))
            return failure if isinstance(failure, ArchivedError) else error
        # Who did not answer may have it: that says more than another's "missing".
        return error if failure is None or isinstance(failure, MissingError) else failure

    def _judge(self, lane: int, *, good: bool) -> None:
        with self._lock:
            self._fleet.judged(lane, good=good)

    def _report(self, lane: int, name: str) -> None:
        # Who has one bad range of an object is asked last for its others, which may be good.
        with self._lock:
            self._fleet.lanes[lane].bad.add(name)
            if self._fleet.lanes[lane].holder:
                self._damaged[self._stores[lane].location, name] = None


class _Runners:
    """Threads that run requests, as many as are under way; each leaves when it was idle for a while."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        """Run it at once, in a thread that keeps no process alive."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(work)
                return
        threading.Thread(target=self._serve, args=(work,), name="get", daemon=True).start()

    def _serve(self, work: Callable[[], None]) -> None:
        while True:
            work()
            del work  # it holds bytes
            with self._lock:
                self._idle += 1
            while True:
                try:
                    work = self._work.get(timeout=_IDLE_SECONDS)
                    break
                except queue.Empty:
                    with self._lock:
                        if self._work.empty():
                            self._idle -= 1
                            return


def _bytes(answer: bytes | BaseException) -> bytes:
    if isinstance(answer, BaseException):
        raise answer
    return answer
