"""Takes the one manifest of a backup, and stores it where everything is that it needs.

A worker never gets a signed request for a manifest. So a manifest at a location says that somebody
who needs not be trusted less than the operator has looked: its indexes verify, their packs are
listed with their sizes. That takes no key.

1. The manifest is announced in the BackupJob's status, before any location gets it. Whatever is
   announced already wins. Only another pod may announce another one, and only where the first can no
   longer be committed: a worker that died between announcing and storing must not block its successor,
   and one that shows two at once must not get both stored.
2. The location is looked through, and only then gets it: nothing that it needs may be missing there, or
   be marked to be removed (vault/marks.py).

Killed between the two: the same worker asks again, and its successor finds the manifest at a
location and adopts it, or announces its own over one that lies nowhere.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from weddingbackup.broker import allow
from weddingbackup.broker.keeping import Keeping, Vaulted
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.backup_job import Announced
from weddingbackup.resources.broker import LARGEST_MANIFEST, RefusalCode
from weddingbackup.rules.points import is_ahead
from weddingbackup.rules.times import rfc3339
from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import CorruptError, MissingError, StoreError
from weddingbackup.stores.retry import Retry
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.holdings import Holdings
from weddingbackup.vault.index import PackRef, plain_packs
from weddingbackup.vault.manifest import IndexRef, Plain, read_plain
from weddingbackup.vault.marks import MarkedError, Marks
from weddingbackup.vault.names import LAST_REPLACEMENT, base_name, replacement
from weddingbackup.vault.objects import put_object

_STORE_SECONDS = 60.0
_STORED_BY = timedelta(seconds=2 * _STORE_SECONDS)
"""After which a manifest that was announced is stored or never will be: both clocks and a put allowed for."""
_RENEWED = timedelta(seconds=15)
"""An older announcement is made anew before anything is stored by it: `_STORED_BY` counts from there."""
_TRIES = 3
_LOOK_SECONDS = 20.0
_RETRY = Retry(deadline_seconds=15)
_SHOWN = 3
_MOST_INDEXES = 4096
_LARGEST_INDEX = 32 << 20
"""Bytes; a writer begins another one long before."""

_MARKS = Marks()
"""Of all vaults: their names carry their hashes, so what one says is said for good."""


class Announcements(Protocol):
    """Remembers, for each backup, the manifest that may be stored for it; one word for all brokers."""

    async def read(self, scope: Scope) -> Announced | None:
        """The one that is announced."""

    async def replace(self, scope: Scope, old: Announced | None, new: Announced) -> bool:
        """Announce another one; False where `old` is no longer the one that is announced."""


async def store(
    scope: Scope,
    location: str,
    name: str,
    data: bytes,
    *,
    keeping: Keeping,
    told: Announcements,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Store a backup's manifest at one location.

    Raises:
        RefusedError: it is not this job's, or another one is announced, or something is missing there.
        StoreError: the location does not take it.
    """
    digest = allow.manifest(scope, name)
    if len(data) > LARGEST_MANIFEST or hashlib.sha256(data).hexdigest() != digest:
        raise RefusedError(RefusalCode.CORRUPT, f"these are not the bytes of {name}")
    plain = _read(scope, name, data, now())
    place = allow.location(scope, location)
    mine = Announced(name=name, sha256=digest, pod=scope.pod_uid, at=now())
    await _announce(scope, mine, keeping, told)

    def put(vaulted: Vaulted) -> None:
        _store(vaulted, plain, name, data)

    await keeping.run(
        place, scope.vault.prefix, put, organisation=scope.namespace, seconds=_STORE_SECONDS
    )


def _read(scope: Scope, name: str, data: bytes, now: datetime) -> Plain:
    try:
        vault_id, plain = read_plain(name, data)
    except VaultDamageError as error:
        raise RefusedError(RefusalCode.CORRUPT, str(error)) from None
    if (
        vault_id.hex() != scope.vault.id
        or plain.job_uid != scope.owner.uid
        or plain.quorum != scope.quorum
        or not scope.planned >= {*plain.locations}
    ):
        raise RefusedError(
            RefusalCode.NOT_YOURS,
            f"{name} speaks of another vault, job, quorum or other locations than this job's",
        )
    if is_ahead(max(plain.started_at, plain.point_time), now):
        raise RefusedError(
            RefusalCode.BAD_REQUEST,
            f"{name} says to be of {rfc3339(plain.point_time)}, and it is {rfc3339(now)}: look to the "
            "clocks of the worker's node and of the broker's",
        )
    return plain


async def _announce(scope: Scope, mine: Announced, keeping: Keeping, told: Announcements) -> None:
    for _ in range(_TRIES):
        old = await told.read(scope)
        same = old is not None and (old.name, old.sha256) == (mine.name, mine.sha256)
        if old is not None and same and mine.at - old.at < _RENEWED:
            return
        if old is not None and not same:
            await _may_replace(scope, old, mine, keeping)
        if await told.replace(scope, old, mine):
            return
    raise RefusedError(RefusalCode.TRANSIENT, "the manifest could not be announced", retry_after=1)


async def _may_replace(scope: Scope, old: Announced, mine: Announced, keeping: Keeping) -> None:
    """Let pass where nobody stores the old one any more, and no quorum can ever hold it."""
    wait = (old.at + _STORED_BY - mine.at).total_seconds()
    if old.pod != mine.pod and wait > 0:
        raise RefusedError(
            RefusalCode.TRANSIENT,
            f"{old.name} was announced for this job a moment ago, and may be on its way yet",
            retry_after=wait,
        )
    if old.pod == mine.pod or not await _is_nowhere(scope, old.name, keeping):
        raise RefusedError(
            RefusalCode.EXISTS, f"{old.name} was announced for this job, which makes no other"
        )


async def _is_nowhere(scope: Scope, name: str, keeping: Keeping) -> bool:
    """Whether so many locations lack a manifest that no quorum can ever hold it."""

    def lacks(vaulted: Vaulted) -> bool:
        return not any(base_name(info.name) == name for info in vaulted.list(name))

    async def ask(location: str) -> bool:
        place = scope.locations[location]
        try:
            return await keeping.run(
                place,
                scope.vault.prefix,
                lacks,
                organisation=scope.namespace,
                seconds=_LOOK_SECONDS,
            )
        except (RefusedError, StoreError):
            return False

    answers = await asyncio.gather(*map(ask, scope.locations))
    # One that is registered no longer says nothing, and may hold it.
    return sum(answers) > len(scope.planned) - scope.quorum


def _store(vaulted: Vaulted, plain: Plain, name: str, data: bytes) -> None:
    store, end = vaulted.store(_RETRY), time.monotonic() + _STORE_SECONDS
    refs = {ref for source in plain.sources for ref in source.indexes}
    # Who wrote this may mean harm: what it names must fit the broker's memory, one index at a time.
    if len(refs) > _MOST_INDEXES or any(ref.size > _LARGEST_INDEX for ref in refs):
        raise RefusedError(
            RefusalCode.TOO_MUCH, f"{name} names too many indexes, or too large ones"
        )
    require = _requirement(store, name)
    require([*refs])
    for ref in refs:
        if time.monotonic() > end:  # nobody waits for it, and others need the thread
            raise RefusedError(RefusalCode.TRANSIENT, f"{vaulted.location} is too slow")
        require(_packs(store, ref))
    if time.monotonic() > end:  # another may be announced by now
        raise RefusedError(RefusalCode.TRANSIENT, f"{vaulted.location} is too slow")
    put_object(store, name, data, hashlib.sha256(data).digest())


def _requirement(store: Store, name: str) -> Callable[[Sequence[IndexRef | PackRef]], None]:
    """Look at a location: what it gives lets pass what is there, and stays.

    The marks first: a collection takes them away last, so what is not marked any more and is gone is
    missing from a listing that begins later.
    """
    marked = _MARKS.look([store])
    there = Holdings([store])
    for silent in (marked.unanswered, there.unanswered):
        if store.location in silent:
            raise RefusedError(
                RefusalCode.TRANSIENT,
                f"location {store.location} could not be looked through; the broker's log says more",
                detail=silent[store.location],
            )

    def require(needed: Sequence[IndexRef | PackRef]) -> None:
        try:
            marked.refuse(name, (x.name for x in needed))
        except MarkedError as error:
            raise RefusedError(RefusalCode.MISSING, f"{store.location}: {error}") from None
        except VaultDamageError as error:
            raise RefusedError(RefusalCode.CORRUPT, f"{store.location}: {error}") from None
        missing = [x.name for x in needed if not there.at(store.location, x.digest, x.size)]
        if missing:
            raise RefusedError(
                RefusalCode.MISSING,
                f"{store.location} does not hold what {name} needs: {_some(missing)}",
            )

    return require


def _packs(store: Store, ref: IndexRef) -> list[PackRef]:
    """The packs that an index names, from the first copy that verifies; no copy is read beyond its size."""
    for number in range(LAST_REPLACEMENT + 1):
        try:
            return plain_packs(ref.name, store.get(replacement(ref.name, number), length=ref.size))
        except (VaultDamageError, CorruptError):
            continue
        except MissingError:
            if number:  # a reader goes no further either
                break
    raise RefusedError(RefusalCode.CORRUPT, f"{store.location} holds no good copy of {ref.name}")


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
