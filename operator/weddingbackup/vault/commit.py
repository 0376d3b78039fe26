"""The commit: a manifest at a quorum of locations, each of which holds all that it needs.

No location gets a manifest before it has every index and pack that the manifest names, its own
queue's and the older ones. Where too few locations are complete, the missing objects are copied to
them first, by name, from the others. And no location gets it whose collection is about to remove any
of that, or has removed it while the backup ran (see marks.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.resources.words import LocationPhase
from weddingbackup.stores.errors import StoreError, TransientError
from weddingbackup.vault.errors import QuorumError, VaultDamageError, VaultError
from weddingbackup.vault.holdings import Holdings
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.marks import Marks
from weddingbackup.vault.names import digest_of, verify
from weddingbackup.vault.objects import get_object, put_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.fanout import Fanout, Lane
    from weddingbackup.vault.manifest import IndexRef

FRESH_SECONDS = 3600.0
"""So long what was listed when a backup began is believed. A collection's grace is longer than that,
and longer than it takes to store one manifest."""


class Needed(NamedTuple):
    """An object that a manifest needs, packs before indexes."""

    name: str
    digest: bytes
    size: int


class Commit:
    """Brings one manifest to a quorum, and then to whom else it can."""

    def __init__(
        self,
        fanout: Fanout,
        holdings: Holdings,
        needed: Sequence[Needed],
    ) -> None:
        """Take what the manifest needs, packs first."""
        self._fanout = fanout
        self._older = {
            lane: {x for x in needed if holdings.at(lane.store.location, x.digest, x.size)}
            for lane in fanout.lanes
        }
        self._needed = needed
        self._known_gaps: dict[Lane, tuple[int, list[Needed]]] = {}
        self._beyond_healing: dict[Lane, str] = {}
        self._silent: dict[str, TransientError] = {}
        self._marks = Marks()

    def run(self, name: str, data: bytes, grace_seconds: float) -> None:
        """Commit the manifest, then wait up to the grace for the other locations.

        Raises:
            QuorumError: a quorum cannot be reached. Nothing is committed, and all that was stored
                is found by the next try.
        """
        fanout, quorum = self._fanout, self._fanout.quorum
        while sum(lane.drained for lane in self._whole()) < quorum:
            self._heal_if_needed()
            fanout.wait(
                lambda: (
                    sum(lane.drained for lane in self._whole()) >= quorum
                    or len(self._whole()) < quorum
                )
            )
        # A quorum holds every pack and every index: from here on the manifest may be written.
        asked: set[Lane] = set()
        while sum(name in lane.confirmed for lane in fanout.lanes) < quorum:
            self._heal_if_needed()
            lanes = [lane for lane in self._whole() if lane not in asked]
            allow = partial(self._allow, name)
            fanout.send(name, data, digest_of(name) or b"", barrier=True, lanes=lanes, allow=allow)
            asked.update(lanes)
            fanout.wait(
                lambda: (
                    sum(name in lane.confirmed for lane in fanout.lanes) >= quorum
                    or len(self._whole()) < quorum
                )
            )
        fanout.linger(lambda: all(lane.drained or not lane.live for lane in asked), grace_seconds)
        self._conclude(name)

    def _allow(self, name: str, store: Store) -> None:
        look_around(self._marks, store, name, self._needed, self._fanout.seconds())

    def _whole(self) -> list[Lane]:
        """Locations that have, or get by their queue, all that the manifest needs."""
        return [lane for lane in self._fanout.live() if not self._gaps(lane)]

    def _gaps(self, lane: Lane) -> list[Needed]:
        """Give what it lacks: neither there since before, nor sent, nor on its way."""
        # Asked at every move of a location; what it has only grows, so its number tells the state.
        state = len(lane.promised) + len(self._older[lane])
        known = self._known_gaps.get(lane)
        if known is None or known[0] != state:
            older = self._older[lane]
            gaps = [x for x in self._needed if x.name not in lane.promised and x not in older]
            known = self._known_gaps[lane] = (state, gaps)
        return known[1]

    def _heal_if_needed(self) -> None:
        """Make a quorum whole.

        Raises:
            QuorumError: too few are left, or can be made whole.
        """
        while len(self._whole()) < self._fanout.quorum:
            self._fanout.require_quorum()
            gaps = {lane: self._gaps(lane) for lane in self._fanout.live()}
            lanes = [x for x in gaps if gaps[x] and x not in self._beyond_healing]
            if lanes:
                self._heal(min(lanes, key=lambda lane: sum(x.size for x in gaps[lane])))
            elif sum(not missing for missing in gaps.values()) < self._fanout.quorum:
                raise QuorumError(
                    "too few locations have all the older data that this point needs "
                    f"({'; '.join(self._beyond_healing.values())}); the next try stores anew what "
                    "is good nowhere"
                )

    def _heal(self, lane: Lane) -> None:
        for x in self._gaps(lane):
            # A location that failed in this job is asked only for what no other has.
            others = sorted(
                (other for other in self._fanout.lanes if other is not lane),
                key=lambda other: other.result.phase is LocationPhase.FAILED,
            )
            try:
                stores = [other.store for other in others]
                data = get_object(stores, x.name, verified, silent=self._silent)
            except (StoreError, VaultDamageError) as error:
                # The others' fault: this one still takes what is new, and may be caught up later.
                where = lane.store.location
                self._beyond_healing[lane] = f"{x.name} cannot be copied to {where}: {error}"
                return
            try:
                put_object(lane.store, x.name, data, x.digest)
            except StoreError as error:
                self._fanout.end(lane, LocationPhase.FAILED, f"older data is missing: {error}")
                return
            self._older[lane].add(x)

    def _conclude(self, name: str) -> None:
        for lane in self._fanout.lanes:
            if name in lane.confirmed:
                self._fanout.end(lane, LocationPhase.COMMITTED)
            elif gaps := self._gaps(lane):
                why = f"{len(gaps)} older objects are missing there; it is caught up by copying"
                self._fanout.end(lane, LocationPhase.LAGGING, why)
            else:
                why = "it was not done when the others were; it is caught up by copying"
                self._fanout.end(lane, LocationPhase.LAGGING, why)


def look_around(
    marks: Marks, store: Store, manifest: str, needed: Sequence[Needed], seconds: float
) -> None:
    """Look at a location, the last thing before it gets a manifest.

    The marks first: a collection takes them away last, so what is not marked any more and is gone
    is missing from a listing that begins later.

    Args:
        marks: reads them.
        store: the location.
        manifest: its name.
        needed: all that it needs.
        seconds: how long ago the location was listed; see `FRESH_SECONDS`.

    Raises:
        VaultError: something that the manifest needs is marked there, or is not there any more.
        StoreError: the location does not answer.
    """
    marked = marks.look([store])
    if (why := marked.unanswered.get(store.location)) is not None:
        raise TransientError(f"its marks cannot be listed: {why}", location=store.location)
    marked.refuse(manifest, (x.name for x in needed))
    if seconds <= FRESH_SECONDS:
        return
    there = Holdings([store])
    if (why := there.unanswered.get(store.location)) is not None:
        raise TransientError(why, location=store.location)
    gone = [x.name for x in needed if not there.at(store.location, x.digest, x.size)]
    if gone:
        raise VaultError(
            f"{len(gone)} objects that {manifest} needs were removed from {store.location} meanwhile "
            f"({gone[0]} is the first); the next try stores them anew"
        )


def verified(name: str, data: bytes) -> bytes:
    """Give whole bytes back if they are those of their name.

    Raises:
        VaultDamageError: they are not.
    """
    verify(name, data)
    return data


def closure(
    stores: Sequence[Store],
    refs: Iterable[IndexRef],
    silent: dict[str, TransientError] | None = None,
) -> list[Needed]:
    """Give all that these indexes need and the indexes themselves, packs first; needs no key.

    `silent` is as for `get_object`.

    Raises:
        VaultDamageError: an index is good nowhere.
        StoreError: no location answers.
    """
    silent = {} if silent is None else silent
    packs: dict[str, Needed] = {}
    indexes: dict[str, Needed] = {}
    for ref in refs:
        for pack in get_object(stores, ref.name, plain_packs, silent=silent):
            packs[pack.name] = Needed(pack.name, pack.digest, pack.size)
        indexes[ref.name] = Needed(ref.name, ref.digest, ref.size)
    return [*packs.values(), *indexes.values()]
