"""Threads that restore one file together agree on its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryTarget, World, rng
from weddingbackup.stores.errors import DeniedError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.errors import RestoreIncompleteError
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore

if TYPE_CHECKING:
    from collections.abc import Callable

    from weddingbackup.vault.entries import Entry, FileWriter


class _Target(MemoryTarget):
    """Counts how often a file is begun; the first to give it up waits for the other thread."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.aborting = threading.Event()
        self.go_on = threading.Event()
        self.look: Callable[[], None] = lambda: None

    def file(self, path: bytes, entry: Entry) -> FileWriter:  # type: ignore[override]
        self.begun += 1
        return _Writer(super().file(path, entry), self)

    def hold(self) -> None:
        if not self.aborting.is_set():
            self.aborting.set()
            self.look()
            assert self.go_on.wait(60)


class _Writer:
    def __init__(self, writer: FileWriter, target: _Target) -> None:
        self._target = target
        self.write = writer.write
        self.commit = writer.commit
        self._abort = writer.abort

    def abort(self) -> None:
        self._target.hold()
        self._abort()


def test_a_damaged_file_is_not_begun_anew_by_another_thread() -> None:
    world = World.of("a", "b")
    world.limits = Limits(pack_bytes=5 << 20, streams=2, grace_seconds=30.0)
    world.backup(MemorySource({b"film": rng(4)(40 << 20)}))
    largest = sorted(world.stores[0].objects.items(), key=lambda item: -len(item[1]))
    packs = [name for name, data in largest if name.startswith("packs/") and len(data) > 200_000]
    assert len(packs) > 6
    target = _Target()
    asked: list[str] = []
    after: set[str] = set()
    lock = threading.Lock()

    def lose_the_third(operation: str, name: str) -> None:
        """By the third pack the file is begun; two more have gone by when a third is asked for."""
        if operation != "get" or name not in packs:
            return
        with lock:
            if name not in asked:
                asked.append(name)
            third = len(asked) > 2 and name == asked[2]
            if target.aborting.is_set() and not third:
                after.add(name)
        look()
        if third:
            raise DeniedError("no", location="a", name=name)

    def look() -> None:
        """Two more, or all that there are: on a busy machine the other thread may be far ahead."""
        with lock:
            if len(after) > 2 or len(asked) == len(packs):
                target.go_on.set()

    target.look = look
    for store in world.stores:
        store.fault = lose_the_third
    vault = world.vault()
    with pytest.raises(RestoreIncompleteError):
        restore(vault, points(vault.stores)[0], "photos", target, progress=Progress(), streams=2)
    assert target.begun == 1
    assert not target.unfinished
