"""Random damage to every kind of object, many at once: no wrong byte, and each damage reported.

A round copies one vault at three locations, damages 1 to 6 copies there, restores every point and
checks everything. What is asked of each round:

* **No wrong byte.** Every file that a restore gives is, byte for byte, what was backed up.
* **Nothing given up that was there.** Where each object of a point (its manifest, its indexes and
  their packs) has a copy with the right bytes at some location, under its name or as a replacement
  that readers come to, the point comes back whole. A location whose `format` is another vault's
  counts for nothing here: whatever is asked of it fails, and says why.
* **What does not come back is named**: the restore raises, or its result names the files.
* **Each damage reported.** A location's copy of an object is *bad* when readers come to no copy
  there that has the right bytes (a data key's older wrapping will do). A bad copy is reported when `check`, full, finds that object at
  that location or at all of them, or finds so the manifest or index that says it should be there
  (who cannot read that a pack is needed says that he cannot). Two kinds of object have nobody who
  says that they should exist: keys and manifests. One that is gone from every location under any
  name is *forgotten*: no check can tell; the kit holds all keys, so nothing is lost with them, and
  to restore a point whose manifest is gone is refused with an error.
* **Nobody is blamed for nothing.** What a restore or a check says of a location is so.
* **Extra objects are told or harmless.** Of bytes that nobody needs (strange names, packs that no
  index names, bad replacements beside a good copy, marks and fences that are none) nothing is
  told and nothing comes; a manifest that is not ours, or whose objects are gone, is told by the
  full check with keys, and no restore of it gives a byte.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tests.campaigns import Counts, generator, rounds
from tests.unit.vault.fakes import MemorySource, MemoryStore, MemoryTarget, World, rng, some_files
from tests.unit.vault.test_rotate import BOTH, turn
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.catalog import find_point, points
from weddingbackup.vault.check import Finding, check
from weddingbackup.vault.errors import RestoreIncompleteError, VaultError
from weddingbackup.vault.format import check_format, encode_format
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.manifest import encode_manifest, open_body
from weddingbackup.vault.names import base_name, data_key_name, replacement, snapshot_job
from weddingbackup.vault.objects import reachable
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weddingbackup.vault.catalog import Point

KINDS = ("format", "keys", "packs", "index", "snapshots")
COPY = tuple[str, str]
"""(location, object)."""


@dataclass
class Scene:
    """A vault with some history.

    Attributes:
        originals: what each location holds, by name.
        contents: files of each point, by its manifest's name.
        needs: of each point: indexes and their packs, by index.
        older: what locations held earlier, and hold no more: of a collected point, and keys that were
            wrapped anew.
        before: all that they held at an earlier moment.
        gone: names of the collected point and of what it alone needed.
        lost: that point's files.
    """

    world: World
    originals: dict[str, bytes]
    contents: dict[str, dict[bytes, bytes]]
    needs: dict[str, dict[str, set[str]]]
    older: dict[str, bytes]
    before: dict[str, bytes]
    gone: set[str]
    lost: dict[bytes, bytes]

    def stores(self) -> list[MemoryStore]:
        return [store.copy() for store in self.world.stores]

    def objects_of(self, manifest: str) -> set[str]:
        needs = self.needs[manifest]
        return {manifest, *needs, *(pack for packs in needs.values() for pack in packs)}


def make() -> Scene:
    """Three points that share much, one more that was collected, and keys that were rotated."""
    world = World.of("a", "b", "c")
    source = MemorySource(some_files(directories=2, files=3))
    collected = MemorySource(some_files(seed=8, directories=1, files=3))
    old = world.backup(collected, "collected").manifest
    contents: dict[str, dict[bytes, bytes]] = {}
    before: dict[str, bytes] = {}
    for number in range(3):
        source.write(b"d0/f1", b"new words %d " % number * 300)
        source.write(b"new/%d" % number, rng(number)(3000))
        contents[world.backup(source, f"job-{number}").manifest] = dict(source.data)
        if number == 1:
            before = dict(world.stores[0].objects)
            turn(world, **BOTH)
    whole = dict(world.stores[0].objects)
    needs: dict[str, dict[str, set[str]]] = {}
    for point in points(world.stores):
        refs = {ref.name for source_ in point.sources for ref in source_.indexes}
        needs[point.manifest] = {
            name: {pack.name for pack in plain_packs(name, whole[name])} for name in refs
        }
    of_old = {old, *needs[old], *(pack for packs in needs.pop(old).values() for pack in packs)}
    kept = {n for needed in needs.values() for n in (*needed, *set().union(*needed.values()))}
    for name in of_old - kept:
        for store in world.stores:
            del store.objects[name]
    originals = dict(world.stores[0].objects)
    assert all(store.objects == originals for store in world.stores)
    older = {n: d for n, d in (before | whole).items() if n not in originals}
    return Scene(world, originals, contents, needs, older, before, of_old - kept, collected.data)


SCENE = make()
WRITTEN = SCENE.originals | SCENE.older
Damage = Callable[[random.Random, dict[str, bytes], str], None]


def _flip(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    data = bytearray(objects[name])
    for _ in range(draw.choice([1, 1, 1, 5])):
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    objects[name] = bytes(data)


def _truncate(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    objects[name] = objects[name][: draw.randrange(len(objects[name]) or 1)]


def _extend(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    objects[name] += draw.randbytes(draw.choice([1, 100]))


def _zero(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    """A stretch that was never written."""
    data = bytearray(objects[name])
    start = draw.randrange(len(data) or 1)
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    objects[name] = bytes(data)


def _move(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    """Two stretches have changed places."""
    data = objects[name]
    at = draw.randrange(len(data) or 1)
    objects[name] = data[at:] + data[:at]


def _drop(_draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    objects.pop(name, None)


def _swap(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    """Another object, mostly of the same kind, and this one have changed places."""
    kind = name.partition("/")[0] if draw.random() < 0.8 else ""
    other = draw.choice([n for n in sorted(objects) if n.startswith(kind)])
    objects[name], objects[other] = objects[other], objects[name]


def _replay(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    """An older object's bytes under this one's name."""
    kind = name.partition("/")[0]
    old = [n for n in sorted(WRITTEN) if n.startswith(kind) and n != name]
    if old:
        objects[name] = WRITTEN[draw.choice(old)]
    else:
        objects[name] = encode_format(draw.randbytes(16))


def _replaced(draw: random.Random, objects: dict[str, bytes], name: str) -> None:
    """A bad copy, and a replacement that is good; or is behind a gap, or bad itself."""
    good = objects[name]
    _flip(draw, objects, name)
    number = draw.choice([1, 1, 2])
    objects[replacement(name, number)] = draw.choice([good, good, good[:-1]])


DAMAGES: dict[str, Damage] = {
    "flip": _flip,
    "truncate": _truncate,
    "extend": _extend,
    "zero": _zero,
    "move": _move,
    "drop": _drop,
    "swap": _swap,
    "replay": _replay,
    "replaced": _replaced,
}


def _rollback(_draw: random.Random, objects: dict[str, bytes]) -> None:
    """The whole location is as it was earlier."""
    objects.clear()
    objects.update(SCENE.before)


def _return(draw: random.Random, objects: dict[str, bytes]) -> None:
    """Objects that were collected, or keys as they were wrapped, are there again."""
    for name in draw.sample(sorted(SCENE.older), draw.randint(1, len(SCENE.older))):
        objects[name] = SCENE.older[name]


def _strange(draw: random.Random, objects: dict[str, bytes]) -> None:
    data = draw.randbytes(draw.choice([0, 9, 300]))
    own = hashlib.sha256(data).hexdigest()
    name = draw.choice(
        [
            *(f"{folder}/{own}" for folder in ("packs", "index", "snapshots/2026/12/05")),
            f"packs/{'0' * 64}",
            f"packs/{own}.r3",
            f"packs/{own}.r1\n",
            f"keys/guests-{'0' * 32}",
            f"snapshots/2026/12/05/evil-{own}",
            f"marks/20261205t180000z-{own}",
            "marks/20260231t180000z-x",
            "fences/00000001",
            "fences/x",
            "readme",
            "format/x",
        ]
    )
    objects[name] = data


def _beside(draw: random.Random, objects: dict[str, bytes]) -> None:
    """A bad replacement beside a copy that may be good."""
    name = draw.choice(sorted(SCENE.originals))
    objects[replacement(name, draw.choice([1, 2, 9]))] = draw.randbytes(40)


def _forge(draw: random.Random, objects: dict[str, bytes]) -> None:
    """A manifest of somebody without the keys: a true one's, changed, or sealed by other keys."""
    name = draw.choice(sorted(SCENE.contents))
    data = SCENE.originals[name]
    if draw.random() < 0.5:
        plain = point_of(name).plain
        body = open_body(SCENE.world.kit.keyring(), name, data)
        later = plain.point_time.replace(year=2030)
        plain = msgspec.structs.replace(plain, quorum=1, point_time=later)
        other, data = encode_manifest(OTHER.keyring(), plain, body, draw.randbytes(32))
    else:
        data = data[:-1] + bytes([data[-1] ^ 1])
        other = name[:-64] + hashlib.sha256(data).hexdigest()
    objects[other] = data


EXTRAS: dict[str, Callable[[random.Random, dict[str, bytes]], None]] = {
    "rollback": _rollback,
    "return": _return,
    "strange": _strange,
    "beside": _beside,
    "forge": _forge,
}
OTHER = Kit.found(random=rng(77))


def point_of(manifest: str) -> Point:
    return find_point(SCENE.world.stores, manifest)


class Truth:
    """What is so at damaged locations, as somebody sees it who knows what was stored."""

    def __init__(self, stores: list[MemoryStore]) -> None:
        self.good: dict[str, set[str]] = {}
        """Of each object the locations where readers come to a copy with the right bytes."""
        self.listed: dict[str, set[str]] = {}
        self.right: set[COPY] = set()
        self.refused = {s.location for s in stores if _is_another_vaults(s)}
        for store in stores:
            listing = (ObjectInfo(name, 0, None) for name in store.objects)
            for info in reachable(listing):
                name = base_name(info.name)
                self.listed.setdefault(name, set()).add(store.location)
                if store.objects[info.name] == WRITTEN.get(name):
                    self.good.setdefault(name, set()).add(store.location)
                    self.right.add((store.location, info.name))

    def bad(self) -> Iterable[COPY]:
        for name in SCENE.originals:
            for location in {"a", "b", "c"} - self.good.get(name, set()) - self._otherwise(name):
                yield location, name

    def _otherwise(self, name: str) -> set[str]:
        """Where a data key is there as an older wrapping alone, which is one, too."""
        wrappings = [x for x in SCENE.older if data_key_name(x) == data_key_name(name) is not None]
        older = {location for x in wrappings for location in self.good.get(x, ())}
        return older - self.listed.get(name, set())

    def forgotten(self, name: str) -> bool:
        return name.startswith(("keys/", "snapshots/")) and not self.listed.get(name)

    def whole(self, manifest: str) -> bool:
        return all(self.good.get(x, set()) - self.refused for x in SCENE.objects_of(manifest))


class Told:
    """What a full check says."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._copies = {(found.location, _key(found.object)) for found in findings}

    def __contains__(self, copy: COPY) -> bool:
        """Whether this copy is found bad, or what says that it should be there."""
        location, name = copy
        if self._direct(location, name) or (location, "") in self._copies:
            return True
        owners = [
            [manifest, *(index for index, packs in needs.items() if name in packs)]
            for manifest, needs in SCENE.needs.items()
            if name in SCENE.objects_of(manifest) - {manifest}
        ]
        return bool(owners) and all(
            any(self._direct(location, owner) for owner in chain) for chain in owners
        )

    def _direct(self, location: str, name: str) -> bool:
        return bool({(location, _key(name)), ("", _key(name))} & self._copies)


def _is_another_vaults(store: MemoryStore) -> bool:
    with suppress(VaultError, KeyError):
        return check_format(store.objects["format"]) != bytes.fromhex(SCENE.world.kit.vault_id)
    return False


def _key(name: str) -> str:
    """Whatever wraps a data key, it is the same one."""
    return data_key_name(name) or name


def damaged(draw: random.Random) -> tuple[list[MemoryStore], list[str]]:
    """Copies of the vault with some damages, and what these are."""
    stores = SCENE.stores()
    done = []
    # Often one place or two objects alone, so that damages meet; sometimes one object everywhere.
    places = draw.sample(stores, draw.randint(1, 3))
    names = sorted(SCENE.originals)
    if draw.random() < 0.5:
        names = draw.sample(names, 2)
    everywhere = draw.random() < 0.2
    for _ in range(draw.randint(1, 3 if everywhere else 6)):
        if draw.random() < 0.15:
            extra = draw.choice(sorted(EXTRAS))
            EXTRAS[extra](draw, draw.choice(places).objects)
            done.append(f"extra: {extra}")
            continue
        kind = draw.choice(KINDS)
        one = draw.choice(places)
        there = [n for n in names if n.startswith(kind) and n in one.objects]
        name = draw.choice(there or sorted(SCENE.originals.keys() & one.objects.keys()))
        for store in stores if everywhere else [one]:
            damage = draw.choice(sorted(DAMAGES))
            if name in store.objects:
                DAMAGES[damage](draw, store.objects, name)
                done.append(f"{name.partition('/')[0]}: {damage}")
    return stores, done


def try_restore(
    stores: list[MemoryStore], manifest: str
) -> tuple[MemoryTarget, list[bytes] | None, list[COPY]]:
    """Give what came back, the paths that are named as missing (None: an error said so), and who is blamed."""
    world = World(stores, SCENE.world.kit)
    target = MemoryTarget()
    try:
        found = find_point(stores, manifest)
        result = restore(world.vault(), found, "photos", target, progress=Progress())
    except RestoreIncompleteError as error:
        result = error.result
    except (VaultError, StoreError):
        return target, None, []
    finally:
        assert not target.unfinished
    return target, [path for path, _ in result.failed], result.damaged


def test_random_damage_gives_no_wrong_byte_and_is_reported() -> None:
    counts = Counts("damage")
    for number in range(rounds(120, 3600)):
        stores, done = damaged(generator("damage", number))
        came = one_round(stores, f"round {number}: {done}")
        for row in done:
            for outcome in ("damages", *came):
                counts.add(row, outcome)
    assert counts.total("restored") + counts.total("named") == counts.total("damages")
    assert counts.total("restored") > counts.total("named") > 0
    counts.report()


def one_round(stores: list[MemoryStore], label: str) -> tuple[str, str]:
    """Restore all, check all; gives what came of it.

    That all points were `restored`, or what did not come back was `named`; and that all bad copies
    were `reported`, that one was `forgotten`, or that there was none (`harmless`).
    """
    truth = Truth(stores)
    all_back = True
    for manifest, files in SCENE.contents.items():
        target, missing, blamed = try_restore(stores, manifest)
        wrong = {path for path, data in target.files.items() if data != files.get(path)}
        assert not wrong, label
        if target.files != files:
            all_back = False
            assert not truth.whole(manifest), label
            lost = files.keys() - target.files.keys()
            assert missing is None or all(_under(path, missing) for path in lost), label
        assert not truth.right & set(blamed), label
    findings = check(stores, level="full", kit=SCENE.world.kit)
    told = Told(findings)
    bad = list(truth.bad())
    for copy in bad:
        assert copy in told or truth.forgotten(copy[1]), (label, copy)
    for finding in findings:
        if finding.object in SCENE.originals and finding.location:
            assert finding.location not in truth.good.get(finding.object, ()), (label, finding)
    told_of = "reported" if bad else "harmless"
    if any(truth.forgotten(name) for _, name in bad):
        told_of = "forgotten"
    return "restored" if all_back else "named", told_of


def _under(path: bytes, named: Iterable[bytes]) -> bool:
    return any(not name or path == name or path.startswith(name + b"/") for name in named)


def test_extra_objects_are_told_or_harmless() -> None:
    """With nothing else damaged, at one location or at all of them."""
    counts = Counts("extra")
    for number in range(rounds(30, 600)):
        draw = generator("extra", number)
        stores = SCENE.stores()
        before = set(SCENE.originals)
        kind = draw.choice(sorted(EXTRAS.keys() - {"rollback"}))
        for store in draw.sample(stores, draw.choice([1, 3])):
            EXTRAS[kind](draw, store.objects)
        for manifest, files in SCENE.contents.items():
            target, _, blamed = try_restore(stores, manifest)
            assert (target.files, blamed) == (files, []), (number, kind)
        findings = check(stores, level="full", kit=SCENE.world.kit)
        assert not before & {f.object for f in findings}, (number, kind)
        strangers = {p.manifest for p in points(stores)} - SCENE.contents.keys()
        strangers |= {base_name(n) for s in stores for n in s.objects if snapshot_job(base_name(n))}
        for manifest in strangers - SCENE.contents.keys():
            told = [f for f in findings if f.object in {manifest} | SCENE.gone]
            files = SCENE.lost if manifest in SCENE.gone else {}
            target, missing, _ = try_restore(stores, manifest)
            assert target.files.items() <= files.items()
            back = missing == [] and target.files == files  # all of it has returned
            assert told or (back and files), (number, kind)
            counts.add(kind, "told" if told else "whole")
        counts.add(kind, "rounds")
    counts.report()
