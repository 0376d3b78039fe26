"""Says what is missing or damaged, where. The listing level reads only manifests and indexes.

Both levels need no key; with a kit the full level also opens every chunk and compares its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from weddingbackup.rules.times import rfc3339
from weddingbackup.stores.errors import CorruptError, MissingError, StoreError
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.commit import Needed
from weddingbackup.vault.compress import decompress
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.index import open_index, plain_packs
from weddingbackup.vault.keyring import chunk_id
from weddingbackup.vault.manifest import open_body
from weddingbackup.vault.names import (
    FORMAT,
    INDEXES,
    KEYS,
    LAST_REPLACEMENT,
    PACKS,
    SNAPSHOTS,
    base_name,
    data_key_name,
    digest_of,
    replacement,
    snapshot_job,
    verify,
)
from weddingbackup.vault.objects import get_object, reachable
from weddingbackup.vault.pack import FLAG_ZSTD, RECORD, open_pack_index
from weddingbackup.vault.parallel import Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.catalog import Catalog
    from weddingbackup.vault.keyring import Keyring
    from weddingbackup.vault.kit import Kit
    from weddingbackup.vault.manifest import IndexRef

Level = Literal["listing", "full"]


class Problem(StrEnum):
    """What is wrong with an object at a location."""

    MISSING = "Missing"
    SIZE = "WrongSize"
    DAMAGED = "Damaged"
    UNREADABLE = "Unreadable"
    """The location, or every copy, did not answer: nothing is known."""
    LOST = "Lost"
    """No location that answers has a good copy."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One object at one location; `location` is "" where it is about all of them."""

    location: str
    object: str
    problem: Problem
    message: str


def check(
    stores: Sequence[Store], *, level: Level = "listing", kit: Kit | None = None
) -> list[Finding]:
    """Check all points, at each location that should hold them or does.

    listing: each location holds the manifests that name it, every object that a held manifest needs
    is listed there with its right size, and manifests and indexes have a good copy. full: all bytes
    of all of them are read and verified. A location without a point is a finding: nothing was checked.

    Raises:
        WrongKeyError: the kit is another vault's.
    """
    return _Check(stores, kit.keyring() if kit else None).run(level)


class _Check:
    """One check under way."""

    def __init__(self, stores: Sequence[Store], keyring: Keyring | None) -> None:
        self._stores = stores
        self._keyring = keyring
        self._found: dict[tuple[str, str], Finding] = {}
        self._opened: set[str] = set()

    def run(self, level: Level) -> list[Finding]:
        listings = self._list()
        answering = [store for store in self._stores if store.location in listings]
        wanted = self._wanted(catalog(answering), answering, listings)

        keys: dict[str, set[str]] = {}
        for name in {n for listed in listings.values() for n in listed if n.startswith(KEYS)}:
            keys.setdefault(data_key_name(name) or name, set()).add(base_name(name))

        def at_one(store: Store) -> None:
            listed = listings[store.location]
            self._founding(store, listed, keys)
            look = self._read if level == "full" else self._sized
            for needed in wanted[store.location]:
                look(store, needed, listed)

        ask_all(answering, at_one, Patience(len(answering)))
        return sorted(self._found.values())

    def _list(self) -> dict[str, dict[str, int]]:
        listings = {}
        answers = ask_all(self._stores, lambda s: {i.name: i.size for i in reachable(s.list(""))})
        for store, found in zip(self._stores, answers, strict=True):
            if isinstance(found, StoreError):
                self._note(store.location, "", Problem.UNREADABLE, str(found))
            else:
                listings[store.location] = found
        return listings

    def _wanted(
        self, found: Catalog, stores: Sequence[Store], listings: dict[str, dict[str, int]]
    ) -> dict[str, list[Needed]]:
        """Say what each location must hold: all that the manifests there need."""
        wanted: dict[str, dict[str, Needed]] = {store.location: {} for store in stores}
        for location, name in found.damaged:
            self._note(location, name, Problem.DAMAGED, "a manifest that does not verify")
        for name in found.unreadable:
            self._note("", name, Problem.LOST, "no location has a good copy of this manifest")
        packs: dict[IndexRef, list[Needed]] = {}
        for point in found.points:
            refs = {ref for source in point.sources for ref in source.indexes}
            for ref in refs - packs.keys():
                packs[ref] = self._closure(stores, ref)
            needed = [x for ref in refs for x in packs[ref]]
            needed.append(Needed(point.manifest, digest_of(point.manifest) or b"", len(point.data)))
            for location, listed in listings.items():
                if any(copy in listed for copy in _copies(point.manifest)):
                    wanted[location].update((x.name, x) for x in needed)
                elif location in point.plain.locations:
                    why = f"the point of {rfc3339(point.time)} was written for this location, too"
                    self._note(location, point.manifest, Problem.MISSING, why)
        for location, listed in listings.items():
            if not any(snapshot_job(base_name(name)) for name in listed):
                why = "there is no recovery point here: is it the right place, and the right kit?"
                self._note(location, "", Problem.MISSING, why)
        return {location: list(needed.values()) for location, needed in wanted.items()}

    def _closure(self, stores: Sequence[Store], ref: IndexRef) -> list[Needed]:
        def damaged(location: str, name: str) -> None:
            self._note(location, name, Problem.DAMAGED, "an index that does not verify")

        index = Needed(ref.name, ref.digest, ref.size)
        try:
            packs = get_object(stores, ref.name, plain_packs, damaged=damaged)
        except (VaultDamageError, StoreError):
            why = "no location has a good copy of this index; the next backup makes a new one"
            self._note("", ref.name, Problem.LOST, why)
            return [index]
        return [index, *(Needed(pack.name, pack.digest, pack.size) for pack in packs)]

    def _founding(self, store: Store, listed: dict[str, int], keys: dict[str, set[str]]) -> None:
        try:
            check_format(store.get(FORMAT))
        except MissingError as error:
            self._note(store.location, FORMAT, Problem.MISSING, str(error))
        except VaultDamageError as error:
            if replacement(FORMAT, 1) not in listed:
                self._note(store.location, FORMAT, Problem.DAMAGED, str(error))
        except StoreError as error:
            self._note(store.location, FORMAT, Problem.UNREADABLE, str(error))
        for wrappings in keys.values():
            # A rotation wraps a key anew, here sooner than there: each location needs it once.
            here = [name for name in wrappings if any(copy in listed for copy in _copies(name))]
            for name in here or sorted(wrappings)[:1]:
                self._read(store, Needed(name, b"", 0), listed)

    def _sized(self, store: Store, needed: Needed, listed: dict[str, int]) -> None:
        sizes = [listed[name] for name in _copies(needed.name) if name in listed]
        if not sizes:
            self._note(store.location, needed.name, Problem.MISSING, "it is not listed there")
        elif needed.size not in sizes:
            why = f"it has {sizes[0]} bytes there instead of {needed.size}"
            self._note(store.location, needed.name, Problem.SIZE, why)

    def _read(self, store: Store, needed: Needed, listed: dict[str, int]) -> None:
        """Read an object's copies at one location until one verifies."""
        name = needed.name
        finding = (Problem.MISSING, "it is not listed there")
        for copy in _copies(name):
            if copy not in listed:
                continue
            try:
                data = store.get(copy)
                verify(name, data)
            except (VaultDamageError, CorruptError) as error:
                finding = (Problem.DAMAGED, str(error))
            except StoreError as error:
                finding = (Problem.UNREADABLE, str(error))
            else:
                self._open(name, data)
                return
        self._note(store.location, name, *finding)

    def _open(self, name: str, data: bytes) -> None:
        """With keys: open what verified, once, since it has the same bytes at every location."""
        if self._keyring is None or name in self._opened:
            return
        self._opened.add(name)
        try:
            if name.startswith(PACKS):
                _open_pack(self._keyring, name, data)
            elif name.startswith(INDEXES):
                open_index(self._keyring, name, data)
            elif name.startswith(SNAPSHOTS):
                open_body(self._keyring, name, data)
        except VaultDamageError as error:
            self._note("", name, Problem.LOST, f"it has the right bytes, but {error}")

    def _note(self, location: str, name: str, problem: Problem, message: str) -> None:
        self._found.setdefault((location, name), Finding(location, name, problem, message))


def _copies(name: str) -> list[str]:
    return [replacement(name, number) for number in range(LAST_REPLACEMENT + 1)]


def _open_pack(keyring: Keyring, name: str, data: bytes) -> None:
    pack = open_pack_index(keyring, digest_of(name) or b"", len(data), head=data, tail=data)
    seal = keyring.seal_of(name, pack.header)
    key = keyring.chunk_key(pack.header.class_name)
    view = memoryview(data)
    for ordinal, (chunk, offset, stored, raw, flags) in enumerate(RECORD.iter_unpack(pack.records)):
        plain = seal.open(name, ordinal, view[offset : offset + stored])
        if flags & FLAG_ZSTD:
            plain = decompress(name, plain, raw)
        if chunk_id(key, plain) != chunk:
            raise VaultDamageError(name, f"record {ordinal} is not the chunk that its id says")
