"""Tries again what may pass: exponential backoff with full jitter, bounded by a deadline.

Full jitter (a random share of the backoff, not the backoff plus something) is what spreads many
clients best after an outage: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from weddingbackup.stores.errors import TransientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long; what a test replaces is a field.

    Attributes:
        deadline_seconds: after this, an operation that failed is not started again. It says nothing
            about the one that is under way: that is bounded by its own timeouts.
        first_seconds: the longest pause after the first failure; it doubles with each one.
        longest_seconds: the longest pause ever, unless the provider asks for more.
    """

    deadline_seconds: float = 60
    first_seconds: float = 0.2
    longest_seconds: float = 10
    sleep: Callable[[float], None] = time.sleep
    share: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def call(self, operation: Callable[[], T]) -> T:
        """Carry out an operation until it works, fails for good, or the deadline is near.

        Raises:
            TransientError: the last one, when there was no time left for another try.
        """
        end = self.clock() + self.deadline_seconds
        backoff = self.first_seconds
        while True:
            try:
                return operation()
            except TransientError as error:
                pause = max(self.share() * backoff, error.retry_after_seconds or 0)
                if self.clock() + pause >= end:
                    raise
            self.sleep(pause)
            backoff = min(backoff * 2, self.longest_seconds)
