"""Tells the person at the terminal what happens, how long it took, and what came out of it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL_SECONDS = 0.5

T = TypeVar("T")


class DemoError(Exception):
    """The demo's promise was not kept; the message says which, and by what."""


class Narrator:
    """Prints steps with the seconds since the start; on a terminal, progress within a step on one line."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._live = sys.stdout.isatty()
        self._last = ""

    def say(self, text: str) -> None:
        """Print one line of the story."""
        self._end_live_line()
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)

    def show(self, text: str) -> None:
        """Print a block, such as a table, as it is."""
        self._end_live_line()
        print("\n".join(f"    {line}" for line in text.rstrip().splitlines()), flush=True)

    def progress(self, text: str) -> None:
        """Show how far a step has come; the same text twice is shown once."""
        if text == self._last:
            return
        self._last = text
        if self._live:
            print(f"\r\033[K             {text}", end="", flush=True)
        else:
            print(f"             {text}", flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Frame one step of the story, with the time that it took."""
        self.say(text)
        started = time.monotonic()
        yield
        self._end_live_line()
        print(f"             done in {time.monotonic() - started:.1f} s", flush=True)

    def until(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        """Wait until `condition` gives something; `DemoError` naming `what` after `seconds`."""
        deadline = time.monotonic() + seconds
        while (found := condition()) is None:
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:.0f} s for {what}, in vain")
            time.sleep(POLL_SECONDS)
        return found

    def _end_live_line(self) -> None:
        if self._live and self._last:
            print()
        self._last = ""
