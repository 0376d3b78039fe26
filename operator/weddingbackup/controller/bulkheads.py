"""Blocking work in threads, kept apart: what hangs at one location never delays another.

A storage SDK can sit on a dead connection for minutes, and a thread cannot be stopped. So each
compartment has at most one thread, which callers take in turn: once it is past its deadline, further
calls fail at once until it ends.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_THREADS = 256
"""More than locations times purposes; threads are made only when they are needed."""


class HungError(Exception):
    """The work did not end in time; its thread is given up until it does."""


class Bulkheads:
    """Runs functions in threads, one at a time in each compartment."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="bulkhead")
        self._busy: dict[str, Future[Any]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(
        self, compartment: str, function: Callable[[], _Result], *, seconds: float
    ) -> _Result:
        """The function's result, waited for up to `seconds` once it is its turn within as many.

        Raises:
            HungError: it took longer, or the one before it still does, or it never had its turn.
        """
        turn = self._turns.setdefault(compartment, asyncio.Lock())
        try:
            async with asyncio.timeout(seconds):
                await turn.acquire()
        except TimeoutError:
            raise HungError(f"no turn within {seconds:g} seconds") from None
        try:
            return await self._run(compartment, function, seconds)
        finally:
            turn.release()

    async def _run(
        self, compartment: str, function: Callable[[], _Result], seconds: float
    ) -> _Result:
        earlier = self._busy.get(compartment)
        if earlier is not None and not earlier.done():
            raise HungError("an earlier request still hangs")
        future = self._executor.submit(function)
        self._busy[compartment] = future
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            if future.done():  # it was the function's own
                raise
            raise HungError(f"no answer within {seconds:g} seconds") from None

    def close(self) -> None:
        """Start nothing more; what hangs ends with the process."""
        self._executor.shutdown(wait=False, cancel_futures=True)
