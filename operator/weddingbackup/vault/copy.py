"""Catches a location up: copies by name what it lacks, sealed as it is. Needs no key.

The same order as a writer's: founding objects, packs, indexes, and a manifest only when all of its
objects are there. What is damaged at the target gets a replacement beside it; with `verify` the
target is read to find out, for a listing alone says nothing of the bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import CorruptError, MissingError, StoreError
from weddingbackup.vault.catalog import find_point
from weddingbackup.vault.commit import Needed, closure, look_around, verified
from weddingbackup.vault.errors import RefusedError, VaultDamageError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.marks import Marks
from weddingbackup.vault.names import FORMAT, KEYS, base_name, data_key_name, digest_of
from weddingbackup.vault.objects import digest, get_object, put_object, reachable
from weddingbackup.vault.parallel import ask_all

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from weddingbackup.stores.api import ObjectInfo, Store
    from weddingbackup.stores.errors import TransientError
    from weddingbackup.vault.progress import Progress


@dataclass(slots=True)
class CopyResult:
    """What was sent to the target, and what was found there.

    Attributes:
        objects: sent.
        bytes: sent.
        verified: objects that were read there and are good, those just sent among them; 0 without
            `verify`.
        damaged: objects that were there, in no good copy.
        replaced: those of them that have a good replacement there now.
    """

    objects: int = 0
    bytes: int = 0
    verified: int = 0
    damaged: int = 0
    replaced: int = 0


def copy_points(
    stores: Sequence[Store],
    target: Store,
    manifests: Iterable[str],
    *,
    damaged: Collection[str] = (),
    verify: bool = False,
    progress: Progress | None = None,
) -> CopyResult:
    """Copy recovery points to a location, each whole or not at all.

    Args:
        stores: where to copy from: of each object the first copy that verifies is taken.
        target: where to; its listing says what it lacks.
        manifests: names of the points' manifests.
        damaged: names of objects that a check found damaged at the target; a wrong size is seen
            without being told.
        verify: read all that the target holds of these points, and what is sent there, too.
        progress: counts the bytes sent, and those read there.

    Raises:
        RefusedError: there is no such point, or the target holds another vault.
        VaultDamageError: an object is good nowhere.
        StoreError: the target does not take one, or nobody answers.
        VaultError: the target lacks a point that a collection is about to remove, or has removed.
    """
    others = [store for store in stores if store.location != target.location]
    begun = time.monotonic()
    copier = _Copier(others, target, set(damaged), verify=verify, progress=progress)
    copier.found()
    marks = Marks()
    for name in sorted({base_name(manifest) for manifest in manifests}):
        point = find_point(others, name)
        refs = {ref for source in point.sources for ref in source.indexes}
        needed = closure(others, refs, copier.silent)
        for each in needed:
            copier.copy(each)
        manifest = Needed(name, digest_of(name) or b"", len(point.data))
        if not copier.holds(manifest):
            look_around(marks, target, name, needed, time.monotonic() - begun)
        copier.copy(manifest)
    return copier.result


class _Copier:
    """Copies single objects to one target."""

    def __init__(
        self,
        stores: Sequence[Store],
        target: Store,
        damaged: set[str],
        *,
        verify: bool,
        progress: Progress | None,
    ) -> None:
        self._stores = stores
        self._target = target
        self._damaged = damaged
        self._verify = verify
        self._progress = progress
        self._sizes: dict[str, set[int]] = {}
        for info in reachable(target.list("")):
            if info.name not in damaged:
                self._sizes.setdefault(base_name(info.name), set()).add(info.size)
        self.silent: dict[str, TransientError] = {}
        self.result = CopyResult()

    def found(self) -> None:
        """Copy `format` and the keys; refuse a target that holds another vault."""
        data = get_object(self._stores, FORMAT, _whole_format, silent=self.silent)
        if FORMAT in self._sizes and FORMAT not in self._damaged:
            self._refuse_another(check_format(data))
        self._put(FORMAT, data, digest(data))
        for name in self._wanted_keys():
            key = get_object(self._stores, name, verified, silent=self.silent)
            self.copy(Needed(name, digest(key), len(key)))

    def _wanted_keys(self) -> list[str]:
        """Of each data key the objects that the target has, or else the one that wrapped it last."""
        listings = [x for x in ask_all(self._stores, _keys) if not isinstance(x, StoreError)]
        wrappings: dict[str, list[ObjectInfo]] = {}
        for info in (info for listed in listings for info in listed):
            wrappings.setdefault(data_key_name(info.name) or info.name, []).append(info)
        wanted = set()
        for infos in wrappings.values():
            here = {base_name(info.name) for info in infos} & self._sizes.keys()
            wanted |= here or {base_name(max(infos, key=_age).name)}
        return sorted(wanted)

    def holds(self, needed: Needed) -> bool:
        """Whether the target lists it with its right size."""
        return needed.size in self._sizes.get(needed.name, ())

    def copy(self, needed: Needed) -> None:
        """Copy one object, unless the target holds it with its right size, and verified if asked."""
        name = needed.name
        found = name in self._sizes
        if not self.holds(needed) or (self._verify and not self._reads_well(name)):
            self.result.damaged += found
            self._sizes.pop(name, None)
            data = get_object(self._stores, name, verified, silent=self.silent)
            self._put(name, data, needed.digest)
            # What was sent may have been lost or changed on its way: that is why it is asked for.
            if self._verify and not self._reads_well(name):
                raise VaultDamageError(name, f"{self._target.location} changed it when it took it")
            self.result.replaced += found
        self.result.verified += self._verify

    def _reads_well(self, name: str) -> bool:
        """Whether the target has good bytes of an object.

        Raises:
            StoreError: it does not answer, which says nothing of the bytes.
        """
        try:
            data = get_object([self._target], name, verified)
        except (VaultDamageError, CorruptError, MissingError):
            return False
        if self._progress:
            self._progress.add(size=len(data))
        return True

    def _put(self, name: str, data: bytes, sha256: bytes) -> None:
        if len(data) in self._sizes.get(name, ()):
            return
        put_object(self._target, name, data, sha256)
        self._sizes.setdefault(name, set()).add(len(data))
        self.result.objects += 1
        self.result.bytes += len(data)
        if self._progress:
            self._progress.add(size=len(data))
            self._progress.moved(self._target.location, len(data))

    def _refuse_another(self, vault_id: bytes) -> None:
        try:
            there = check_format(self._target.get(FORMAT))
        except (VaultDamageError, MissingError):
            self._sizes.pop(FORMAT)  # gets a replacement
            return
        if there != vault_id:
            raise RefusedError(f"{self._target.location} holds another vault under this prefix")


def _whole_format(_name: str, data: bytes) -> bytes:
    check_format(data)
    return data


def _keys(store: Store) -> list[ObjectInfo]:
    return list(store.list(KEYS))


def _age(info: ObjectInfo) -> tuple[datetime, str]:
    return info.modified or datetime.min.replace(tzinfo=UTC), info.name
