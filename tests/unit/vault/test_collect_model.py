"""Writers, collectors, copiers and repairers that run over each other, while the clock moves, locations go away and bytes rot.

One may begin in the middle of another, at any of its store operations; any may be killed. Objects
are damaged or lost, at one location at a time: at another one only when nothing is left of the
damage before. After each step, with all locations back: wherever a manifest is, all is that it
needs, save for what was damaged and is not mended yet; every committed point comes back, byte for
byte; and none is missing that the wish keeps.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.campaigns import examples
from tests.unit.vault.collecting import GRACE, DatedStore, Vault
from tests.unit.vault.test_crash import Killed
from weddingbackup.resources.tasks import Kept
from weddingbackup.rules.points import Standing
from weddingbackup.rules.retention import keep
from weddingbackup.stores.errors import StoreError, TransientError
from weddingbackup.vault import commit
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import accept, examine
from weddingbackup.vault.collect import Wish
from weddingbackup.vault.commit import closure
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.names import base_name
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.repair import repair

if TYPE_CHECKING:
    from weddingbackup.vault.results import BackupResult

KEPT = Kept(keep_last=2, daily=2)
PLACES = ("a", "b", "c")
ROTS = ("format", "keys/", "packs/", "index/", "snapshots/")

OTHERS = ("nothing", "kill", "collect", "collect twice", "write", "copy", "repair")

Step = Callable[[], None]


@dataclass(frozen=True)
class Made:
    """A point that a writer called committed, or that was seen to be."""

    manifest: str
    time: datetime
    standing: Standing = Standing.COMMITTED


class Interruption:
    """At this store operation of whoever is at work, something else happens first, and whole.

    It may take days, save where the design says that it takes minutes: from a look at the marks to
    the manifest that is stored after it, and while a mark is stored. `looks`: so many looks come
    before those that count, at all locations together; None: nobody looks for a manifest's sake.
    """

    def __init__(self, after: int, then: Step, *, long: bool, looks: int | None) -> None:
        self._left = after
        self._then = then
        self._long = long
        self._looks = looks
        self._lock = threading.Lock()

    def __call__(self, operation: str, name: str) -> None:
        with self._lock:  # who comes meanwhile waits until it is over
            if self._looks is not None and (operation, name) == ("list", "marks/"):
                self._looks -= 1
            closing = self._looks is not None and self._looks < 0
            if self._long and (closing or (operation == "put" and name.startswith("marks/"))):
                return
            self._left -= 1
            if self._left == -1:
                self._then()


class Model(RuleBasedStateMachine):
    """The promises, and what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self._fresh, commit.FRESH_SECONDS = commit.FRESH_SECONDS, -1.0  # anything may take days
        self.vault = Vault.at(*PLACES)
        self.contents: dict[str, dict[bytes, bytes]] = {}
        self.made: list[Made] = []
        self.jobs = 0
        self.harmed: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        commit.FRESH_SECONDS = self._fresh

    @initialize()
    def begin(self) -> None:
        self.write(self.vault.dated, {b"f": b"first"})

    def write(self, stores: list[DatedStore], files: dict[bytes, bytes]) -> None:
        """One backup, which may be refused."""
        self.jobs += 1
        uid = f"job-{self.jobs}"
        self.contents[uid] = files
        whole, self.vault.stores = self.vault.stores, list(stores)
        result: BackupResult | None = None
        with suppress(VaultError, StoreError):
            result = self.vault.store(files, uid)
        self.vault.stores = whole
        if result is not None:
            self.made.append(Made(result.manifest, result.point_time))

    def sweep(self, stores: list[DatedStore]) -> None:
        with suppress(VaultError, StoreError):
            self.vault.collect(Wish(KEPT, 2, GRACE), stores=stores)

    def spread(self, stores: list[DatedStore], place: int) -> None:
        """Copy the newest points to one location."""
        target = stores[place % len(stores)]
        for point in points(stores)[:3]:
            with suppress(VaultError, StoreError):
                copy_points(stores, target, [point.manifest])

    def mend(self, stores: list[DatedStore]) -> None:
        places = {store.location: store for store in stores}
        with suppress(VaultError, StoreError):
            found = examine(stores, level="full")
            repair(stores, found, remove=lambda at, name: places[at].delete(name))

    def shared(self, interruption: Interruption, away: int | None) -> list[DatedStore]:
        """The locations as one at work sees them: interrupted, and one of them perhaps away."""
        stores = [store.shared() for store in self.vault.dated]
        for number, store in enumerate(stores):
            store.fault = no_answer if number == away else interruption
        return stores

    def other(self, what: str, hours: int) -> Step:
        """What happens in the middle of something else."""

        def then() -> None:
            self.vault.pass_(timedelta(hours=hours))
            mine = [store.shared() for store in self.vault.dated]
            if what == "kill":
                raise Killed
            if what == "collect":
                self.sweep(mine)
            elif what == "collect twice":
                self.sweep(mine)
                self.vault.pass_(GRACE + timedelta(hours=1))
                self.sweep(mine)
            elif what == "write":
                self.write(mine, content(hours))
            elif what == "copy":
                self.spread(mine, hours)
            elif what == "repair":
                self.mend(mine)

        return then

    def at_work(self, what: str, after: int, other: str, hours: int, away: int | None) -> None:
        present = len(PLACES) - (away is not None)
        interruption = Interruption(
            after,
            self.other(other, hours),
            long=hours > 0 or other == "collect twice",
            looks={"write": present, "copy": 0}.get(what),
        )
        stores = self.shared(interruption, away)
        with suppress(Killed):
            if what == "write":
                self.write(stores, content(after + hours))
            elif what == "collect":
                self.sweep(stores)
            elif what == "repair":
                self.mend(stores)
            else:
                self.spread(stores, after)
        # Threads that were left behind keep the places that they had.
        self.vault.survive()

    @rule(
        what=st.sampled_from(["write", "write", "collect", "collect", "copy", "repair"]),
        after=st.integers(0, 90),
        other=st.sampled_from(OTHERS),
        hours=st.sampled_from([0, 1, 13, 25]),
        away=st.sampled_from([None, None, 0, 1, 2]),
    )
    def something(self, what: str, after: int, other: str, hours: int, away: int | None) -> None:
        self.at_work(what, after, other, hours, away)

    @rule(hours=st.sampled_from([1, 13, 25, 49]))
    def time_passes(self, hours: int) -> None:
        self.vault.pass_(timedelta(hours=hours))

    @rule(
        place=st.integers(0, len(PLACES) - 1),
        kind=st.sampled_from(ROTS),
        number=st.integers(0, 99),
        gone=st.booleans(),
    )
    def something_rots(self, place: int, kind: str, number: int, gone: bool) -> None:
        store = self.vault.dated[place]
        if {location for location, _ in self.harmed} - {store.location}:
            return
        names = sorted(name for name in store.objects if name.startswith(kind))
        if names:
            name = names[number % len(names)]
            self.harmed.add((store.location, base_name(name)))
            if gone:
                del store.objects[name]
            else:
                store.objects[name] = store.objects[name][:-1] + b"?"

    def heal(self) -> None:
        """Forget the damage of which nothing is left: mended, or gone from everywhere."""
        for location, name in list(self.harmed):
            good = {s.location for s in self.vault.dated if readable(s, name)}
            if location in good or not good:
                self.harmed.discard((location, name))

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.heal()
        everywhere = points(self.vault.stores)
        for store in self.vault.dated:
            for point in points([store]):
                refs = {ref for source in point.sources for ref in source.indexes}
                lacking = {
                    need.name
                    for need in closure(self.vault.stores, refs)
                    if not readable(store, need.name)
                }
                assert not {(store.location, name) for name in lacking} - self.harmed
        for point in everywhere:
            if point.committed or {name for _, name in self.harmed} & {point.manifest}:
                assert self.vault.back(point) == self.contents[point.plain.job_uid]
        # A repair copies a manifest that a dead writer left at one location: so its point is committed, too.
        made = {point.manifest for point in self.made}
        self.made += [
            Made(p.manifest, p.time) for p in everywhere if p.committed and p.manifest not in made
        ]
        harmed = {name for _, name in self.harmed}
        seen = {
            p.manifest
            for p in everywhere
            if p.standing is not Standing.UNCOMMITTED or p.manifest in harmed
        }
        wanted = keep(self.made, KEPT, now=self.vault.now, grace=GRACE)
        assert not [d.point for d in wanted if d.kept and d.point.manifest not in seen]


def readable(store: DatedStore, name: str) -> bool:
    """Whether readers come to a good copy there."""
    try:
        get_object([store.shared()], name, accept)
    except (VaultError, StoreError):
        return False
    return True


def content(number: int) -> dict[bytes, bytes]:
    """Files of which some are those of other points, too."""
    return {
        b"shared": random.Random(number % 2).randbytes(900),
        b"own": random.Random(number).randbytes(700),
    }


def no_answer(operation: str, name: str) -> None:
    raise TransientError(f"no answer to {operation} {name}", location="away")


TestModel = Model.TestCase
TestModel.settings = examples(12, 1500, steps=(10, 25))
