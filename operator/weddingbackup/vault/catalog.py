"""Which recovery points there are. Needs no key: manifests say in plain what is asked here."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from weddingbackup.rules.points import Standing, standing
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.entrance import waiting
from weddingbackup.vault.errors import RefusedError, VaultDamageError, VaultError
from weddingbackup.vault.manifest import Plain, read_plain
from weddingbackup.vault.names import SNAPSHOTS, base_name, digest_of, snapshot_job, verify
from weddingbackup.vault.objects import get_object, reachable
from weddingbackup.vault.parallel import MAJORITY, Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from weddingbackup.stores.api import ObjectInfo, Store
    from weddingbackup.vault.manifest import PlainSource

_READERS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """One recovery point, as its manifest's plain part and the listings say.

    Attributes:
        manifest: the manifest's object name.
        data: its bytes, verified against the name; none where the catalog is a brief one.
        held_by: locations whose listing shows it with the right size. A copy there may still turn
            out damaged: a check says so, and a reader takes the next.
        lacking: locations that answered and have no copy of it, not even a damaged one.
        damaged: (location, object) of copies of the manifest that did not verify.
    """

    manifest: str
    vault_id: bytes
    data: bytes
    plain: Plain
    held_by: tuple[str, ...]
    lacking: frozenset[str]
    damaged: tuple[tuple[str, str], ...] = ()

    @property
    def sha256(self) -> str:
        """Hexadecimal, as in its name."""
        return (digest_of(self.manifest) or b"").hex()

    @property
    def time(self) -> datetime:
        """What is recovered is as it was not later than this."""
        return self.plain.point_time

    @property
    def started_at(self) -> datetime:
        """When the reading of the first source began."""
        return self.plain.started_at

    @property
    def sources(self) -> tuple[PlainSource, ...]:
        """What it holds."""
        return self.plain.sources

    @property
    def unsure(self) -> tuple[str, ...]:
        """Those of its N locations that may hold it, or held it.

        They do not answer, are not known here, or hold a damaged copy.
        """
        seen = self.lacking.union(self.held_by)
        return tuple(location for location in self.plain.locations if location not in seen)

    @property
    def standing(self) -> Standing:
        """What can be told of its commit from here and now."""
        held = sum(location in self.plain.locations for location in self.held_by)
        return standing(quorum=self.plain.quorum, held=held, unsure=len(self.unsure))

    @property
    def committed(self) -> bool:
        """Whether a quorum of the locations that it was written for is seen to hold it."""
        return self.standing is Standing.COMMITTED


@dataclass(frozen=True, slots=True)
class Catalog:
    """All points, newest first, and what stood in the way of knowing more.

    Attributes:
        damaged: (location, object) of copies of manifests that did not verify.
        unreadable: manifests without one good copy among the locations that answer.
        unanswered: location -> why it was left out.
        answered: the other locations.
    """

    points: list[Point]
    damaged: list[tuple[str, str]]
    unreadable: list[str]
    unanswered: dict[str, str]
    answered: frozenset[str]

    def places(self, stores: Sequence[Store]) -> frozenset[str]:
        """Locations where points may be: those that were asked, and those that points name."""
        named = (location for point in self.points for location in point.plain.locations)
        return frozenset(named) | {store.location for store in stores}

    def may_lack_a_point(self, stores: Sequence[Store]) -> bool:
        """Whether a point may be committed of which nobody who answered has a copy.

        It is at as many locations as its quorum, of which nothing tells but points of its vault; where
        there is none, one location may have one.
        """
        quorum = min((point.plain.quorum for point in self.points), default=1)
        return len(self.places(stores) - self.answered) >= quorum


def points(stores: Sequence[Store]) -> list[Point]:
    """List the recovery points, newest first; a location that does not answer is left out."""
    return catalog(stores).points


Plains = dict[str, tuple[bytes, Plain]]
"""Manifest's name -> (vault id, plain part)."""


def catalog(
    stores: Sequence[Store],
    prefix: str = SNAPSHOTS,
    patience: Patience = MAJORITY,
    *,
    brief: Plains | None = None,
) -> Catalog:
    """List the recovery points whose manifests' names begin with `prefix`; see `Patience`.

    `brief`: points keep no bytes, and what was decoded before is taken from here. For who reads many
    vaults, each location by itself: whoever wrote the manifests must not fill its memory.
    """
    listings: list[tuple[Store, list[ObjectInfo]]] = []
    unanswered: dict[str, str] = {}
    answers = ask_all(stores, lambda s: list(reachable(s.list(prefix))), patience)
    for store, found in zip(stores, answers, strict=True):
        if isinstance(found, StoreError):
            unanswered[store.location] = str(found)
        else:
            listings.append((store, found))
    answered = frozenset(store.location for store, _ in listings)
    holders: dict[str, list[tuple[Store, ObjectInfo]]] = defaultdict(list)
    for store, found in listings:
        for info in found:
            name = base_name(info.name)
            if snapshot_job(name):
                holders[name].append((store, info))
    damaged: list[tuple[str, str]] = []
    unreadable: list[str] = []

    def read(name: str) -> Point | None:
        copies = holders[name]
        bad: list[tuple[str, str]] = []
        try:
            size, data, vault_id, plain = get_object(
                list(dict.fromkeys(store for store, _ in copies)),
                name,
                partial(_parse, brief),
                damaged=lambda location, obj: bad.append((location, obj)),
            )
        except (StoreError, VaultDamageError):
            damaged.extend(bad)
            unreadable.append(name)
            return None
        damaged.extend(bad)
        held_by = dict.fromkeys(
            store.location
            for store, copy in copies
            if copy.size == size and (store.location, copy.name) not in bad
        )
        lacking = answered.difference(store.location for store, _ in copies)
        return Point(name, vault_id, data, plain, tuple(held_by), lacking, tuple(bad))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifest") as pool:
        found_points = [point for point in pool.map(read, sorted(holders)) if point]
    return Catalog(_newest_first(found_points), damaged, sorted(unreadable), unanswered, answered)


def _parse(brief: Plains | None, name: str, data: bytes) -> tuple[int, bytes, bytes, Plain]:
    if brief is None:
        return len(data), data, *read_plain(name, data)
    verify(name, data)
    if name not in brief:
        brief[name] = read_plain(name, data)
    return len(data), b"", *brief[name]


def merge(parts: Sequence[Catalog]) -> Catalog:
    """Put together what locations said that were asked one by one."""
    tables = [(part, {point.manifest: point for point in part.points}) for part in parts]
    found = []
    for name in dict.fromkeys(name for _, table in tables for name in table):
        seen = [table[name] for _, table in tables if name in table]
        # A location whose copy cannot be read does not lack it.
        without = [x.answered for x, t in tables if name not in t and name not in x.unreadable]
        found.append(
            replace(
                seen[0],
                held_by=tuple(location for point in seen for location in point.held_by),
                lacking=frozenset().union(*(point.lacking for point in seen), *without),
                damaged=tuple(each for point in seen for each in point.damaged),
            )
        )
    names = {point.manifest for point in found}
    return Catalog(
        _newest_first(found),
        [each for part in parts for each in part.damaged],
        sorted({name for part in parts for name in part.unreadable} - names),
        {location: why for part in parts for location, why in part.unanswered.items()},
        frozenset().union(*(part.answered for part in parts)),
    )


def _newest_first(found: Iterable[Point]) -> list[Point]:
    return sorted(found, key=lambda p: (p.time, p.manifest), reverse=True)


def find_point(stores: Sequence[Store], manifest: str, patience: Patience = MAJORITY) -> Point:
    """Get one point by its manifest's name; see `Patience`.

    Where nobody had it in time, the late are waited for: they may be who has it.

    Raises:
        RefusedError: there is none.
        VaultError: no location that answers has it, but not all did.
        VaultDamageError: no copy of it is good.
    """
    found = catalog(stores, base_name(manifest), patience)
    if found.unanswered and not any(point.manifest == manifest for point in found.points):
        found = catalog([waiting(store) for store in stores], base_name(manifest))
    for point in found.points:
        if point.manifest == manifest:
            return point
    if found.unreadable:
        raise VaultDamageError(manifest, "no location that answers has a good copy of it")
    if found.unanswered:
        silent = "; ".join(f"{name}: {why}" for name, why in found.unanswered.items())
        raise VaultError(f"no recovery point {manifest} where there was an answer ({silent})")
    raise RefusedError(f"no recovery point {manifest}")
