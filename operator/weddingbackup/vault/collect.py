"""Removes what no kept recovery point needs, in two phases a grace apart. Needs no key.

**Mark** says which points have expired, and which packs and indexes no kept point needs; **sweep**
looks at everything again once the mark is a grace old, and removes what still nobody needs. At each
location manifests go first, and what a manifest needs that cannot be removed there stays there: so
wherever a manifest is, all is that it needs, whenever this is killed. Why no writer is harmed:
docs/decisions/0019-marks-before-deletion.md.

Memory: some 200 bytes for each pack and index of the vault, however many locations hold it, and
eight indexes at a time.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from weddingbackup.rules.retention import keep
from weddingbackup.stores.errors import DeniedError, StoreError
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.errors import QuorumError, VaultDamageError, VaultError
from weddingbackup.vault.garbage import FOLDERS, OBJECT, Listing, Objects
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.marks import (
    FENCES,
    MARKS,
    MOST_NAMES,
    Fence,
    Marks,
    encode_mark,
    marked_at,
)
from weddingbackup.vault.names import (
    INDEXES,
    PACKS,
    SNAPSHOTS,
    base_name,
    snapshot_job,
)
from weddingbackup.vault.objects import digest, get_object
from weddingbackup.vault.parallel import Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from weddingbackup.resources.tasks import Kept
    from weddingbackup.rules.retention import Decision
    from weddingbackup.stores.api import ObjectInfo, Store
    from weddingbackup.stores.errors import TransientError
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.manifest import IndexRef

_CONNECTIONS = 8
_BATCH = 512
_DIGEST_SIZE = 32
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be kept, and how careful to be.

    Attributes:
        kept: the policy's wish.
        quorum: the smallest that any point of the vault was written with: all locations but
            quorum - 1 have to answer.
        grace: between mark and sweep. Longer than any backup takes: what a running one has stored
            and no point names yet is younger than this.
        pins: manifests of points to keep.
        lossy: manifests of points that are known to have lost something.
    """

    kept: Kept
    quorum: int
    grace: timedelta = timedelta(hours=24)
    pins: Collection[str] = ()
    lossy: Collection[str] = ()


class UnknownNeedsError(VaultError):
    """What a point needs that stays cannot be told, so nothing can be said to be unneeded."""


class Told(NamedTuple):
    """One object at one location, or one point that stays (then `location` is ""), and why."""

    location: str
    name: str
    size: int
    why: str


@dataclass(slots=True)
class CollectResult:
    """What was removed and what will be.

    Attributes:
        points: expired ones that are gone wherever there was an answer.
        objects: removed, at all locations together.
        bytes: of those.
        locked: objects that a location did not let go: a lock, or a right that is missing.
        marked: objects that were marked now, each counted once.
        kept: points that stay.
        failed: location -> why the sweep ended there before its time; it is tried again.
    """

    points: int = 0
    objects: int = 0
    bytes: int = 0
    locked: int = 0
    marked: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def collect(
    stores: Sequence[Store],
    remove: Callable[[str, str], None],
    wish: Wish,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
    random: Callable[[int], bytes] = os.urandom,
    dry_run: bool = False,
    tell: Callable[[Told], None] = lambda _: None,
) -> CollectResult:
    """Sweep what was marked a grace ago, then mark anew.

    Args:
        stores: the vault at all locations that it may be at.
        remove: takes (location, name) and removes an object there; DeniedError: it is locked.
        wish: what to keep.
        clock: tells the time.
        monotonic: seconds, for the fence.
        random: gives so many random bytes.
        dry_run: remove and mark nothing, only tell.
        tell: is told of each object that is removed, or would be marked, and each point that stays.

    Raises:
        QuorumError: too few locations answer to see every committed point.
        UnknownNeedsError: what a point needs that stays cannot be told; nothing was removed.
        FencedError: another collection has begun.
    """
    run = _Collection(stores, remove, wish, clock, tell, dry_run=dry_run)
    try:
        run.sweep(lambda: Fence(stores, random(_DIGEST_SIZE), clock=monotonic))
    except UnknownNeedsError:
        # It may be the need of a point that has expired since the mark: the next mark names it.
        run.mark()
        raise
    run.mark()
    return run.result


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a sweep is to do at each location.

    Attributes:
        stores: who answers.
        gone: expired points that were marked, by their manifests' names.
        doomed: packs and indexes that nothing needs that stays.
        marks: names of those that are done with it.
        fence: None: nothing is removed, only told.
    """

    stores: Sequence[Store]
    gone: dict[str, Point]
    doomed: Objects
    marks: frozenset[str]
    fence: Fence | None


class _Collection:
    """One run."""

    def __init__(
        self,
        stores: Sequence[Store],
        remove: Callable[[str, str], None],
        wish: Wish,
        clock: Callable[[], datetime],
        tell: Callable[[Told], None],
        *,
        dry_run: bool,
    ) -> None:
        self._stores = stores
        self._remove = remove
        self._wish = wish
        self._clock = clock
        self._tell = tell
        self._dry_run = dry_run
        self._needed = max(1, len(stores) - wish.quorum + 1)
        self._patience = Patience(self._needed, _PATIENCE_SECONDS)
        self._marks = Marks()
        self._packs: dict[IndexRef, bytes] = {}
        self._lock = threading.Lock()
        self.result = CollectResult()

    def sweep(self, begin: Callable[[], Fence]) -> None:
        """Remove what was marked a grace ago and is needed by nothing that stays."""
        marked = self._marks.look(self._stores, self._patience)
        ripe = self._clock() - self._wish.grace
        if not any(marked_at(name) <= ripe for name in marked.holders):
            return
        # Before anything is looked at: whoever looked earlier must not go by it any more.
        fence = None if self._dry_run else begin()
        marked = self._marks.look(self._stores, self._patience)
        old = frozenset(name for name in marked.holders if marked_at(name) <= ripe)
        answering = [store for store in self._stores if store.location not in marked.unanswered]
        stores, decisions = self._look(answering)
        here = {store.location for store in stores}
        # A writer looks at the marks where it stores its manifest. So a mark says something only
        # where so many have it, of those that answer, that no quorum of a writer's avoids them.
        counting = [
            mark
            for mark in marked.marks
            if mark.name in old and len(marked.holders[mark.name] & here) >= self._needed
        ]
        gone = {
            d.point.manifest: d.point
            for d in decisions
            if not d.kept and any(d.point.manifest in mark for mark in counting)
        }
        doomed = Objects.of(counting)
        if doomed:
            staying = (d.point for d in decisions if d.point.manifest not in gone)
            doomed.spare(self._closure(stores, staying))
        plan = _Plan(stores, gone, doomed, old, fence)
        # Each location by itself: one that fails holds up no other.
        answers = ask_all(stores, lambda s: self._sweep_at(s, plan), Patience(len(stores)))
        left: set[str] = set()
        for store, found in zip(stores, answers, strict=True):
            if isinstance(found, (StoreError, VaultError)):
                self.result.failed[store.location] = str(found)
                left |= gone.keys()
            else:
                left |= found
        self.result.points = len(gone.keys() - left)

    def mark(self) -> None:
        """Mark what nothing needs that stays, unless a mark that counts names it already."""
        listing = Listing()
        answers = ask_all(self._stores, listing.add, self._patience)
        listing.close()
        stores = [
            s for s, x in zip(self._stores, answers, strict=True) if not isinstance(x, StoreError)
        ]
        marked = self._marks.look(stores, self._patience)
        stores, decisions = self._look([s for s in stores if s.location not in marked.unanswered])
        self.result.kept = sum(decision.kept for decision in decisions)
        for decision in decisions:
            if decision.kept:
                self._tell(Told("", decision.point.manifest, 0, ", ".join(decision.reasons)))
        doomed = listing.older(self._clock() - self._wish.grace)
        doomed.spare(self._closure(stores, (d.point for d in decisions if d.kept)))
        here = {store.location for store in stores}
        counting = [m for m in marked.marks if len(marked.holders[m.name] & here) >= self._needed]
        for mark in counting:
            doomed.spare_all(mark)
        expired = [
            d.point.manifest
            for d in decisions
            if not d.kept and not any(d.point.manifest in mark for mark in counting)
        ]
        self.result.marked = len(expired) + len(doomed)
        if self._dry_run:
            for store in stores:
                for info in _objects(store, {*expired}, doomed):
                    self._tell(
                        Told(store.location, info.name, info.size, f"mark: {_why(info.name)}")
                    )
            return
        names = iter([*expired, *doomed.names()])
        while part := list(islice(names, MOST_NAMES)):
            # The time that counts is when writers can see it, not when it was decided.
            self._store_mark(stores, *encode_mark(self._clock(), part))

    def _look(self, stores: Sequence[Store]) -> tuple[list[Store], list[Decision[Point]]]:
        """Give who answers, and what becomes of each point that they hold.

        Raises:
            QuorumError: a committed point may be out of sight.
            UnknownNeedsError: a manifest cannot be read.
        """
        found = catalog(stores, patience=self._patience)
        if len(found.answered) < self._needed:
            silent = {s.location for s in self._stores} - found.answered
            raise QuorumError(
                f"{len(found.answered)} of {len(self._stores)} locations answer, and "
                f"{self._needed} have to, or a committed point could be out of sight (no answer: "
                f"{', '.join(sorted(silent))}); nothing was removed"
            )
        if found.unreadable:
            raise UnknownNeedsError(
                f"no location that answers has a good copy of {found.unreadable[0]}, so it cannot be "
                "told what it needs, and nothing is removed; have a check repair it"
            )
        wish = self._wish
        decisions = keep(
            found.points,
            wish.kept,
            now=self._clock(),
            grace=wish.grace,
            pins=wish.pins,
            lossy=wish.lossy,
        )
        return [store for store in stores if store.location in found.answered], decisions

    def _closure(
        self, stores: Sequence[Store], points: Iterable[Point]
    ) -> Iterator[tuple[str, bytes]]:
        """Give (folder, SHA-256) of all indexes and packs that these points need.

        Raises:
            UnknownNeedsError: an index cannot be read.
        """
        refs = {ref for point in points for source in point.sources for ref in source.indexes}
        silent: dict[str, TransientError] = {}

        def packs(ref: IndexRef) -> bytes:
            known = self._packs.get(ref)
            if known is None:
                found = get_object(stores, ref.name, plain_packs, silent=silent)
                known = self._packs[ref] = b"".join(pack.digest for pack in found)
            return known

        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="index") as pool:
            try:
                for ref, joined in zip(refs, pool.map(packs, refs), strict=True):
                    yield INDEXES, ref.digest
                    for start in range(0, len(joined), _DIGEST_SIZE):
                        yield PACKS, joined[start : start + _DIGEST_SIZE]
            except (StoreError, VaultDamageError) as error:
                raise UnknownNeedsError(
                    f"what a point needs that stays cannot be told, so nothing is removed ({error}); "
                    "have a check repair it"
                ) from error

    def _sweep_at(self, store: Store, plan: _Plan) -> set[str] | VaultError:
        """Sweep one location; gives the manifests of expired points that it does not let go."""
        manifests = (x for x in store.list(SNAPSHOTS) if base_name(x.name) in plan.gone)
        stuck = {base_name(name) for name in self._remove_all(store, manifests, plan.fence)}
        spared = Objects()
        try:
            # Where a lock holds a manifest, what it needs stays with it.
            spared.add(self._closure(plan.stores, (plan.gone[name] for name in stuck)))
        except UnknownNeedsError as error:
            return error
        for folder in FOLDERS:
            listed = store.list(folder)
            unneeded = (x for x in listed if x.name in plan.doomed and x.name not in spared)
            self._remove_all(store, unneeded, plan.fence)
        if plan.fence is not None:
            # Last: as long as anything is there that they name, they have to be.
            for info in [*store.list(MARKS), *store.list(FENCES)]:
                if info.name in plan.marks or plan.fence.older(info.name):
                    plan.fence.hold()
                    self._remove(store.location, info.name)
        return stuck

    def _remove_all(
        self, store: Store, found: Iterator[ObjectInfo], fence: Fence | None
    ) -> list[str]:
        """Remove objects of one location; gives the names of those that it does not let go.

        Raises:
            StoreError: the location fails.
            FencedError: another collection has begun.
        """

        def remove(info: ObjectInfo) -> bool:
            assert _collectable(info.name), info.name
            if fence is not None:
                fence.hold()
                try:
                    self._remove(store.location, info.name)
                except DeniedError:
                    return False
            return True

        locked = []
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="remove") as pool:
            while batch := list(islice(found, _BATCH)):
                for info, removed in zip(batch, pool.map(remove, batch), strict=True):
                    if not removed:
                        locked.append(info.name)
                        continue
                    with self._lock:
                        self.result.objects += 1
                        self.result.bytes += info.size
                        self._tell(Told(store.location, info.name, info.size, _why(info.name)))
        with self._lock:
            self.result.locked += len(locked)
        return locked

    def _store_mark(self, stores: Sequence[Store], name: str, data: bytes) -> None:
        sha256 = digest(data)
        answers = ask_all(stores, lambda s: s.put(name, data, sha256=sha256), self._patience)
        if sum(answer is None for answer in answers) < self._needed:
            failed = "; ".join(str(answer) for answer in answers if answer is not None)
            raise QuorumError(
                f"the mark {name} could not be stored at {self._needed} locations, and counts for "
                f"nothing; the next collection marks anew ({failed})"
            )


def _objects(store: Store, manifests: Collection[str], doomed: Objects) -> Iterator[ObjectInfo]:
    """Those of a location's objects that are these, or replacements of them."""
    yield from (x for x in store.list(SNAPSHOTS) if base_name(x.name) in manifests)
    for folder in FOLDERS:
        yield from (x for x in store.list(folder) if x.name in doomed)


def _collectable(name: str) -> bool:
    """Whether a collection may ever remove it: keys, journals and the format it may not."""
    return OBJECT.fullmatch(name) is not None or snapshot_job(base_name(name)) is not None


def _why(name: str) -> str:
    return "expired" if name.startswith(SNAPSHOTS) else "no point needs it"
