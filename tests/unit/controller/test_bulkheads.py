import asyncio
import threading

import pytest

from weddingbackup.controller.bulkheads import Bulkheads, HungError


async def test_what_hangs_in_one_compartment_delays_no_other() -> None:
    bulkheads, release = Bulkheads(), threading.Event()
    try:
        with pytest.raises(HungError, match="no answer"):
            await bulkheads.run("a", release.wait, seconds=0.01)
        with pytest.raises(HungError, match="still hangs"):
            await bulkheads.run("a", lambda: 1, seconds=5)
        assert await bulkheads.run("b", lambda: 2, seconds=5) == 2
        hung = bulkheads._busy["a"]
        release.set()
        hung.result(timeout=5)
        assert await bulkheads.run("a", lambda: 3, seconds=5) == 3
    finally:
        release.set()
        bulkheads.close()


async def test_those_who_ask_together_take_turns() -> None:
    bulkheads, begun, release = Bulkheads(), threading.Event(), threading.Event()

    def first() -> int:
        begun.set()
        release.wait(30)
        return 1

    try:
        asking = [asyncio.create_task(bulkheads.run("a", first, seconds=30))]
        await asyncio.to_thread(begun.wait, 30)
        asking += [
            asyncio.create_task(bulkheads.run("a", lambda: 2, seconds=30)),
            asyncio.create_task(bulkheads.run("a", lambda: 3, seconds=30)),
        ]
        with pytest.raises(HungError, match="no turn"):
            await bulkheads.run("a", lambda: 4, seconds=0.01)
        release.set()
        assert await asyncio.gather(*asking) == [1, 2, 3]
    finally:
        release.set()
        bulkheads.close()


async def test_the_functions_own_errors_come_through() -> None:
    bulkheads = Bulkheads()

    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await bulkheads.run("a", fail, seconds=5)
    bulkheads.close()
