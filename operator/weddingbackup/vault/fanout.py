"""Sends each sealed object to all locations at once, encoded once, held in memory once.

Each location has a queue and a few threads of its own. What everybody has is forgotten. When the
memory for packs is full and a quorum has all that was sealed, the locations that hold it up are
dropped from this job (Lagging: they are caught up later by copying), so a slow or stalled location
never delays the quorum. With less than a quorum the writer waits for it; and where locations fail, those
that were dropped are taken in again, and what they missed is copied to them before the commit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weddingbackup.resources.words import LocationPhase
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.errors import QuorumError, VaultError
from weddingbackup.vault.objects import put_object
from weddingbackup.vault.results import LocationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.limits import Limits
    from weddingbackup.vault.progress import Progress


@dataclass(eq=False, slots=True)
class _Item:
    """One object on its way.

    Attributes:
        barrier: not before all that was queued earlier has arrived.
        allow: asked by each location, the last thing before it gets the object; raises if it may not.
    """

    name: str
    data: bytes | memoryview
    sha256: bytes
    barrier: bool
    buffer: bytearray | None
    allow: Callable[[Store], None] | None
    waiting: set[Lane] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class Lane:
    """One location in one job.

    Attributes:
        complete: it holds, as far as known when the job starts, all that older points left.
        confirmed: names of objects that it took.
        promised: those, and the names of objects on their way to it.
    """

    store: Store
    complete: bool = True
    result: LocationResult = field(init=False)
    queue: deque[_Item] = field(default_factory=deque)
    flying: int = 0
    confirmed: set[str] = field(default_factory=set)
    promised: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.result = LocationResult(self.store.location, LocationPhase.UPLOADING)

    @property
    def live(self) -> bool:
        """Whether it still takes part."""
        return self.result.phase is LocationPhase.UPLOADING

    @property
    def drained(self) -> bool:
        """Whether it has all that was queued."""
        return self.live and not self.queue and not self.flying


class Fanout:
    """The queues, the threads that empty them, and the memory that they share."""

    def __init__(
        self,
        stores: Sequence[Store],
        quorum: int,
        progress: Progress,
        *,
        failed: dict[str, str],
        incomplete: Collection[str],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start. `failed`: location -> why it takes no part; `incomplete`: see `Lane`."""
        self.quorum = quorum
        self.lanes = [Lane(s, s.location not in incomplete) for s in stores]
        self._limits = limits
        self._progress = progress
        self._clock = clock
        self._begun = clock()
        self._change = threading.Condition()
        self._pool: list[bytearray] = []
        self._taken = 0
        self._packs: deque[_Item] = deque()
        self._closing = False
        self._crash: BaseException | None = None
        for lane in self.lanes:
            if why := failed.get(lane.store.location):
                lane.result.phase, lane.result.message = LocationPhase.FAILED, why
                continue
            for number in range(limits.streams):
                threading.Thread(
                    target=self._work,
                    args=(lane,),
                    name=f"put-{lane.store.location}-{number}",
                    daemon=True,  # a location that never answers must not keep the process alive
                ).start()
        self.require_quorum()

    def live(self) -> list[Lane]:
        """Give the locations that still take part."""
        return [lane for lane in self.lanes if lane.live]

    def seconds(self) -> float:
        """Since it began, which is when the locations were listed."""
        return self._clock() - self._begun

    def require_quorum(self) -> None:
        """Make sure that enough locations take part: take slow ones in again, or give up.

        Raises:
            QuorumError: too few are left.
        """
        with self._change:
            for lane in self.lanes:
                if len(self.live()) < self.quorum and lane.result.phase is LocationPhase.LAGGING:
                    lane.result.phase, lane.result.message = LocationPhase.UPLOADING, None
                    lane.complete = False
        if len(self.live()) < self.quorum:
            lost = "; ".join(
                f"{lane.result.name}: {lane.result.message}" for lane in self.lanes if not lane.live
            )
            raise QuorumError(
                f"{len(self.live())} of {len(self.lanes)} locations are left, "
                f"the quorum is {self.quorum} ({lost})"
            )

    def reserve(self) -> bytearray:
        """Get the memory for one pack; waits for it.

        Raises:
            QuorumError: too few locations are left.
        """
        with self._change:
            while self._taken >= self._limits.packs:
                self._check()
                if not self._drop_laggards():
                    self._change.wait()
            self._check()
            self._taken += 1
            return self._pool.pop() if self._pool else bytearray(self._limits.pack_bytes)

    def send(
        self,
        name: str,
        data: bytes | memoryview,
        sha256: bytes,
        *,
        buffer: bytearray | None = None,
        barrier: bool = False,
        lanes: Sequence[Lane] | None = None,
        allow: Callable[[Store], None] | None = None,
    ) -> None:
        """Queue an object for all locations that take part, or for these; `buffer` is its memory.

        `barrier`, `allow`: see `_Item`.
        """
        with self._change:
            item = _Item(name, data, sha256, barrier, buffer, allow)
            for lane in self.live() if lanes is None else lanes:
                if lane.live:
                    item.waiting.add(lane)
                    lane.promised.add(name)
                    lane.queue.append(item)
            if buffer is not None:
                self._packs.append(item)
            self._release()
            self._change.notify_all()

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until `done`, which is asked whenever a location moves.

        Raises:
            QuorumError: too few locations are left.
        """
        with self._change:
            while not done():
                self._check()
                self._change.wait()

    def linger(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait until `done`, but no longer than this; locations may be lost meanwhile."""
        with self._change:
            self._change.wait_for(lambda: done() or self._crash is not None, seconds)

    def end(self, lane: Lane, phase: LocationPhase, why: str | None = None) -> None:
        """Note how a location ended, and send it nothing more."""
        with self._change:
            self._drop(lane, phase, why)

    def close(self) -> None:
        """Stop the threads; what is still queued is not sent."""
        with self._change:
            self._closing = True
            self._change.notify_all()

    def _check(self) -> None:
        if self._crash:
            raise self._crash
        if self._closing:
            raise RuntimeError("the backup was given up")
        self.require_quorum()

    def _drop_laggards(self) -> bool:
        """Drop who holds the memory up, if a quorum has everything that was sealed."""
        counted = [lane for lane in self.live() if lane.complete]
        if len(counted) < self.quorum:
            counted = self.live()
        if not self._packs or sum(lane.drained for lane in counted) < self.quorum:
            return False
        for lane in list(self._packs[0].waiting):
            self._drop(
                lane,
                LocationPhase.LAGGING,
                "too slow for this backup; the quorum did not wait, and it is caught up by copying",
            )
        return True

    def _drop(self, lane: Lane, phase: LocationPhase, why: str | None) -> None:
        if lane.result.phase in {LocationPhase.UPLOADING, LocationPhase.LAGGING}:
            lane.result.phase, lane.result.message = phase, why
            lane.result.seconds = self._clock() - self._begun
        lane.promised = set(lane.confirmed)
        for item in lane.queue:
            item.waiting.discard(lane)
        lane.queue.clear()
        for item in self._packs:
            if lane in item.waiting:
                # A thread may still be sending from this memory: it is not used again.
                item.waiting.discard(lane)
                item.buffer = None
        self._release()
        self._change.notify_all()

    def _release(self) -> None:
        kept: deque[_Item] = deque()
        for item in self._packs:
            if item.waiting:
                kept.append(item)
                continue
            self._taken -= 1
            if item.buffer is not None:
                self._pool.append(item.buffer)
        self._packs = kept

    def _work(self, lane: Lane) -> None:
        while (item := self._take(lane)) is not None:
            failure: str | None = None
            try:
                if item.allow is not None:
                    item.allow(lane.store)
                put_object(lane.store, item.name, item.data, item.sha256)
            except (StoreError, VaultError) as error:
                failure = str(error)
            except Exception as error:  # noqa: BLE001  one location's bug must not end the backup
                failure = f"unexpected: {error!r}"
            except BaseException as error:  # noqa: BLE001  handed on to who waits
                with self._change:
                    self._crash = error
                    self._change.notify_all()
                return
            self._landed(lane, item, failure)
            del item

    def _take(self, lane: Lane) -> _Item | None:
        with self._change:
            while True:
                if self._closing:
                    return None
                if lane.queue and not (lane.queue[0].barrier and lane.flying):
                    lane.flying += 1
                    return lane.queue.popleft()
                self._change.wait()

    def _landed(self, lane: Lane, item: _Item, failure: str | None) -> None:
        with self._change:
            lane.flying -= 1
            if failure is not None:
                self._drop(lane, LocationPhase.FAILED, failure)
            else:
                item.waiting.discard(lane)
                lane.confirmed.add(item.name)
                lane.promised.add(item.name)
                lane.result.bytes += len(item.data)
                self._progress.moved(lane.store.location, len(item.data))
                self._release()
            self._change.notify_all()
