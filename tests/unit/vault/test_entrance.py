"""A location that says nothing from the start: nobody waits for it, and it may come later."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryTarget, World, rng, some_files
from weddingbackup.stores.errors import StoreError, TransientError
from weddingbackup.vault import fetch
from weddingbackup.vault.catalog import catalog, find_point
from weddingbackup.vault.entrance import waiting
from weddingbackup.vault.errors import RefusedError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.names import FORMAT
from weddingbackup.vault.parallel import Patience, ask_all, choosing
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore
from weddingbackup.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weddingbackup.stores.api import Store

ALL_BUT_ONE = Patience(2, 0)
STEPS = ["format", "snapshots/", "marks/", "packs/"]
"""What a backup lists, one after the other."""


class Silent:
    """Whatever begins with an operation and a prefix waits until it is let go; notes what was asked."""

    def __init__(self, operation: str = "", prefix: str = "") -> None:
        self.go = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self._begins = (operation, prefix)

    def __call__(self, operation: str, name: str) -> None:
        self.asked.append((operation, name))
        if operation.startswith(self._begins[0]) and name.startswith(self._begins[1]):
            assert self.go.wait(60)


@pytest.fixture
def silent() -> Iterator[Silent]:
    found = Silent()
    yield found
    found.go.set()


@pytest.fixture
def world() -> World:
    world = World.of("a", "b", "c")
    world.backup(MemorySource(some_files()))
    return world


def opened(world: World) -> Vault:
    kit = world.kit
    return Vault.open(kit.keyring(), kit.objects, world.stores, random=rng(5), patience=ALL_BUT_ONE)


def test_a_vault_is_opened_without_it_and_it_fails_at_once_until_it_answers(
    world: World, silent: Silent
) -> None:
    world.stores[2].fault = silent
    vault = opened(world)
    late = vault.stores[2]
    assert vault.silent == ["c"]
    asks: list[Callable[[], object]] = [
        lambda: late.get(FORMAT),
        lambda: late.put(FORMAT, b"", sha256=b""),
        lambda: late.list(""),
    ]
    for ask in asks:
        with pytest.raises(TransientError, match="did not answer in time"):
            ask()
    assert silent.asked == [("get", FORMAT)]
    silent.go.set()
    assert waiting(late).get(FORMAT) == world.stores[0].objects[FORMAT]
    assert late.get(FORMAT) == world.stores[0].objects[FORMAT]
    assert vault.silent == []


def test_it_is_refused_where_it_turns_out_to_hold_another_vault(
    world: World, silent: Silent
) -> None:
    world.stores[2].fault = silent
    world.stores[2].objects[FORMAT] = Kit.found(random=rng(99)).objects[FORMAT]
    late = opened(world).stores[2]
    silent.go.set()
    with pytest.raises(StoreError, match="wrong kit, or wrong prefix"):
        waiting(late).put("packs/x", b"", sha256=b"")
    with pytest.raises(StoreError, match="wrong kit, or wrong prefix"):
        list(late.list(""))


def test_one_that_failed_is_not_asked_again(world: World) -> None:
    asked = []

    def dead(operation: str, name: str) -> None:
        asked.append((operation, name))
        raise TransientError("no route", location="c")

    world.stores[2].fault = dead
    vault = opened(world)
    assert vault.silent == ["c"]
    with pytest.raises(TransientError, match="no route"):
        waiting(vault.stores[2]).get("packs/x")
    assert asked == [("get", FORMAT)]


def test_everything_comes_back_without_it(world: World, silent: Silent) -> None:
    world.stores[2].fault = silent
    vault = opened(world)
    point = catalog(vault.stores, patience=ALL_BUT_ONE).points[0]
    assert point.committed
    target = MemoryTarget()
    restore(vault, point, "photos", target, progress=Progress())
    assert target.files == some_files()
    assert silent.asked == [("get", FORMAT)]


def test_bytes_that_are_good_there_alone_are_waited_for(
    world: World, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stores[2].fault = silent
    vault = opened(world)
    point = catalog(vault.stores, patience=ALL_BUT_ONE).points[0]
    for store in world.stores[:2]:
        for name in [name for name in store.objects if name.startswith("packs/")]:
            del store.objects[name]

    def wait(store: Store) -> Store:
        silent.go.set()
        return waiting(store)

    monkeypatch.setattr(fetch, "waiting", wait)
    target = MemoryTarget()
    restore(vault, point, "photos", target, progress=Progress())
    assert target.files == some_files()


def test_a_point_that_may_be_at_silent_locations_alone_is_told(world: World) -> None:
    found = catalog(world.stores)
    assert not found.may_lack_a_point(world.stores)
    two = replace(found, answered=frozenset({"a", "b"}))
    assert not two.may_lack_a_point(world.stores)  # two of three hold what is committed
    one = replace(found, answered=frozenset({"a"}))
    assert one.may_lack_a_point(world.stores)
    assert one.may_lack_a_point(world.stores[:1])  # b and c were not given, and have it
    assert replace(two, points=[]).may_lack_a_point(world.stores)


def test_a_point_that_only_it_has_is_waited_for(world: World, silent: Silent) -> None:
    world.stores[2].fault = silent
    [name] = [name for name in world.stores[2].objects if name.startswith("snapshots/")]
    looks = []

    def gone(operation: str, prefix: str) -> None:
        looks.append((operation, prefix))
        if looks.count(("list", name)) == 2:
            silent.go.set()

    for store in world.stores[:2]:
        del store.objects[name]
    vault = opened(world)
    world.stores[0].fault = gone
    point = find_point(vault.stores, name, ALL_BUT_ONE)
    assert point.held_by == ("c",)


def test_a_point_that_nobody_has_is_missing_once_all_have_answered(world: World) -> None:
    vault = opened(world)
    with pytest.raises(RefusedError, match="no recovery point"):
        find_point(vault.stores, "snapshots/2026/12/05/none-" + "0" * 64, ALL_BUT_ONE)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_backup_asks_it_nothing_more_once_it_was_late(world: World, number: int) -> None:
    silent = Silent("list", STEPS[number])
    world.stores[2].fault = silent
    world.limits = Limits(patience_seconds=0, grace_seconds=30)
    try:
        result = world.backup(MemorySource({b"new": b"more"}), "second", vault=world.vault())
        assert [row.phase for row in result.locations] == ["Committed", "Committed", "Failed"]
        assert result.locations[2].message == "it did not answer in time"
        assert not {("list", step) for step in STEPS[number + 1 :]}.intersection(silent.asked)
    finally:
        silent.go.set()


def test_who_hears_all_but_one_waits_shorter() -> None:
    assert choosing(7).among(7) == [(4, 15.0), (6, 2.0)]
    assert choosing(2).among(2) == [(2, 15.0), (1, 2.0)]
    assert choosing(1).among(1) == [(1, 15.0), (1, 2.0)]


def test_whichever_patience_ends_first_counts(world: World, silent: Silent) -> None:
    world.stores[2].fault = silent

    def listed(store: Store) -> bool:
        return bool(list(store.list("")))

    answers = ask_all(world.stores, listed, Patience(2, 3600, Patience(2, 0)))
    assert answers[:2] == [True, True]
    assert isinstance(answers[2], TransientError)
