"""Who waits to be recognised is counted, too: no flood of strangers takes the broker's room."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from fastapi import FastAPI

from tests.servers.broker import Jobs
from weddingbackup.broker import app as broker
from weddingbackup.broker.app import create_app
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.broker import RefusalCode


class Slow(Jobs):
    """An authority that thinks until it is told to answer: that it knows nobody."""

    def __init__(self) -> None:
        super().__init__({})
        self.answer = asyncio.Event()

    async def scope(self, token: str) -> Scope:
        await self.answer.wait()
        raise RefusedError(RefusalCode.UNKNOWN_WORKER, f"who is {token}?")


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def served(slow: Slow) -> AsyncIterator[FastAPI]:
    keeping = Keeping(slow.credentials)
    yield create_app(slow, keeping, slow, slow, slow)
    keeping.close()


async def ask(app: FastAPI, peer: str, path: str = "/v1/open") -> int:
    """The status that somebody at this address is answered with."""
    statuses: list[int] = []

    async def receive() -> Mapping[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(int(str(message["status"])))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", b"Bearer bogus")],
        "client": (peer, 4711),
        "server": ("broker", 8443),
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    [status] = statuses
    return status


async def crowd(app: FastAPI, *peers: str) -> list[asyncio.Task[int]]:
    """So many who wait for the authority."""
    tasks = [asyncio.create_task(ask(app, peer)) for peer in peers]
    done, _ = await asyncio.wait(tasks, timeout=0.1)
    assert not done
    return tasks


async def test_strangers_of_one_address_leave_room_for_others(slow: Slow, served: FastAPI) -> None:
    waiting = await crowd(served, *["10.0.0.1"] * broker._AT_ONCE)
    assert await asyncio.wait_for(ask(served, "10.0.0.1"), 10) == 429
    waiting += await crowd(served, "10.0.0.2")
    slow.answer.set()
    assert await asyncio.gather(*waiting) == [401] * (broker._AT_ONCE + 1)
    assert await ask(served, "10.0.0.1") == 401  # its places are free again


async def test_all_strangers_together_are_so_many(
    slow: Slow, served: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_AT_ONCE_OVERALL", 3)
    waiting = await crowd(served, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert await asyncio.wait_for(ask(served, "10.0.0.4"), 10) == 503
    slow.answer.set()
    await asyncio.gather(*waiting)
    assert await ask(served, "10.0.0.4") == 401
