"""Replaces what a check found missing or damaged by a good copy from another location. Needs no key.

The order at each location, so that a crash at any point costs no reader anything: the good copy is
put beside the bad one (`.r1` …) and read back; only then is the bad one removed, and only when its
bytes were read and are not those of its name. A replacement behind a gap is not found by readers
(see `objects.reachable`), so a bad replacement goes only when a good copy stands before it. A lock
that holds bad bytes does no harm: readers pass over them.

What is good nowhere is named, after it was tried to put it together from what is left of it. Its
bad copies stay, for a restore still takes from a damaged pack the chunks that verify; a writer is
told to distrust it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import DeniedError, MissingError, StoreError, TransientError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import Finding, Problem, accept
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import VaultDamageError, VaultError
from weddingbackup.vault.index import plain_packs
from weddingbackup.vault.names import (
    FORMAT,
    INDEXES,
    KEYS,
    LAST_REPLACEMENT,
    PACKS,
    SNAPSHOTS,
    replacement,
)
from weddingbackup.vault.objects import digest, get_object, put_object
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.salvage import salvage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.check import Checked
    from weddingbackup.vault.manifest import IndexRef

    Remove = Callable[[str, str], None]

_KINDS = (FORMAT, KEYS, PACKS, INDEXES, SNAPSHOTS)
"""The order of repairs, a writer's: what is needed comes before what needs it."""


@dataclass(slots=True)
class Repaired:
    """What a repair came to.

    Attributes:
        replaced: (location, object) of what was missing or damaged and has a good copy there now.
        removed: bad copies that are gone.
        kept: bad copies that could not be removed: a lock holds them, or there is no right to.
        lost: names of objects that are good at no location, though all answered; what the newest
            point needs comes first.
        lossy: manifests of the points that need them, newest first.
        left: findings that are not mended, and why.
    """

    replaced: set[tuple[str, str]] = field(default_factory=set)
    removed: int = 0
    kept: int = 0
    lost: list[str] = field(default_factory=list)
    lossy: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


def repair(
    stores: Sequence[Store],
    checked: Checked,
    *,
    remove: Remove | None = None,
    progress: Progress | None = None,
) -> Repaired:
    """Mend what a check found.

    Args:
        stores: those that were checked.
        checked: what `examine` gave.
        remove: removes an object at a location, (location, name); raises DeniedError where a lock
            holds it. Without it bad copies stay where they are.
        progress: counts the bytes that are sent.
    """
    return _Repair(stores, remove, progress or Progress()).run(checked)


@dataclass(slots=True)
class _There:
    """What one location has of an object: numbers of copies that were read."""

    good: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    data: bytes | None = None
    """Good bytes."""


class _Repair:
    """One repair under way."""

    def __init__(self, stores: Sequence[Store], remove: Remove | None, progress: Progress) -> None:
        self._stores = {store.location: store for store in stores}
        self._remove = remove
        self._progress = progress
        self._silent: dict[str, TransientError] = {}
        self._vault_id: bytes | None = None
        self._result = Repaired()

    def run(self, checked: Checked) -> Repaired:
        self._vault_id = checked.vault_id
        wanted: dict[str, dict[str, Finding | None]] = {}
        behind: list[Finding] = []
        empty: list[Finding] = []
        for finding in checked.findings:
            location, name = finding.location, finding.object
            if not location and finding.problem is Problem.LOST:
                wanted.setdefault(name, {})
            elif not (location and name) or location in checked.strangers:
                (self._result.left if finding.problem is Problem.UNREADABLE else empty).append(
                    finding
                )
            elif finding.problem is Problem.MISSING and name.startswith(SNAPSHOTS):
                behind.append(finding)
            else:
                wanted.setdefault(name, {})[location] = finding
        for location, name in checked.superseded:
            wanted.setdefault(name, {}).setdefault(location, None)
        for name in sorted(wanted, key=_order):
            self._mend(name, wanted[name])
        caught_up = {finding.location for finding in behind if self._catch_up(finding)}
        self._result.left += [each for each in empty if each.location not in caught_up]
        unopened = [
            x for x in checked.findings if x.problem is Problem.LOST and not wanted[x.object]
        ]
        self._result.left += [each for each in unopened if each.object not in self._result.lost]
        self._confirm_lost()
        return self._result

    def _mend(self, name: str, where: dict[str, Finding | None]) -> None:
        """Mend one object at some locations."""
        data: bytes | None = None
        failure: StoreError | VaultError | None = None
        for location in sorted(where):
            finding, store = where[location], self._stores[location]
            try:
                there = self._read(store, name)
                if there.data is None:
                    if failure:
                        raise failure
                    try:
                        data = data or self._good(name)
                    except (StoreError, VaultError) as error:
                        failure = error
                        raise
                    there = self._replace(store, name, data, there)
                if finding is not None:
                    self._result.replaced.add((location, name))
                self._clear(store, name, there)
            except (StoreError, VaultError) as error:
                self._note(location, name, finding, error)
        if failure or not where:
            self._lose(name)

    def _read(self, store: Store, name: str) -> _There:
        """Read all copies of an object at one location that a reader comes to.

        Raises:
            StoreError: one does not answer; a missing one is an answer.
        """
        there = _There()
        for number in range(LAST_REPLACEMENT + 1):
            try:
                data = store.get(replacement(name, number))
            except MissingError:
                if number:
                    break
                continue
            try:
                accept(name, data, self._vault_id)
            except VaultDamageError:
                there.bad.append(number)
            else:
                there.good.append(number)
                there.data = data
        return there

    def _good(self, name: str) -> bytes:
        """Get good bytes of an object from any location, or put them together.

        Raises:
            VaultDamageError, StoreError: nobody has them.
        """
        stores = list(self._stores.values())
        bad: list[bytes] = []

        def keep(name: str, data: bytes) -> bytes:
            try:
                return accept(name, data, self._vault_id)
            except VaultDamageError:
                bad.append(data)
                raise

        try:
            return get_object(stores, name, keep, silent=self._silent)
        except VaultDamageError:
            if name == FORMAT or (whole := salvage(name, bad)) is None:
                raise
            return whole

    def _replace(self, store: Store, name: str, data: bytes, there: _There) -> _There:
        """Put a good copy at a location and read it back.

        Raises:
            StoreError: it was not taken.
            VaultDamageError: what is there then are other bytes.
        """
        put = put_object(store, name, data, digest(data))
        if store.get(put) != data:
            raise VaultDamageError(name, f"{store.location} changed it when it took it")
        self._progress.add(size=len(data))
        self._progress.moved(store.location, len(data))
        number = next(n for n in range(LAST_REPLACEMENT + 1) if replacement(name, n) == put)
        return _There(sorted({*there.good, number}), there.bad, data)

    def _clear(self, store: Store, name: str, there: _There) -> None:
        """Remove the bad copies of an object that has a good one at this location.

        Raises:
            StoreError, VaultDamageError: the object's own name is free, and could not be taken again.
        """
        if there.data is None or self._remove is None:
            return
        free = 0 not in there.bad + there.good
        if 0 in there.bad:
            free = self._gone(store.location, name)
        higher = [number for number in there.bad if number]
        if free and (name == FORMAT or (higher and min(there.good) > min(higher))):
            # `format` is asked for by this name alone.
            there = self._replace(store, name, there.data, there)
        for number in reversed(higher):
            if min(there.good) < number:
                self._gone(store.location, replacement(name, number))
            else:
                self._result.kept += 1

    def _gone(self, location: str, name: str) -> bool:
        """Whether a bad copy could be removed."""
        if self._remove is None:
            return False
        try:
            self._remove(location, name)
        except DeniedError:
            self._result.kept += 1
            return False
        self._result.removed += 1
        return True

    def _lose(self, name: str) -> None:
        """Note an object that is good nowhere, unless somebody who may have it did not answer."""
        try:
            found = [self._read(store, name) for store in self._stores.values()]
        except StoreError:
            return
        if any(there.good for there in found):
            return
        # Its bad copies stay: most chunks of a pack with a flipped bit can still be read.
        self._result.lost.append(name)

    def _confirm_lost(self) -> None:
        """Keep of the lost what some point still needs: a collection may have removed the rest."""
        if not self._result.lost:
            return
        lost = set(self._result.lost)
        needed = {name for name in lost if not name.startswith((PACKS, INDEXES))}
        by_point = needing(list(self._stores.values()), lost)
        ordered = dict.fromkeys(name for names in by_point.values() for name in sorted(names))
        self._result.lost = [*ordered, *sorted(needed - ordered.keys())]
        self._result.lossy = list(by_point)

    def _catch_up(self, finding: Finding) -> bool:
        """Copy a whole point to a location that was to have it; say whether that worked."""
        stores, target = list(self._stores.values()), self._stores[finding.location]
        try:
            copy_points(stores, target, [finding.object], verify=True, progress=self._progress)
        except (StoreError, VaultError) as error:
            self._note(finding.location, finding.object, finding, error)
            return False
        self._result.replaced.add((finding.location, finding.object))
        return True

    def _note(self, location: str, name: str, finding: Finding | None, error: Exception) -> None:
        problem = finding.problem if finding else Problem.UNREADABLE
        self._result.left.append(Finding(location, name, problem, f"not mended: {error}"))


def needing(stores: Sequence[Store], lost: Collection[str]) -> dict[str, set[str]]:
    """Say which points need which of these objects: manifest -> names, the newest point first."""
    silent: dict[str, TransientError] = {}
    of_index: dict[IndexRef, set[str]] = {}
    found = {}
    for point in points(stores):
        names = {point.manifest} & set(lost)
        for ref in {ref for source in point.sources for ref in source.indexes}:
            if ref not in of_index:
                of_index[ref] = {ref.name} & set(lost)
                with suppress(StoreError, VaultDamageError):
                    packs = get_object(stores, ref.name, plain_packs, silent=silent)
                    of_index[ref] |= {pack.name for pack in packs}.intersection(lost)
            names |= of_index[ref]
        if names:
            found[point.manifest] = names
    return found


def _order(name: str) -> tuple[int, str]:
    return next(n for n, kind in enumerate(_KINDS) if name.startswith(kind)), name
