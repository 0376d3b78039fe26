"""Which location is asked for a range, and when another one is asked, too. Pure: the time is handed in.

A lane is a location as a restore has come to know it. Ranges wait in one queue and belong to no lane
before they are asked for, so a slow lane holds nothing that another could take, save what it is
sending. That is *late* when it takes longer than 95 of 100 requests took, measured against what was
expected of them; then another lane is asked for the same (a hedge), as long as what may come twice
stays under `SHARE` of all. Where that is used up, a range is taken from a lane only when it is
beyond doubt that the lane stands still.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SHARE = 0.05
"""What may come twice, of all that came."""
FREE = 4 * 1024 * 1024
"""What may come twice at the beginning, of little: else its first bytes could wait for one lane."""
FIRST_SECONDS = 3.0
"""How long a request may take where no lane has been measured."""
LEAST_SECONDS = 0.25
"""Nothing is late before."""
STILL_SECONDS = 2.0
STILL_FACTOR = 4
"""A lane stands still that takes so many seconds, and so many times what makes a request late."""
SILENT_SECONDS = 15.0
"""Who did not answer is asked after all others for so long."""

_TELLING = 64 * 1024  # fewer bytes say more of the way than of the speed
_LEAST_FACTOR, _MOST_FACTOR = 1.5, 6.0
_MEMORY = 0.7  # how much of what was measured stays when a new measure comes in
_LEAST_TRUST = 0.02
_REMEMBERED = 64
_AGAIN_SECONDS = 0.25
_FIRST_GUESS = 50e6  # bytes a second, where nothing was measured
_ENOUGH = 20  # measures, to say what is usual


class Asked(NamedTuple):
    """One request under way: to which lane, for how many bytes, and since and until when in time."""

    lane: int
    size: int
    begun: float
    expected: float
    late_at: float


class Step(Enum):
    """What to do about a request that did not answer yet."""

    WAIT = auto()
    HEDGE = auto()
    MOVE = auto()


@dataclass(slots=True)
class Lane:
    """One location.

    Attributes:
        holder: it should have all that is asked.
        trust: how much of what it sends is good, the newest counting most; 0 to 1.
        outstanding: bytes asked and not here.
        late: requests of it that are late.
        silent_until: it did not answer; others are asked first until then.
        bad: objects of which it has a bad range.
    """

    holder: bool = True
    archived: bool = False
    trust: float = 1.0
    outstanding: int = 0
    late: int = 0
    silent_until: float = -math.inf
    bad: set[str] = field(default_factory=set)
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _bytes: float = 0.0
    _seconds: float = 0.0
    _requests: int = 0
    _since: float = 0.0

    @property
    def speed(self) -> float | None:
        """Bytes a second while at least one request was under way; None: not measured."""
        return self._bytes / self._seconds if self._seconds else None

    def begin(self, size: int, now: float) -> None:
        """Count a request."""
        self._tick(now)
        self.outstanding += size
        self._requests += 1

    def end(self, asked: Asked, now: float) -> None:
        """Count its end, good or not."""
        self._tick(now)
        self.outstanding -= asked.size
        self._requests -= 1

    def measure(self, size: int, seconds: float) -> None:
        """Count what came, in so many seconds from its own request on."""
        if not self._seconds:
            if size >= _TELLING:
                self._bytes, self._seconds = size, seconds
            return
        keep = _MEMORY if size >= _TELLING else 1
        self._bytes = keep * (self._bytes + size)
        self._seconds = keep * self._seconds

    def _tick(self, now: float) -> None:
        if self._requests and self._seconds:
            self._seconds += now - self._since
        self._since = now


@dataclass(slots=True)
class Fleet:
    """All lanes of a restore. Used under one lock.

    Attributes:
        delivered: bytes that came.
        extra: bytes of requests that were doubled, at most: those that came twice, or may.
        lost: requests under way that nobody waits for.
    """

    lanes: Sequence[Lane]
    delivered: int = 0
    extra: int = 0
    lost: int = 0
    _latest: tuple[float, int] = (-math.inf, -1)
    _ratios: deque[float] = field(default_factory=lambda: deque(maxlen=4 * _REMEMBERED))

    def choose(self, name: str, size: int, asked: Collection[int], now: float) -> int | None:
        """Say who is asked next for a part of an object; None: all were.

        Who answers in time comes first, then who has good bytes at hand, then who should have them,
        and of these who is done soonest.
        """
        left = [number for number in range(len(self.lanes)) if number not in asked]
        return min(left, key=lambda number: self._rank(number, name, size, now), default=None)

    def choose_second(self, name: str, size: int, asked: Collection[int], now: float) -> int | None:
        """Say who is asked beside somebody else: only who will probably help."""
        found = self.choose(name, size, asked, now)
        if found is None:
            return None
        lane = self.lanes[found]
        late = lane.late or now < lane.silent_until
        return None if late or lane.archived or name in lane.bad or not lane.holder else found

    def begin(self, number: int, size: int, now: float) -> Asked:
        """Note that a lane was asked."""
        lane = self.lanes[number]
        known = lane.speed or _median(x.speed for x in self.lanes)
        expected = self._seconds(lane, size)
        patience = (
            FIRST_SECONDS if known is None else max(LEAST_SECONDS, expected * self._factor(lane))
        )
        lane.begin(size, now)
        return Asked(number, size, now, expected, now + patience)

    def arrived(self, asked: Asked, now: float) -> None:
        """Note that a lane sent what it was asked for."""
        lane = self.lanes[asked.lane]
        measured = lane.speed is not None
        lane.end(asked, now)
        lane.silent_until = -math.inf
        self.delivered += asked.size
        self._latest = (now, asked.lane)
        seconds = max(now - asked.begun, 1e-6)
        if measured and asked.size >= _TELLING:
            ratio = seconds / max(asked.expected, 1e-6)
            lane.ratios.append(ratio)
            self._ratios.append(ratio)
        lane.measure(asked.size, seconds)

    def failed(self, asked: Asked, now: float, *, silent: bool) -> None:
        """Note that a lane sent nothing; `silent`: it may again later."""
        lane = self.lanes[asked.lane]
        lane.end(asked, now)
        if silent:
            lane.silent_until = now + SILENT_SECONDS

    def judged(self, number: int, *, good: bool) -> None:
        """Note whether what a lane sent was good."""
        lane = self.lanes[number]
        lane.trust = max(_LEAST_TRUST, _MEMORY * lane.trust + (1 - _MEMORY) * good)

    def step(self, newest: Asked, now: float) -> tuple[Step, float]:
        """Decide about the newest request for a range; gives seconds to wait where that is it."""
        if now < newest.late_at:
            return Step.WAIT, newest.late_at - now
        if self.extra + newest.size <= max(FREE, SHARE * self.delivered):
            return Step.HEDGE, 0.0
        patience = STILL_FACTOR * (newest.late_at - newest.begun)
        still_at = newest.begun + max(STILL_SECONDS, patience)
        moment, other = self._latest
        if now >= still_at and moment > newest.begun and other != newest.lane:
            return Step.MOVE, 0.0
        return Step.WAIT, max(still_at - now, _AGAIN_SECONDS)

    def _rank(
        self, number: int, name: str, size: int, now: float
    ) -> tuple[bool, bool, bool, bool, float, int]:
        lane = self.lanes[number]
        late = lane.late > 0 or now < lane.silent_until
        seconds = self._seconds(lane, size) / lane.trust
        return late, name in lane.bad, lane.archived, not lane.holder, seconds, number

    def _seconds(self, lane: Lane, size: int) -> float:
        """What a request should take: all that is under way there goes first."""
        speed = lane.speed or _median(x.speed for x in self.lanes) or _FIRST_GUESS
        return (lane.outstanding + size) / speed

    def _factor(self, lane: Lane) -> float:
        usual = max(_percentile(lane.ratios), _percentile(self._ratios))
        return min(max(usual, _LEAST_FACTOR), _MOST_FACTOR)


def _median(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _percentile(values: Sequence[float]) -> float:
    """Give the 95th percentile; nothing for too few to tell."""
    if len(values) < _ENOUGH:
        return 0.0
    return sorted(values)[len(values) * 95 // 100]
