"""What was found out a moment ago, and need not be asked again: for some seconds, and only so much of it."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST = 10_000


class Remembered(Generic[K, V]):
    """Answers by what they are about. Where there are too many, the oldest are forgotten."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answers: dict[K, tuple[V, float]] = {}

    def get(self, key: K) -> V | None:
        """The answer, if it is there and not too old."""
        found = self._answers.get(key)
        return found[0] if found is not None and self._clock() < found[1] else None

    def put(self, key: K, answer: V) -> None:
        """Remember an answer from now on."""
        self._answers.pop(key, None)  # so that the order is that of age
        self._answers[key] = (answer, self._clock() + self._seconds)
        while len(self._answers) > _MOST:
            del self._answers[next(iter(self._answers))]
