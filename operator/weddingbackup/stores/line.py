"""A line of a limited rate, shared by all that one process sends to, or reads from, a location.

It is a token bucket with a queue: whoever has bytes books the next free time on the line, and waits
for it. So streams share it in slices, in the order in which they come, and an hour in which nothing
moved does not let the next pack through at full speed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CREDIT_SECONDS = 0.25
"""So much of the time before counts as unused. Sleeps end late, and would else slow the line down."""
_SLICES_PER_SECOND = 8
_SMALLEST, _LARGEST = 16 << 10, 1 << 20


class Line:
    """At most `rate` bytes a second, over any time but for a quarter of a second and one slice more.

    Safe to use from threads.
    """

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self.slice = min(max(rate // _SLICES_PER_SECOND, _SMALLEST), _LARGEST)
        self._clock = clock
        self._sleep = sleep
        self._free = clock()
        self._lock = threading.Lock()

    def take(self, size: int) -> float:
        """Wait until the line has room for so many bytes, a slice at most; gives seconds waited."""
        with self._lock:
            now = self._clock()
            begin = max(self._free, now - _CREDIT_SECONDS)
            self._free = begin + size / self.rate
        wait = max(begin - now, 0.0)
        if wait:
            self._sleep(wait)
        return wait
