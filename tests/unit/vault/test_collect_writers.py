"""Who stores manifests beside a collection: refused where they rely on what goes, and never for long."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.vault.collecting import GRACE, HOUR, Vault
from tests.unit.vault.fakes import MemorySource
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault import commit
from weddingbackup.vault.catalog import points
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import QuorumError
from weddingbackup.vault.marks import MarkedError

if TYPE_CHECKING:
    from collections.abc import Callable


def files(number: int) -> dict[bytes, bytes]:
    return {b"d/one": random.Random(number).randbytes(5000)}


class Pausing(MemorySource):
    """Something happens when all of it has been read, and nothing is committed yet."""

    def __init__(self, content: dict[bytes, bytes], then: Callable[[], object]) -> None:
        super().__init__(content)
        self._then = then

    def facts(self) -> dict[str, Any]:
        self._then()
        return super().facts()


def one_point() -> Vault:
    vault = Vault.at("a", "b", "c")
    vault.store(files(0))
    return vault


def test_a_writer_that_relied_on_what_is_marked_since_is_refused_and_its_next_try_is_not() -> None:
    vault = one_point()

    def meanwhile() -> None:
        vault.store(files(1))
        vault.pass_(GRACE + HOUR)
        assert vault.collect().marked

    with pytest.raises(QuorumError, match=r"marked to be removed.*Try again"):
        vault.store({}, "slow", Pausing(files(0), meanwhile))
    assert "slow" not in {point.plain.job_uid for point in points(vault.stores)}
    again = vault.store(files(0), "slow")
    assert again.sources[0].new_bytes > 0
    vault.pass_(GRACE)
    assert vault.collect().objects
    assert vault.back(points(vault.stores)[0]) == files(0)
    vault.sound()


@pytest.mark.parametrize("long", [True, False])
def test_a_writer_that_outlasts_mark_and_sweep_looks_at_what_is_left(
    long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mark tells of it any more: only a look at what is there does, and takes an hour to be due."""
    if long:
        monkeypatch.setattr(commit, "FRESH_SECONDS", -1.0)
    vault = one_point()

    def meanwhile() -> None:
        vault.store(files(1))
        vault.collect_twice()
        assert not vault.names("marks/")

    if long:
        with pytest.raises(QuorumError, match="were removed from"):
            vault.store({}, "slow", Pausing(files(0), meanwhile))
        vault.store(files(0), "slow")
    else:
        vault.store({}, "quick", Pausing(files(0), lambda: None))
    vault.sound()
    assert vault.back(points(vault.stores)[0]) == files(0)


def test_what_is_stored_before_the_mark_is_seen_by_the_sweep() -> None:
    """A writer commits what the mark names, after the mark's look and before anybody could see it."""
    vault = one_point()
    vault.store(files(1))
    vault.pass_(GRACE + HOUR)
    first = points(vault.stores)[1]
    late: list[str] = []

    def before_the_mark(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("marks/") and not late:
            late.append(name)
            for store in vault.dated:
                store.fault = None
            vault.store(files(0) | {b"new": b"new"}, "late")

    for store in vault.dated[:1]:
        store.fault = before_the_mark
    vault.collect()
    vault.pass_(GRACE)
    vault.collect()
    assert late
    assert first.manifest not in vault.names("snapshots/")
    newest = points(vault.stores)[0]
    assert newest.plain.job_uid == "late"
    assert vault.back(newest) == files(0) | {b"new": b"new"}
    vault.sound()


def test_nothing_marked_is_relied_on() -> None:
    vault = one_point()
    vault.store(files(1))
    vault.pass_(GRACE + HOUR)
    vault.collect()
    made = vault.store(files(0))
    assert made.sources[0].new_bytes > sum(map(len, files(0).values()))
    vault.pass_(GRACE)
    assert vault.collect().points == 1
    assert vault.back(points(vault.stores)[0]) == files(0)
    vault.sound()


def test_marked_packs_of_a_killed_writer_are_not_used() -> None:
    vault = one_point()

    def no_index(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("index/"):
            raise TransientError("no answer", location="all")

    for store in vault.dated:
        store.fault = no_index
    with pytest.raises(QuorumError):
        vault.store(files(1), "killed")
    vault.survive()
    vault.pass_(GRACE + HOUR)
    assert vault.collect().marked
    made = vault.store(files(1))
    assert made.sources[0].new_bytes > sum(map(len, files(1).values()))
    vault.pass_(GRACE)
    assert vault.collect().objects
    assert vault.back(points(vault.stores)[0]) == files(1)
    vault.sound()


def test_a_marked_point_is_nobodys_parent() -> None:
    vault = one_point()
    vault.store(files(1))
    newest = points(vault.stores)[0]
    for store in vault.dated:
        del store.objects[newest.manifest]
    vault.pass_(GRACE + HOUR)
    saved = {store.location: dict(store.objects) for store in vault.dated}
    vault.store(files(2))
    vault.pass_(GRACE + HOUR)
    vault.collect()
    marks = {
        s.location: {n: d for n, d in s.objects.items() if n[:6] == "marks/"} for s in vault.dated
    }
    for store in vault.dated:
        store.objects = saved[store.location] | marks[store.location]
    made = vault.store(files(0))
    assert made.sources[0].new_bytes > 0
    assert vault.back(points(vault.stores)[0]) == files(0)


def test_a_job_whose_half_stored_point_is_marked_makes_a_new_one() -> None:
    vault = one_point()

    taken = threading.Event()
    vault.dated[0].after_put = lambda _, name: taken.set() if "half" in name else None

    def no_manifests(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("snapshots/"):
            assert taken.wait(30)  # at the first location, before the others end the backup
            raise TransientError("no answer", location="b")

    for store in vault.dated[1:]:
        store.fault = no_manifests
    with pytest.raises(QuorumError):
        vault.store(files(1), "half")
    for store in vault.dated[1:]:
        store.fault = None
    [half] = [p.manifest for p in points(vault.stores) if p.plain.job_uid == "half"]
    vault.store(files(2))  # until a newer one is there, it may be what is left of a committed one
    vault.pass_(GRACE + HOUR)
    vault.collect()
    made = vault.store(files(1), "half")
    assert not made.adopted
    assert made.manifest != half
    vault.pass_(GRACE)
    vault.collect()
    assert half not in vault.names("snapshots/")
    assert vault.back(points(vault.stores)[0]) == files(1)


def test_a_marked_point_is_copied_nowhere() -> None:
    vault = one_point()
    vault.store(files(1))
    _, old = points(vault.stores)
    target = vault.dated[2]
    del target.objects[old.manifest]
    vault.pass_(GRACE + HOUR)
    vault.collect()
    with pytest.raises(MarkedError, match="marked to be removed"):
        copy_points(vault.stores, target, [old.manifest])
    assert old.manifest not in target.objects
