"""Moves a vault's data to cheaper tiers, and back. Needs no key: manifests and indexes say in plain what is data.

Each look decides anew from what is listed (see rules/tiers.py), and each step is one request for one
object: killed anywhere, the next run goes on. Besides a collection at work nothing breaks: what it
has removed is missing, and S3's copy of what it removes just then is found by the next one.

Memory: some 200 bytes for each pack.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from weddingbackup.rules.tiers import Lying, Step, decide
from weddingbackup.stores.errors import (
    ArchivedError,
    DeniedError,
    MissingError,
    StoreError,
)
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.errors import QuorumError, VaultDamageError, VaultError
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.names import PACKS, digest_of
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.parallel import Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from weddingbackup.resources.words import Provider, Tier
    from weddingbackup.rules.tiers import Decision, Wish
    from weddingbackup.stores.api import Store
    from weddingbackup.stores.errors import TransientError
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.manifest import IndexRef

_CONNECTIONS = 8
_BATCH = 512


class Mover(Protocol):
    """Whoever may move objects at a location; see `stores.api.Keeper`."""

    def set_tier(self, name: str, tier: Tier) -> None:
        """Have an object lie in a tier."""

    def request_return(self, name: str) -> None:
        """Ask an archived object back."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A location whose objects may be moved.

    Attributes:
        wish: where they should lie; None: nothing is moved there.
        mover: opens who moves them, when the first is moved.
    """

    provider: Provider
    mover: Callable[[], Mover]
    wish: Wish | None = None


class Told(NamedTuple):
    """One object at one location, and what is done with it."""

    location: str
    name: str
    size: int
    tier: Tier | None
    decision: Decision


@dataclass(slots=True)
class TierResult:
    """What was moved.

    Attributes:
        moved: objects and bytes, by the tier that they are in now.
        asked: objects that were asked back; a later run moves them.
        waiting: those that had been asked back, and are not there yet.
        locked: objects that a location did not let go: a lock, or a right that is missing.
        failed: location -> why it was not done to the end; a later run goes on.
    """

    moved: Counter[Tier] = field(default_factory=Counter)
    bytes: int = 0
    asked: int = 0
    waiting: int = 0
    locked: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class UnknownDataError(VaultError):
    """It cannot be told what is data, or what needs it; nothing was moved."""


def tier(
    stores: Sequence[Store],
    shelves: Mapping[str, Shelf],
    *,
    quorum: int = 1,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    dry_run: bool = False,
    tell: Callable[[Told], None] = lambda _: None,
) -> TierResult:
    """Bring each location nearer to its wish.

    Args:
        stores: the vault at all locations that it may be at.
        shelves: by location; who has none here has no tiers.
        quorum: the smallest that any point was written with: all locations but that less one have
            to answer, or a recent point could be out of sight.
        clock: tells the time.
        dry_run: only tell.
        tell: is told of each step, before it is done.

    Raises:
        QuorumError: too few locations answer.
        UnknownDataError: a manifest or an index cannot be read.
    """
    needed = max(1, len(stores) - quorum + 1)
    found = catalog(stores, patience=Patience(needed))
    if len(found.answered) < needed:
        silent = ", ".join(sorted({s.location for s in stores} - found.answered))
        raise QuorumError(
            f"{len(found.answered)} of {len(stores)} locations answer, and {needed} have to, or a "
            f"recent point could be out of sight (no answer: {silent}); nothing was moved"
        )
    if found.unreadable:
        raise UnknownDataError(
            f"no location that answers has a good copy of {found.unreadable[0]}, so it cannot be told "
            "what it needs, and nothing was moved; have a check repair it"
        )
    here = [store for store in stores if store.location in found.answered]
    run = _Run(_data(here, found.points), clock(), tell, dry_run=dry_run)
    moving = [s for s in here if (shelf := shelves.get(s.location)) and shelf.wish]
    # Each location by itself: one that fails holds up no other.
    answers = ask_all(moving, lambda s: run.serve(s, shelves[s.location]), Patience(len(moving)))
    for store, answer in zip(moving, answers, strict=True):
        if isinstance(answer, StoreError):
            run.result.failed[store.location] = str(answer)
    return run.result


def _data(stores: Sequence[Store], points: Sequence[Point]) -> dict[bytes, datetime]:
    """Give each pack of data that a point needs, with the time of the newest such point.

    What is told in plain is whole indexes: a point that uses one chunk needs all packs of its index.
    """
    silent: dict[str, TransientError] = {}
    newest: dict[bytes, datetime] = {}
    trees: set[bytes] = set()
    seen: set[IndexRef] = set()
    try:
        for point in points:  # the newest first
            for source in point.sources:
                for ref in set(source.indexes) - seen:
                    seen.add(ref)
                    packs = get_object(stores, ref.name, plain_packs, silent=silent)
                    if ref in source.tree_indexes:
                        trees.update(pack.digest for pack in packs)
                    else:
                        for pack in packs:
                            newest.setdefault(pack.digest, point.time)
    except (StoreError, VaultDamageError) as error:
        raise UnknownDataError(
            f"what a point needs cannot be told, and nothing was moved ({error}); have a check repair it"
        ) from error
    # An index that one point names among its data may be another's tree.
    for digest in trees:
        newest.pop(digest, None)
    return newest


class _Run:
    """One run over all locations."""

    def __init__(
        self,
        needed: Mapping[bytes, datetime],
        now: datetime,
        tell: Callable[[Told], None],
        *,
        dry_run: bool,
    ) -> None:
        self._needed = needed
        self._now = now
        self._tell = tell
        self._dry_run = dry_run
        self._lock = threading.Lock()
        self.result = TierResult()

    def serve(self, store: Store, shelf: Shelf) -> None:
        """Do all that is to be done at one location.

        Raises:
            StoreError: it does not answer, or cannot do it at all.
        """
        steps = self._steps(store, shelf)
        mover: Mover | None = None
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix=f"tier-{store.location}") as pool:
            while batch := list(islice(steps, _BATCH)):
                for told in batch:
                    self._tell(told)
                if self._dry_run:
                    for told in batch:
                        self._count(told)
                    continue
                mover = mover or shelf.mover()
                for done in [pool.submit(self._do, mover, told) for told in batch]:
                    done.result()

    def _steps(self, store: Store, shelf: Shelf) -> Iterator[Told]:
        assert shelf.wish is not None
        for info in store.list(PACKS):
            lying = Lying(
                info.size,
                self._needed.get(digest_of(info.name) or b""),
                info.tier,
                info.since,
                info.at_hand,
                info.returning,
            )
            decision = decide(shelf.provider, lying, shelf.wish, now=self._now)
            if decision is not None:
                yield Told(store.location, info.name, info.size, info.tier, decision)

    def _do(self, mover: Mover, told: Told) -> None:
        try:
            match told.decision.step:
                case Step.MOVE:
                    mover.set_tier(told.name, told.decision.tier)
                case Step.RETURN:
                    mover.request_return(told.name)
        except MissingError:  # collected meanwhile
            return
        except ArchivedError:  # somebody else archived it meanwhile
            return
        except DeniedError:
            with self._lock:
                self.result.locked += 1
            return
        self._count(told)

    def _count(self, told: Told) -> None:
        with self._lock:
            match told.decision.step:
                case Step.MOVE:
                    self.result.moved[told.decision.tier] += 1
                    self.result.bytes += told.size
                case Step.RETURN:
                    self.result.asked += 1
                case Step.WAIT:
                    self.result.waiting += 1
