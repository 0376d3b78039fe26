"""Asks several locations at once, so that the slowest sets the time, and not the sum of all."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from weddingbackup.stores.errors import StoreError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weddingbackup.stores.api import Store

T = TypeVar("T")


class Patience(NamedTuple):
    """How long to wait for who does not answer: a location that stands still must hold up nobody.

    Attributes:
        enough: so many good answers are worth going on with; None: a majority.
        seconds: what the others have left then, or twice as long as those took, if that is more.
    """

    enough: int | None = None
    seconds: float = 15.0


MAJORITY = Patience()


def ask_all(
    stores: Sequence[Store], ask: Callable[[Store], T], patience: Patience = MAJORITY
) -> list[T | StoreError]:
    """Ask each store in a thread of its own; gives answers, or the errors, in their order."""
    answers: dict[int, T | StoreError] = {}
    crashes: list[BaseException] = []
    change = threading.Condition()
    needed = len(stores) // 2 + 1 if patience.enough is None else patience.enough
    begun = time.monotonic()

    def answer(number: int, store: Store) -> None:
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

        def quorate() -> bool:
            good = sum(not isinstance(found, StoreError) for found in answers.values())
            return complete() or good >= needed

        change.wait_for(quorate)
        change.wait_for(complete, max(patience.seconds, 2 * (time.monotonic() - begun)))
        if crashes:
            raise crashes[0]
        return [
            answers.get(number, TransientError("it did not answer in time", location=s.location))
            for number, s in enumerate(stores)
        ]
