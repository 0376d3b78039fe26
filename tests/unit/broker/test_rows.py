"""Who reads rows slowly, or has many jobs, keeps others from nothing."""

import asyncio
import threading
from dataclasses import replace
from typing import Self

import pytest

from tests.unit.broker.test_allow import BACKUP
from weddingbackup.broker import rows
from weddingbackup.broker.rows import _AT_ONCE_A_NAMESPACE, _Room
from weddingbackup.broker.scope import RefusedError


class Source:
    """A source whose pieces never end, and that counts who leaves it."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.left.set()

    def cancel(self) -> None:
        pass


async def test_rows_that_nobody_takes_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_STALL_SECONDS", 0.01)
    monkeypatch.setattr(rows, "pack", lambda _: iter(lambda: b"piece", b""))
    room, source, places = _Room(), Source(), []
    export = rows._Export(source, lambda: places.append("free"))  # type: ignore[arg-type]
    export.begin()
    parts = rows._stream(room, export)
    assert await anext(parts) == b"piece"
    assert await asyncio.to_thread(source.left.wait, 30)  # the worker takes no second one
    assert [part async for part in parts] == []
    room.threads.shutdown()
    assert places == ["free"]


def test_one_organisation_leaves_room_for_others() -> None:
    room = _Room()
    leaves = [
        room.enter(replace(BACKUP, pod_uid=f"pod-{number}"))
        for number in range(_AT_ONCE_A_NAMESPACE)
    ]
    with pytest.raises(RefusedError, match="other jobs here"):
        room.enter(replace(BACKUP, pod_uid="one-more"))
    room.enter(replace(BACKUP, pod_uid="neighbour", namespace="chateau"))()
    leaves[0]()
    room.enter(replace(BACKUP, pod_uid="one-more"))
