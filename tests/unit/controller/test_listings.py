"""However long listings take and however often they are asked for, what was stored comes to be known."""

import asyncio
from collections.abc import Mapping

import pytest

from weddingbackup.controller.listings import (
    SLOTS,
    Ask,
    Found,
    Listings,
    UnfinishedError,
    Version,
)


class Place:
    """A location whose listings end when a test says so."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[asyncio.Future[int | None]] = asyncio.Queue()

    async def __call__(self, slot: int) -> int | None:
        assert 0 <= slot < SLOTS
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.begun.put_nowait(future)
        return await future

    async def end(self, told: int | Exception | None) -> None:
        future = await asyncio.wait_for(self.begun.get(), 30)
        if isinstance(told, Exception):
            future.set_exception(told)
        else:
            future.set_result(told)
        for _ in range(9):  # for whoever waits for it to see it
            await asyncio.sleep(0)


async def glance(
    listings: Listings, asks: Mapping[str, Ask], *began: str, vault: str = "v", whose: str = "o"
) -> Found:
    """A look without any patience."""
    version = Version("state", frozenset(began))
    found = await listings.look(vault, whose, asks, version, patience=0)
    await asyncio.sleep(0)
    return found


async def test_a_look_waits_for_what_ends_in_time() -> None:
    async def five(_: int) -> int:
        return 5

    async def nothing(_: int) -> None:
        return None

    version = Version("state", frozenset({"job"}))
    found = await Listings().look("v", "o", {"a": five, "b": nothing}, version, patience=30)
    assert found == Found({"a": 5}, frozenset({"b"}), frozenset(), frozenset({"job"}))


async def test_who_asks_often_is_told_at_last() -> None:
    """A backup between any two looks, and each listing takes longer than from one to the next."""
    listings, slow = Listings(), Place()
    began = ["job-0"]
    first = await glance(listings, {"a": slow}, *began)
    assert first.unfinished == {"a"}
    assert not first.covered
    known = 0
    for number in range(1, 6):
        began.append(f"job-{number}")
        assert not (await glance(listings, {"a": slow}, *began)).covered
        await slow.end(number)
        found = await glance(listings, {"a": slow}, *began)
        known = found.heard["a"]
        assert found.covered  # those that had ended when that listing began
        began = [uid for uid in began if uid not in found.covered]
    assert known == 5
    assert began == ["job-5"]
    await slow.end(6)
    found = await glance(listings, {"a": slow}, *began)
    assert found == Found({"a": 6}, frozenset(), frozenset(), frozenset({"job-5"}))


async def test_nothing_is_covered_before_all_that_answer_have_told() -> None:
    listings, a, b, c = Listings(), Place(), Place(), Place()
    asks = {"a": a, "b": b, "c": c}
    await glance(listings, asks, "job")
    await a.end(1)
    await c.end(None)
    found = await glance(listings, asks, "job")
    assert found == Found({"a": 1}, frozenset({"c"}), frozenset({"b"}), frozenset())
    assert a.begun.empty()  # it is not listed anew meanwhile
    await b.end(2)
    found = await glance(listings, asks, "job")
    assert found == Found({"a": 1, "b": 2}, frozenset({"c"}), frozenset(), frozenset({"job"}))


async def test_the_next_look_lists_anew() -> None:
    listings, place = Listings(), Place()
    for told in (1, 2):
        await glance(listings, {"a": place}, "job")
        await place.end(told)
        assert (await glance(listings, {"a": place}, "job")).heard == {"a": told}


async def test_two_that_look_at_once_are_told_the_same() -> None:
    listings, place = Listings(), Place()
    looks = [
        asyncio.create_task(listings.look("v", "o", {"a": place}, Version("s"), patience=30))
        for _ in range(2)
    ]
    await place.end(7)
    one, other = await asyncio.gather(*looks)
    assert one == other
    assert one.heard == {"a": 7}


async def test_one_that_is_given_up_is_begun_anew_and_covers_nothing() -> None:
    listings, place = Listings(), Place()
    await glance(listings, {"a": place}, "job")
    await place.end(UnfinishedError())
    found = await glance(listings, {"a": place}, "job")
    assert found.unfinished == {"a"}
    assert not found.covered
    await place.end(3)
    assert (await glance(listings, {"a": place}, "job")).covered == {"job"}


async def test_organisations_take_turns_at_a_location() -> None:
    listings, greedy, honest = Listings(), Place(), Place()
    for number in range(3 * SLOTS):
        await glance(listings, {"a": greedy}, vault=f"greedy-{number}", whose="greedy")
    await glance(listings, {"a": honest}, vault="honest", whose="honest")
    await honest.end(1)
    assert greedy.begun.qsize() == 1
    assert (await glance(listings, {"a": honest}, vault="honest", whose="honest")).heard == {"a": 1}


async def test_few_are_listed_at_one_location_at_once() -> None:
    listings, place, elsewhere = Listings(), Place(), Place()
    for number in range(2 * SLOTS):
        asks = {"a": place, "b": elsewhere} if number == 2 * SLOTS - 1 else {"a": place}
        await glance(listings, asks, vault=f"v{number}", whose=f"o{number}")
    for _ in range(9):
        await asyncio.sleep(0)
    assert place.begun.qsize() == SLOTS
    assert elsewhere.begun.qsize() == 1
    await place.end(1)
    assert place.begun.qsize() == SLOTS


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (Version("x", frozenset("ab")), Version("x", frozenset("a")), True),
        (Version("x", frozenset("a")), Version("x", frozenset("ab")), False),
        (Version("x"), Version("y"), False),
    ],
)
def test_what_covers_what(one: Version, other: Version, *, covers: bool) -> None:
    assert one.covers(other) is covers
