"""Asks several locations at once, so that the slowest sets the time, and not the sum of all."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from weddingbackup.stores.errors import StoreError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weddingbackup.stores.api import Store

S = TypeVar("S", bound="Store")
T = TypeVar("T")


class Patience(NamedTuple):
    """How long to wait for who does not answer: a location that stands still must hold up nobody.

    Attributes:
        enough: so many good answers are worth going on with; None: a majority.
        seconds: what the others have left then, or twice as long as those took, if that is more.
        sooner: another patience beside it, and whichever ends first counts: for who waits shorter
            once more have answered.
    """

    enough: int | None = None
    seconds: float = 15.0
    sooner: Patience | None = None

    def among(self, count: int) -> list[tuple[int, float]]:
        """Give all (enough, seconds) for so many locations."""
        enough = count // 2 + 1 if self.enough is None else self.enough
        return [(enough, self.seconds), *(self.sooner.among(count) if self.sooner else [])]


MAJORITY = Patience()
URGENT = Patience(1, 5.0, Patience(None, 2.0))
"""To bring back a point whose name is known. Whatever is read verifies, so one location is enough;
of the others, more are faster."""


def choosing(count: int) -> Patience:
    """To choose the newest point among so many locations.

    What W of N committed is seen where N - W + 1 answer, and W is 2 at least: who hears all but one
    has seen every committed point. With fewer answers it may be at one of the late, which have
    their time as ever.
    """
    return Patience(sooner=Patience(max(1, count - 1), 2.0))


def ask_all(
    stores: Sequence[S], ask: Callable[[S], T], patience: Patience = MAJORITY
) -> list[T | StoreError]:
    """Ask each store in a thread of its own; gives answers, or the errors, in their order.

    Who is not waited for is still asked: what `ask` does then is on its own.
    """
    answers: dict[int, T | StoreError] = {}
    crashes: list[BaseException] = []
    change = threading.Condition()

    def answer(number: int, store: S) -> None:
        try:
            found: T | StoreError = ask(store)
        except StoreError as error:
            found = error
        except BaseException as error:  # noqa: BLE001  raised again below
            with change:
                crashes.append(error)
                change.notify_all()
            return
        with change:
            answers[number] = found
            change.notify_all()

    for number, store in enumerate(stores):
        # Daemons: a location that never answers must not keep the process alive.
        threading.Thread(
            target=answer, args=(number, store), name=f"ask-{store.location}", daemon=True
        ).start()
    with change:

        def complete() -> bool:
            return bool(crashes) or len(answers) == len(stores)

        def good() -> int:
            return sum(not isinstance(found, StoreError) for found in answers.values())

        _wait(change, complete, good, patience.among(len(stores)))
        if crashes:
            raise crashes[0]
        return [
            answers.get(number, TransientError("it did not answer in time", location=s.location))
            for number, s in enumerate(stores)
        ]


def _wait(
    change: threading.Condition,
    complete: Callable[[], bool],
    good: Callable[[], int],
    steps: Sequence[tuple[int, float]],
) -> None:
    """Wait until all is complete, or the first time has run out that good answers have set."""
    begun = time.monotonic()
    end = math.inf
    reached: set[tuple[int, float]] = set()
    while not complete():
        now = time.monotonic()
        for step in steps:
            enough, seconds = step
            if good() >= enough and step not in reached:
                reached.add(step)
                end = min(end, now + max(seconds, 2 * (now - begun)))
        if end <= now:
            return
        change.wait(None if end == math.inf else end - now)
