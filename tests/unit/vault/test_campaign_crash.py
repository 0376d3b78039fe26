"""Whoever writes is killed at any of its store operations: every committed point comes back.

A round is one job (a backup, a collection, a copy, a repair, a rotation of keys) killed before one
operation, counted over all locations; the next store operation of any of its threads never happens.
Then: each point that was committed comes back byte for byte, by the kit of before and by the kit of
now; no location holds a manifest and lacks what it needs, save where it did before; none lost a good
copy to who removes nothing that is good; the job runs again, and ends; then all points come back once more, and a full check finds nothing. The short form kills before and after some puts and
removals of each job, the long form at every one, several times over, for what its threads do differs from run to run.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.campaigns import LONG, Counts, generator, rounds
from tests.unit.vault.collecting import GRACE, HOUR, DatedStore, Vault
from tests.unit.vault.fakes import MemorySource, rng, some_files
from tests.unit.vault.test_crash import Killed, Killer
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault import rotate
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import accept, check, examine
from weddingbackup.vault.commit import closure
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import VaultDamageError, VaultError
from weddingbackup.vault.names import base_name, data_key_name
from weddingbackup.vault.objects import reachable
from weddingbackup.vault.repair import repair

if TYPE_CHECKING:
    from collections.abc import Callable

    from weddingbackup.vault.kit import Kit


class Quiet(Vault):
    """Its fence is believed for as long as a run takes: fewer operations to be killed at."""

    def monotonic(self) -> float:
        return self.moved


class Noted(Killer):
    """Kills nobody, and notes of each operation whether it changes anything."""

    def __init__(self) -> None:
        super().__init__(0)
        self.changes: list[bool] = []

    def __call__(self, operation: str, _name: str) -> None:
        with self._lock:
            self.changes.append(operation in {"put", "delete"})


@dataclass
class Scene:
    """A vault, and the files of its points by their jobs."""

    vault: Vault
    contents: dict[str, dict[bytes, bytes]]
    turns: int = 0

    def fork(self) -> Scene:
        """The same, to be destroyed."""
        vault = Quiet([], kit=self.vault.kit, quorum=self.vault.quorum, now=self.vault.now)
        vault.moved, vault._jobs = self.vault.moved, self.vault._jobs
        stores = [store.copy() for store in self.vault.dated]
        for store in stores:
            store.clock = lambda: vault.now
        vault.use(stores)
        return Scene(vault, dict(self.contents), self.turns)

    def store(self, uid: str) -> None:
        files = some_files(seed=len(self.contents) + 1, directories=2, files=2)
        files |= {b"shared": b"the same in all " * 200}
        self.contents[uid] = files
        self.vault.store(files, uid, MemorySource(files))


@cache
def three_points() -> Scene:
    scene = Scene(Quiet.at("a", "b", "c"), {})
    for number in range(3):
        scene.store(f"old-{number}")
    scene.vault.pass_(GRACE + HOUR)
    return scene


@cache
def marked() -> Scene:
    scene = three_points().fork()
    scene.vault.collect()
    scene.vault.pass_(GRACE + HOUR)
    return scene


@cache
def behind() -> Scene:
    """The last location lacks one point, and has a bad copy of another's pack."""
    scene = three_points().fork()
    stores = scene.vault.dated
    newest = points(stores)[0].manifest
    own = [n for n, at in stores[2].stored.items() if at == max(stores[2].stored.values())]
    for name in {newest, *own[::2]}:
        stores[2].objects.pop(name, None)
    _damage(stores[2], "packs/")
    return scene


@cache
def damaged() -> Scene:
    """Of each kind a bad copy at one location, and a missing one at another."""
    scene = three_points().fork()
    for number, kind in enumerate(("format", "keys/", "packs/", "index/", "snapshots/")):
        _damage(scene.vault.dated[number % 3], kind)
        lacking = scene.vault.dated[(number + 1) % 3]
        lacking.objects.pop(max(n for n in lacking.objects if n.startswith(kind)), None)
    return scene


def _damage(store: DatedStore, kind: str) -> None:
    name = min(name for name in store.objects if name.startswith(kind))
    store.objects[name] = store.objects[name][:-1] + b"?"


def back_up(scene: Scene) -> None:
    scene.store("new")


def collect(scene: Scene) -> None:
    scene.vault.collect()


def copy(scene: Scene) -> None:
    stores = scene.vault.dated
    copy_points(stores, stores[2], [p.manifest for p in points(stores[:2])], verify=True)


def mend(scene: Scene) -> None:
    stores = {store.location: store for store in scene.vault.dated}
    found = examine(scene.vault.stores, level="full")
    repair(scene.vault.stores, found, remove=lambda at, name: stores[at].delete(name))


def rotated(scene: Scene) -> None:
    vault = scene.vault
    scene.turns += 1
    places = {store.location: store for store in vault.dated}
    found = rotate.find(vault.kit, vault.stores)
    seed = rng(100 + scene.turns)
    new = rotate.renew(vault.kit, wrapping_keys=True, data_keys=True, random=seed)
    failed = rotate.establish(new, vault.stores)
    vault.kit = new
    rotate.retire(new, vault.stores, places, found, failed=failed)


class Job(NamedTuple):
    ready: Callable[[], Scene]
    run: Callable[[Scene], None]


JOBS = {
    "backup": Job(three_points, back_up),
    "collection, marking": Job(three_points, collect),
    "collection, sweeping": Job(marked, collect),
    "copy": Job(behind, copy),
    "repair": Job(damaged, mend),
    "rotation": Job(three_points, rotated),
}


def restored(scene: Scene, *, kit: Kit | None = None) -> int:
    """Each committed point that the kit can open comes back; gives how many."""
    vault, now = scene.vault, scene.vault.kit
    vault.kit = kit or now
    count = 0
    for point in points(vault.stores):
        files = scene.contents[point.plain.job_uid]
        if point.committed and (kit is None or point.plain.job_uid != "new"):
            assert vault.back(point) == files
            count += 1
    vault.kit = now
    return count


@pytest.mark.parametrize("kind", JOBS)
def test_killed_anywhere_every_committed_point_comes_back(kind: str) -> None:
    job = JOBS[kind]
    before = points(job.ready().vault.stores)
    newest = next(point.manifest for point in before if point.committed)
    noted = Noted()
    kill_at(job, noted)
    operations = len(noted.changes)
    assert operations > 10
    if LONG:
        chosen = list(range(operations + 3)) * rounds(1, 4)
    else:
        draw = generator(f"crash/{kind}", 0)
        changes = [number for number, changed in enumerate(noted.changes) if changed]
        before_one = draw.sample(changes, min(7, len(changes)))
        chosen = sorted({0, *before_one, *(n + 1 for n in before_one), operations + 2})
    at_first = lacking(job.ready())
    good = [good_copies(store) for store in job.ready().vault.dated]
    counts = Counts(f"crash-{kind.replace(', ', '-')}")
    for number in chosen:
        scene = kill_at(job, Killer(number))
        old = job.ready().vault.kit
        assert lacking(scene) <= at_first, number
        if job.run in {back_up, copy, mend}:
            assert all(map(set.issubset, good, map(good_copies, scene.vault.dated))), number
        back = restored(scene)
        restored(scene, kit=old)
        assert newest in scene.vault.seen()
        run_again(kind, job, scene)
        back += restored(scene)
        assert newest in scene.vault.seen()
        findings = check(scene.vault.stores, level="full", kit=scene.vault.kit)
        assert not [x for x in findings if not stranger(x.object, scene.vault.kit)], number
        counts.add(kind, "kills")
        counts.add(kind, "restores", back)
    counts.report()


def good_copies(store: DatedStore) -> set[str]:
    """Objects of which readers of this location find a good copy."""
    found = set()
    for info in reachable(store.list("")):
        with suppress(VaultDamageError):
            accept(base_name(info.name), store.objects[info.name])
            found.add(base_name(info.name))
    return found


def lacking(scene: Scene) -> set[tuple[str, str]]:
    """(location, object) that a manifest there needs, and of which there is no good copy."""
    found = set()
    for store in scene.vault.dated:
        good = good_copies(store)
        for point in points([store]):
            refs = {ref for source in point.sources for ref in source.indexes}
            needed = {each.name for each in closure(scene.vault.stores, refs)}
            found |= {(store.location, name) for name in needed - good}
    return found


def stranger(name: str, kit: Kit) -> bool:
    """Whether it is a data key of a rotation that was cut short: kept, for nobody can tell whose it is."""
    key = data_key_name(name)
    return key is not None and key not in {data_key_name(known) for known in kit.objects}


def kill_at(job: Job, killer: Killer) -> Scene:
    scene = job.ready().fork()
    for store in scene.vault.dated:
        store.fault = killer
    with suppress(Killed, VaultError, StoreError):
        job.run(scene)
    # Threads that were left behind keep the places that they had.
    scene.vault.survive()
    return scene


def run_again(kind: str, job: Job, scene: Scene) -> None:
    """As whoever started it does: the same job once more; a backup under its own name."""
    if kind == "backup":
        files = scene.contents["new"]
        scene.vault.store(files, "new", MemorySource(files))
        copy_to_all(scene)
    else:
        job.run(scene)


def copy_to_all(scene: Scene) -> None:
    """What a location lacks of committed points is copied to it afterwards."""
    stores = scene.vault.dated
    for target in stores:
        copy_points(stores, target, [p.manifest for p in points(stores)])
