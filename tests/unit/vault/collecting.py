"""A vault in memory whose objects have ages, and whose collections run by a clock that a test moves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.unit.vault.fakes import (
    START,
    MemorySource,
    MemoryStore,
    MemoryTarget,
    World,
    rng,
)
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import Kept
from weddingbackup.stores.errors import DeniedError
from weddingbackup.vault.catalog import Point, points
from weddingbackup.vault.collect import CollectResult, Told, Wish, collect
from weddingbackup.vault.commit import closure
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore
from weddingbackup.vault.write import JobFacts, SourceInput, backup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from weddingbackup.stores.api import ObjectInfo
    from weddingbackup.vault.results import BackupResult

GRACE = timedelta(hours=24)
HOUR = timedelta(hours=1)


class DatedStore(MemoryStore):
    """Knows when each object was stored, removes objects, and locks those that it is told to."""

    def __init__(self, location: str, clock: Callable[[], datetime]) -> None:
        super().__init__(location)
        self.clock = clock
        self.stored: dict[str, datetime] = {}
        self.locked: set[str] = set()

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        super().put(name, data, sha256=sha256)
        self.stored.setdefault(name, self.clock())

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in super().list(prefix):
            yield replace(info, modified=self.stored.get(info.name))

    def delete(self, name: str) -> None:
        self._fail("delete", name)
        if name in self.locked:
            raise DeniedError("locked", location=self.location, name=name)
        with self._lock:
            self.objects.pop(name, None)
            self.stored.pop(name, None)

    def shared(self) -> DatedStore:
        """The same place for somebody else, with faults of its own."""
        twin = DatedStore(self.location, self.clock)
        twin.objects, twin.stored, twin.locked = self.objects, self.stored, self.locked
        twin._lock = self._lock
        return twin

    def copy(self) -> DatedStore:
        twin = DatedStore(self.location, self.clock)
        twin.objects, twin.stored = dict(self.objects), dict(self.stored)
        twin.locked = set(self.locked)
        return twin


@dataclass
class Vault(World):
    """A vault at some locations, at a moment."""

    now: datetime = START
    moved: float = 0.0
    dated: list[DatedStore] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def at(cls, *locations: str, quorum: int = 2) -> Vault:
        world = cls([], quorum=quorum)
        world.use([DatedStore(name, lambda: world.now) for name in locations])
        return world

    def use(self, stores: Sequence[DatedStore]) -> None:
        """Go on with these stores."""
        self.dated = list(stores)
        self.stores = list(stores)

    def survive(self) -> None:
        """Go on after a kill: threads that are left keep the old stores."""
        self.use([store.copy() for store in self.dated])

    def pass_(self, time: timedelta) -> None:
        self.now += time

    def store(
        self, files: dict[bytes, bytes], uid: str = "", source: MemorySource | None = None
    ) -> BackupResult:
        """Make a point of these files, an hour after what was before."""
        self.pass_(HOUR)
        number = next(self._numbers)
        return backup(
            self.vault(),
            JobFacts(uid or f"job-{number}", "studio", "nightly", self.now),
            [SourceInput("photos", DataClass.PORTFOLIO, source or MemorySource(files))],
            quorum=self.quorum,
            progress=Progress(),
            clock=lambda: self.now,
            limits=self.limits,
        )

    def collect(
        self,
        wish: Wish | None = None,
        *,
        stores: Sequence[DatedStore] | None = None,
        dry_run: bool = False,
        tell: Callable[[Told], None] = lambda _: None,
        **kept: int,
    ) -> CollectResult:
        """Sweep and mark; keeps one point unless told otherwise."""
        stores = self.dated if stores is None else stores
        places = {store.location: store for store in stores}
        return collect(
            stores,
            lambda location, name: places[location].delete(name),
            wish or self.wish(**kept),
            clock=lambda: self.now,
            monotonic=self.monotonic,
            random=rng(next(self._numbers) + 10_000),
            dry_run=dry_run,
            tell=tell,
        )

    def monotonic(self) -> float:
        """Each look at the clock is a minute later: the fence is asked for anew each time."""
        self.moved += 60
        return self.moved

    def wish(self, **kept: int) -> Wish:
        return Wish(Kept(**{"keep_last": 1} | kept), quorum=self.quorum, grace=GRACE)

    def collect_twice(self, **kept: int) -> CollectResult:
        """Mark, wait, sweep."""
        self.pass_(GRACE + HOUR)
        self.collect(self.wish(**kept))
        self.pass_(GRACE)
        return self.collect(self.wish(**kept))

    def back(self, point: Point, stores: Sequence[MemoryStore] | None = None) -> dict[bytes, bytes]:
        """All files of a point."""
        target = MemoryTarget()
        restore(self.vault(stores), point, "photos", target, progress=Progress())
        return target.files

    def seen(self) -> list[str]:
        """The manifests of all committed points, the newest first."""
        return [point.manifest for point in points(self.stores) if point.committed]

    def names(self, *folders: str) -> set[str]:
        """What there is at any location."""
        return {n for store in self.dated for n in store.objects if n.startswith(folders)}

    def needed(self) -> set[str]:
        """What all points need that are seen, and their manifests."""
        found = points(self.stores)
        refs = {ref for point in found for source in point.sources for ref in source.indexes}
        return {p.manifest for p in found} | {x.name for x in closure(self.stores, refs)}

    def sound(self) -> None:
        """No location holds a manifest and lacks something that it needs."""
        for store in self.dated:
            for point in points([store]):
                refs = {ref for source in point.sources for ref in source.indexes}
                needed = closure([store], refs)
                assert not [x.name for x in needed if x.name not in store.objects]
