"""Any damage ends in a correct restore or in a clear error, never in wrong bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.unit.vault.fakes import MemorySource, MemoryStore, MemoryTarget, World, some_files
from weddingbackup.stores.errors import StoreError, TransientError
from weddingbackup.vault.catalog import catalog, points
from weddingbackup.vault.check import Problem, check
from weddingbackup.vault.errors import RestoreIncompleteError, VaultError
from weddingbackup.vault.names import base_name
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore

if TYPE_CHECKING:
    from weddingbackup.vault.results import RestoreResult

Damage = Callable[[dict[str, bytes], str], None]


def _flip(objects: dict[str, bytes], name: str) -> None:
    data = bytearray(objects[name])
    data[len(data) // 2] ^= 1
    objects[name] = bytes(data)


def _flip_first(objects: dict[str, bytes], name: str) -> None:
    objects[name] = bytes([objects[name][0] ^ 0x80]) + objects[name][1:]


def _flip_last(objects: dict[str, bytes], name: str) -> None:
    objects[name] = objects[name][:-1] + bytes([objects[name][-1] ^ 1])


def _truncate(objects: dict[str, bytes], name: str) -> None:
    objects[name] = objects[name][: len(objects[name]) * 2 // 3]


def _empty(objects: dict[str, bytes], name: str) -> None:
    objects[name] = b""


def _extend(objects: dict[str, bytes], name: str) -> None:
    objects[name] += b"more"


def _drop(objects: dict[str, bytes], name: str) -> None:
    del objects[name]


def _swap(objects: dict[str, bytes], name: str) -> None:
    """Another object of the same kind takes its place."""
    kind = name.split("/", maxsplit=1)[0]
    others = [n for n in sorted(objects) if n.split("/")[0] == kind and n != name]
    objects[name] = objects[others[0]] if others else b"{}"


DAMAGES = [_flip, _flip_first, _flip_last, _truncate, _empty, _extend, _drop, _swap]


def two_points() -> tuple[World, dict[bytes, bytes], dict[bytes, bytes]]:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files(directories=3))
    world.backup(source, "first")
    old = dict(source.data)
    source.write(b"d0/f1", b"new words " * 50)
    world.backup(source, "second")
    return world, old, dict(source.data)


WORLD, OLD, NEW = two_points()
NAMES = sorted(WORLD.stores[0].objects)


def attempt(stores: list[MemoryStore], uid: str) -> tuple[MemoryTarget, RestoreResult | None]:
    """Restore a point as far as it goes; errors that name what is wrong are an answer too."""
    world = World(stores, WORLD.kit)
    target = MemoryTarget()
    try:
        vault = world.vault()
        found = [p for p in points(stores) if p.plain.job_uid == uid]
        if not found:
            return target, None
        return target, restore(vault, found[0], "photos", target, progress=Progress())
    except RestoreIncompleteError as error:
        return target, error.result
    except (VaultError, StoreError):
        return target, None
    finally:
        assert not target.unfinished


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_at_one_location_costs_nothing(damage: Damage) -> None:
    for name in NAMES:
        stores = [store.copy() for store in WORLD.stores]
        damage(stores[0].objects, name)
        for uid, files in (("first", OLD), ("second", NEW)):
            target, result = attempt(stores, uid)
            assert target.files == files, (name, uid)
            assert result is not None
            assert all(location == "a" for location, _ in result.damaged)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_everywhere_never_gives_wrong_bytes(damage: Damage) -> None:
    for name in NAMES:
        stores = [store.copy() for store in WORLD.stores]
        for store in stores:
            damage(store.objects, name)
        for uid, files in (("first", OLD), ("second", NEW)):
            target, result = attempt(stores, uid)
            for path, data in target.files.items():
                assert data == files[path], (name, uid, path)
            if result:
                missing = {path for path, _ in result.failed}
                assert all(
                    path in target.files or any(path.startswith(m) for m in missing)
                    for path in files
                )


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_full_check_finds_every_damage(damage: Damage) -> None:
    for name in NAMES:
        stores = [store.copy() for store in WORLD.stores]
        damage(stores[1].objects, name)
        findings = check(stores, level="full", kit=WORLD.kit)
        assert {(f.location, f.object) for f in findings} == {("b", name)}


def test_a_listing_check_finds_what_is_missing_or_cut() -> None:
    stores = [store.copy() for store in WORLD.stores]
    packs = [name for name in NAMES if name.startswith("packs/")]
    _drop(stores[0].objects, packs[0])
    _truncate(stores[2].objects, packs[1])
    assert [(f.location, f.object, f.problem) for f in check(stores)] == [
        ("a", packs[0], Problem.MISSING),
        ("c", packs[1], Problem.SIZE),
    ]


def test_a_place_with_nothing_to_check_is_a_finding() -> None:
    stores = [WORLD.stores[0].copy(), MemoryStore("mistyped")]
    found = {(f.location, f.object, f.problem) for f in check(stores)}
    assert {("mistyped", "format", Problem.MISSING), ("mistyped", "", Problem.MISSING)} <= found
    assert {location for location, _, _ in found} == {"mistyped"}
    assert {f.location for f in check([MemoryStore("x"), MemoryStore("y")])} == {"x", "y"}


def test_a_location_that_was_emptied_of_points_is_a_finding() -> None:
    stores = [store.copy() for store in WORLD.stores]
    manifests = [name for name in NAMES if name.startswith("snapshots/")]
    for name in manifests:
        del stores[0].objects[name]
    found = {(f.location, f.object) for f in check(stores)}
    assert found == {("a", name) for name in ["", *manifests]}


def test_a_listing_check_finds_a_location_that_lags() -> None:
    stores = [store.copy() for store in WORLD.stores]
    newest = points(stores)[0].manifest
    del stores[2].objects[newest]
    assert [(f.location, f.object, f.problem) for f in check(stores)] == [
        ("c", newest, Problem.MISSING)
    ]


def test_a_whole_vault_has_no_findings() -> None:
    stores = [store.copy() for store in WORLD.stores]
    assert check(stores) == []
    assert check(stores, level="full") == []
    assert check(stores, level="full", kit=WORLD.kit) == []


def test_different_damage_at_every_location_is_read_around() -> None:
    """One range, three locations, each with another chunk of it damaged."""
    stores = [store.copy() for store in WORLD.stores]
    for name in (n for n in NAMES if n.startswith("packs/")):
        size = len(stores[0].objects[name])
        for number, store in enumerate(stores):
            data = bytearray(store.objects[name])
            data[min(size - 1, 100 + number * size // 3)] ^= 1
            store.objects[name] = bytes(data)
    target, result = attempt(stores, "second")
    assert result is not None
    lost = {path for path, _ in result.failed}
    assert target.files.items() <= NEW.items()
    assert len(lost) < len(NEW)


def test_a_replayed_manifest_is_no_point() -> None:
    """The older point's bytes under the newer one's name, everywhere."""
    stores = [store.copy() for store in WORLD.stores]
    first, second = sorted(
        (n for n in NAMES if n.startswith("snapshots/")), key=lambda n: "second" in n
    )
    for store in stores:
        store.objects[second] = store.objects[first]
    found = catalog(stores)
    assert [p.manifest for p in found.points] == [first]
    assert found.unreadable == [second]
    assert sorted(found.damaged) == [(location, second) for location in "abc"]


def test_garbage_names_are_no_points() -> None:
    stores = [store.copy() for store in WORLD.stores]
    stores[0].objects |= {"snapshots/2026/12/05/x": b"?", "snapshots/readme": b"hi", "packs/x": b""}
    assert len(points(stores)) == 2


def test_a_replacement_is_taken_where_the_object_is_bad_everywhere() -> None:
    for name in NAMES:
        stores = [store.copy() for store in WORLD.stores]
        for store in stores:
            _flip(store.objects, name)
        stores[2].objects[name + ".r1"] = WORLD.stores[0].objects[name]
        if base_name(name) == "format":
            continue  # the kit has it
        target, _ = attempt(stores, "second")
        assert target.files == NEW, name


def test_a_location_that_does_not_answer_is_left_out() -> None:
    stores = [store.copy() for store in WORLD.stores]

    def dead(_operation: str, name: str) -> None:
        raise TransientError("no route", location="a", name=name)

    stores[0].fault = dead
    target, result = attempt(stores, "second")
    assert target.files == NEW
    assert result is not None
    assert set(result.locations) <= {"b", "c"}
    assert catalog(stores).unanswered == {"a": "no route"}
    stores[1].fault = dead
    assert [p.committed for p in points(stores)] == [False, False]
    assert attempt(stores, "second")[0].files == NEW


def test_a_missing_object_is_reported_only_where_it_should_be() -> None:
    stores = [store.copy() for store in WORLD.stores]
    for name in list(stores[0].objects):
        if name.startswith("packs/") or "second" in name:
            del stores[0].objects[name]  # a lags: it has no manifest of the second point
    _, result = attempt(stores, "second")
    assert result is not None
    assert result.damaged == []
