"""A collection that is killed at any store operation, and one that another overtakes."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.collecting import GRACE, HOUR, Vault
from tests.unit.vault.test_crash import Killed, Killer
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.errors import QuorumError
from weddingbackup.vault.marks import FencedError

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = ("index/", "packs/", "snapshots/")


class Quiet(Vault):
    """Its fence is believed for as long as a run takes: fewer operations to be killed at."""

    def monotonic(self) -> float:
        return self.moved


def files(number: int) -> dict[bytes, bytes]:
    return {b"shared": b"same", b"own": random.Random(number).randbytes(3000)}


def three_points(kind: type[Vault] = Quiet) -> Vault:
    vault = kind.at("a", "b", "c")
    for number in range(3):
        vault.store(files(number))
    vault.pass_(GRACE + HOUR)
    return vault


def ready_to_sweep(kind: type[Vault] = Quiet) -> Vault:
    vault = three_points(kind)
    vault.collect()
    vault.pass_(GRACE + HOUR)
    return vault


def restores(vault: Vault) -> None:
    """Each point that is committed comes back; the newest is among them."""
    contents = {f"job-{number}": files(number) for number in range(3)}
    found = [point for point in points(vault.stores) if point.committed]
    assert found[0].plain.job_uid == "job-2"
    for point in found:
        assert vault.back(point) == contents[point.plain.job_uid]


@pytest.mark.parametrize("ready", [three_points, ready_to_sweep], ids=["mark", "sweep and mark"])
def test_killed_at_every_operation(ready: Callable[[], Vault]) -> None:
    vault = ready()
    begun, now, number = vault.dated, vault.now, 0
    while True:
        vault.now = now
        vault.use([store.copy() for store in begun])
        killer = Killer(number)
        for store in vault.dated:
            store.fault = killer
        with suppress(Killed):
            vault.collect()
        vault.survive()
        vault.sound()
        restores(vault)
        ended = killer.left >= 0
        vault.collect_twice()
        vault.collect_twice()
        restores(vault)
        assert vault.names(*DATA) == vault.needed()
        assert len(vault.seen()) == 1
        if ended:
            break
        number += 1
    assert number > 20


class Overtake(Killer):
    """At this operation of a sweep, a whole other collection runs; `ended` says when it has."""

    def __init__(self, vault: Vault, at: int) -> None:
        super().__init__(at)
        self._vault = vault
        self.ended = threading.Event()

    def __call__(self, operation: str, _name: str) -> None:
        if operation != "delete":
            return
        with self._lock:
            self.left -= 1
            mine = self.left == -1
        if mine:
            faults = [store.fault for store in self._vault.dated]
            for store in self._vault.dated:
                store.fault = None
            self._vault.collect()
            for store, fault in zip(self._vault.dated, faults, strict=True):
                store.fault = fault
            self.ended.set()


@pytest.mark.parametrize("at", [0, 3, 10])
def test_who_is_overtaken_removes_nothing_more(at: int) -> None:
    vault = ready_to_sweep(Vault)
    fault = Overtake(vault, at)
    deleted: list[tuple[str, str]] = []

    def note(operation: str, name: str) -> None:
        if operation == "delete" and fault.left < 0:
            deleted.append((operation, name))
        fault(operation, name)

    for store in vault.dated:
        store.fault = note
    with pytest.raises(FencedError, match="another collection"):
        vault.collect()
    # One location's thread gives up while the other collection is still at work in another's.
    assert fault.ended.wait(30)
    for store in vault.dated:
        store.fault = None
    # Those that had been let through before the other one began: at most one a thread.
    assert len(deleted) <= 3 * 8
    vault.sound()
    restores(vault)
    vault.collect_twice()
    assert vault.names(*DATA) == vault.needed()


def test_two_that_begin_at_once_get_different_fences() -> None:
    vault = ready_to_sweep()
    turn = threading.Lock()
    begun: list[str] = []

    def at_the_fence(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("fences/"):
            with turn:  # the other one has all locations first
                if not begun:
                    begun.append(name)
                    vault.collect()

    late = [store.shared() for store in vault.dated]
    for store in late:
        store.fault = at_the_fence
    vault.collect(stores=late)
    assert begun == ["fences/00000001"]
    assert vault.names("fences/") == {"fences/00000002"}
    restores(vault)


def test_without_a_majority_nothing_is_removed() -> None:
    """With a quorum of all, one location shows every point; but the fence needs two."""
    vault = Quiet.at("a", "b", "c", quorum=3)
    for number in range(3):
        vault.store(files(number))
    vault.pass_(GRACE + HOUR)
    vault.collect()
    vault.pass_(GRACE + HOUR)
    before = vault.names(*DATA)

    def no_fence(operation: str, name: str) -> None:
        if name.startswith("fences/"):
            raise TransientError(f"no {operation}", location="b")

    for store in vault.dated[1:]:
        store.fault = no_fence
    with pytest.raises(QuorumError, match="1 of 3 locations answer, 2 have to"):
        vault.collect()
    assert vault.names(*DATA) == before
