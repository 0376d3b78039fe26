"""Says what is missing or damaged, where. The provider level reads only manifests and indexes.

All levels need no key: every name carries the SHA-256 of its bytes. With a kit, what is read whole is
also opened, and each chunk compared with its id.

Held in memory: the inventory (one row an object, see inventory.py), all manifests, one index a
thread, and at most `_READERS` objects that are being read.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Literal

from weddingbackup.rules.times import rfc3339
from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    MissingError,
    StoreError,
    TransientError,
)
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.compress import decompress
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.index import open_index, plain_packs
from weddingbackup.vault.inventory import Inventory
from weddingbackup.vault.keyring import chunk_id
from weddingbackup.vault.manifest import open_body
from weddingbackup.vault.names import (
    FORMAT,
    INDEXES,
    KEYS,
    PACKS,
    SNAPSHOTS,
    base_name,
    data_key_name,
    digest_of,
    replacement,
    snapshot_job,
    verify,
)
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.pack import FLAG_ZSTD, RECORD, open_pack_index
from weddingbackup.vault.parallel import Patience, ask_all
from weddingbackup.vault.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.catalog import Catalog
    from weddingbackup.vault.inventory import Copy, Row
    from weddingbackup.vault.keyring import Keyring
    from weddingbackup.vault.kit import Kit
    from weddingbackup.vault.manifest import IndexRef

Level = Literal["provider", "sample", "full"]

_READERS = 8
"""Objects that are read at once, over all locations; a pack has up to 32 MiB."""


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


@dataclass(slots=True)
class Tally:
    """What was looked at, at one location.

    Attributes:
        bytes: that were read.
        archived: objects that could not be read since they are archived: nothing is known of them.
    """

    objects: int = 0
    bytes: int = 0
    archived: int = 0


@dataclass(slots=True)
class Checked:
    """What a check found.

    Attributes:
        findings: sorted by location and object.
        superseded: (location, object) of objects with a good copy and a bad one beside it; and of
            `format` where it has no copy under that very name.
        strangers: locations that hold no point, and for which none was written: nothing is put there.
        tallies: by location.
        vault_id: whose `format` is the right one, 16 bytes; None where nobody could tell.
    """

    findings: list[Finding] = field(default_factory=list)
    superseded: set[tuple[str, str]] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    tallies: dict[str, Tally] = field(default_factory=dict)
    vault_id: bytes | None = None


def check(
    stores: Sequence[Store],
    *,
    level: Level = "provider",
    percent: float = 100,
    seed: str = "",
    kit: Kit | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Give the findings of `examine`."""
    found = examine(stores, level=level, percent=percent, seed=seed, kit=kit, progress=progress)
    return found.findings


def examine(
    stores: Sequence[Store],
    *,
    level: Level = "provider",
    percent: float = 100,
    seed: str = "",
    kit: Kit | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Check all points, at each location that should hold them or does.

    provider: each location holds the manifests that name it; every object that a held manifest needs
    is listed there with its right size; manifests and indexes have a good copy; and the MD5s that
    providers tell of an object agree, or else it is read. sample: of the objects, `percent` are read
    and verified, wherever they should be; equal seeds choose the same. full: all are. A location
    without a point is a finding: nothing was checked.

    Raises:
        WrongKeyError: the kit is another vault's.
        RefusedError: a location holds a newer format.
    """
    share = {"provider": 0.0, "sample": percent, "full": 100.0}[level]
    keyring = kit.keyring() if kit else None
    return _Check(stores, keyring, progress or Progress(), _Sample(share, seed)).run()


@dataclass(frozen=True, slots=True)
class _Sample:
    percent: float
    seed: str

    def has(self, name: str) -> bool:
        """Whether an object is chosen: by a hash, so that each run and location agrees."""
        drawn = hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()
        return int.from_bytes(drawn[:8]) < self.percent / 100 * 2**64


class _Check:
    """One check under way."""

    def __init__(
        self, stores: Sequence[Store], keyring: Keyring | None, progress: Progress, sample: _Sample
    ) -> None:
        self._stores = stores
        self._keyring = keyring
        self._progress = progress
        self._sample = sample
        self._inventory = Inventory(stores)
        self._found: dict[tuple[str, str], Finding] = {}
        self._result = Checked(tallies={store.location: Tally() for store in stores})
        self._opened: set[str] = set()
        self._doubted: set[str] = set()
        # Bits of locations whose MD5 was found to be none.
        self._mute = 0
        self._settled: set[tuple[str, str]] = set()
        self._silent: dict[str, TransientError] = {}
        self._lock = threading.Lock()

    def run(self) -> Checked:
        # Manifests before listings: what a point needs was there before its manifest was.
        points = catalog(self._stores)
        answering = self._list()
        self._result.vault_id = self._identify(answering)
        self._want(points, answering)
        self._want_keys(answering)
        self._settle(answering)
        ask_all(answering, lambda s: self._look_over(s, len(answering)), Patience(len(answering)))
        self._lose(answering)
        self._result.findings = sorted(self._found.values())
        return self._result

    def _identify(self, stores: Sequence[Store]) -> bytes | None:
        """Say which vault this is: the keys know, or else a majority of all locations has to agree."""
        if self._keyring is not None:
            return self._keyring.vault_id
        found = Counter(
            answer for answer in ask_all(stores, _vault_id) if not isinstance(answer, StoreError)
        )
        agreed = (
            vault for vault, count in found.items() if vault and 2 * count > len(self._stores)
        )
        return next(agreed, None)

    def _list(self) -> list[Store]:
        answering = []
        for store, found in zip(
            self._stores, ask_all(self._stores, self._inventory.fill), strict=True
        ):
            if isinstance(found, StoreError):
                self._note(store.location, "", Problem.UNREADABLE, str(found))
            else:
                answering.append(store)
        self._inventory.close(store.location for store in answering)
        return answering

    def _want(self, found: Catalog, stores: Sequence[Store]) -> None:
        """Say what each location should hold: all that the manifests there need."""
        bits = {store.location: self._inventory.bit(store.location) for store in stores}
        holders = {
            location: {n for n in self._inventory.at(bit, SNAPSHOTS) if snapshot_job(n)}
            for location, bit in bits.items()
        }
        self._doubted |= {base_name(name) for _, name in found.damaged}
        for name in found.unreadable:
            self._note("", name, Problem.LOST, "no location has a good copy of this manifest")
            for location in (location for location, held in holders.items() if name in held):
                self._note(location, name, Problem.DAMAGED, "a manifest that does not verify")
        refs: dict[IndexRef, int] = {}
        written_for: set[str] = set()
        for point in found.points:
            there = sum(bits[where] for where, held in holders.items() if point.manifest in held)
            if not there:
                continue  # collected since the manifests were read
            written_for.update(point.plain.locations)
            self._inventory.want(point.manifest, there, len(point.data))
            for ref in {ref for source in point.sources for ref in source.indexes}:
                refs[ref] = refs.get(ref, 0) | there
            lacking = {where for where, held in holders.items() if point.manifest not in held}
            for location in lacking.intersection(point.plain.locations):
                why = f"the point of {rfc3339(point.time)} was written for this location, too"
                self._note(location, point.manifest, Problem.MISSING, why)
        for location in (location for location, held in holders.items() if not held):
            why = "there is no recovery point here: is it the right place, and the right kit?"
            self._note(location, "", Problem.MISSING, why)
            if location not in written_for:
                self._result.strangers.add(location)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="index") as pool:
            list(pool.map(lambda ref: self._want_packs(stores, ref, refs[ref]), refs))

    def _want_packs(self, stores: Sequence[Store], ref: IndexRef, bits: int) -> None:
        try:
            packs = get_object(
                stores,
                ref.name,
                plain_packs,
                damaged=lambda _, name: self._doubt(base_name(name)),
                silent=self._silent,
            )
        except (VaultDamageError, MissingError):
            packs = []
            why = "no location has a good copy of this index; the next backup makes a new one"
            self._note("", ref.name, Problem.LOST, why)
            self._doubt(ref.name)
        except StoreError as error:
            packs = []
            self._note("", ref.name, Problem.UNREADABLE, str(error))
        with self._lock:
            self._inventory.want(ref.name, bits, ref.size)
            for pack in packs:
                self._inventory.want(pack.name, bits, pack.size)

    def _want_keys(self, stores: Sequence[Store]) -> None:
        """Every location should have the format, and each data key once."""
        everywhere = sum(self._inventory.bit(store.location) for store in stores)
        self._inventory.want(FORMAT, everywhere)
        wrappings: dict[str, set[str]] = {}
        for name in [name for name in self._inventory.rows if name.startswith(KEYS)]:
            wrappings.setdefault(data_key_name(name) or name, set()).add(name)
        for names in wrappings.values():
            # A rotation wraps a key anew, here sooner than there.
            for store in stores:
                bit = self._inventory.bit(store.location)
                here = [name for name in names if self._inventory.rows[name].copies(bit)]
                # An older wrapping that came back at one location must not be spread to others.
                for name in here or [max(sorted(names), key=self._inventory.locations)]:
                    self._inventory.want(name, bit)

    def _settle(self, stores: Sequence[Store]) -> None:
        """Read whatever providers tell different MD5s of, wherever it should be.

        One object after the other: where a provider tells something else than MD5s, the first one
        shows it, and no further one is read.
        """
        for name, row in self._inventory.rows.items():
            if self._disagree(row):
                asked = [s for s in stores if row.wanted & self._inventory.bit(s.location)]
                for store, looked in zip(
                    asked, ask_all(asked, partial(self._look, name, row)), strict=True
                ):
                    if looked is None:
                        self._settled.add((store.location, name))

    def _disagree(self, row: Row) -> bool:
        return len({copy.md5 for copy in row.told() if not copy.bit & self._mute}) > 1

    def _look_over(self, store: Store, locations: int) -> None:
        """Look at all that one location should hold, several objects at once."""
        bit = self._inventory.bit(store.location)
        rows = iter(
            [
                (name, row)
                for name, row in self._inventory.rows.items()
                if row.wanted & bit and (store.location, name) not in self._settled
            ]
        )
        lock = threading.Lock()
        silence: list[TransientError] = []

        def some() -> None:
            while not silence:
                with lock:
                    name, row = next(rows, ("", None))
                if row is None:
                    return
                try:
                    self._look(name, row, store)
                except TransientError as error:
                    silence.append(error)

        with ThreadPoolExecutor(max(1, _READERS // locations)) as pool:
            for done in [pool.submit(some) for _ in range(max(1, _READERS // locations))]:
                done.result()
        if silence:
            why = f"not all could be looked at: {silence[0]}"
            self._note(store.location, "", Problem.UNREADABLE, why)

    def _look(self, name: str, row: Row, store: Store) -> None:
        copies = row.copies(self._inventory.bit(store.location))
        with self._lock:
            self._result.tallies[store.location].objects += 1
        if not copies:
            self._note(store.location, name, Problem.MISSING, "it is not listed there")
        elif (
            row.needed is None
            or name in self._doubted
            or self._sample.has(name)
            or self._disagree(row)
        ):
            self._read(store, name, row, copies)
        elif row.needed not in {copy.size for copy in copies}:
            why = f"it has {copies[0].size} bytes there instead of {row.needed}"
            self._note(store.location, name, Problem.SIZE, why)
        elif {copy.size for copy in copies} != {row.needed}:
            self._supersede(store.location, name)

    def _read(self, store: Store, name: str, row: Row, copies: list[Copy]) -> None:
        """Read an object's copies at one location: one must verify, and bad ones be known."""
        finding = (Problem.UNREADABLE, "no copy of it could be read there")
        bad, good, archived = False, False, False
        for copy in copies:
            try:
                data = store.get(replacement(name, copy.number))
                with self._lock:
                    self._result.tallies[store.location].bytes += len(data)
                self._progress.add(size=len(data))
                self._progress.moved(store.location, len(data))
                accept(name, data, self._result.vault_id)
            except (VaultDamageError, CorruptError) as error:
                right = row.needed is None or copy.size == row.needed
                problem = Problem.DAMAGED if right else Problem.SIZE
                finding, bad = (problem, str(error)), True
            except TransientError:
                raise
            except ArchivedError:
                archived = True
            except StoreError as error:
                gone = isinstance(error, MissingError)
                problem = Problem.MISSING if gone else Problem.UNREADABLE
                finding = finding if bad else (problem, str(error))
            else:
                self._compare(copy, data)
                self._open(name, data)
                good = True
        if archived and not good:
            with self._lock:
                self._result.tallies[store.location].archived += 1
        elif not good:
            self._note(store.location, name, *finding)
        elif bad or (name == FORMAT and copies[0].number):
            self._supersede(store.location, name)

    def _compare(self, copy: Copy, data: bytes) -> None:
        """Learn whether a location tells MD5s, from good bytes."""
        if copy.md5 and hashlib.md5(data, usedforsecurity=False).digest() != copy.md5:
            with self._lock:
                self._mute |= copy.bit

    def _open(self, name: str, data: bytes) -> None:
        """With keys: open what verified, once, since it has the same bytes at every location."""
        with self._lock:
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

    def _lose(self, stores: Sequence[Store]) -> None:
        """Name what is good nowhere: not where it should be, and nowhere else either."""
        if len(self._result.strangers) == len(stores):
            return  # no vault was found at all
        found: dict[str, int] = {}
        for location, name in self._found:
            if location and name:
                found[name] = found.get(name, 0) | self._inventory.bit(location)
        for name, bits in found.items():
            if ("", name) in self._found or self._inventory.rows[name].wanted & ~bits:
                continue
            try:
                get_object(stores, name, self._accept, silent=self._silent)
            except (VaultDamageError, MissingError):
                self._note("", name, Problem.LOST, "no location that answers has a good copy of it")
            except StoreError as error:
                self._note("", name, Problem.UNREADABLE, str(error))

    def _accept(self, name: str, data: bytes) -> bytes:
        return accept(name, data, self._result.vault_id)

    def _doubt(self, name: str) -> None:
        with self._lock:
            self._doubted.add(name)

    def _supersede(self, location: str, name: str) -> None:
        with self._lock:
            self._result.superseded.add((location, name))

    def _note(self, location: str, name: str, problem: Problem, message: str) -> None:
        with self._lock:
            found = Finding(location, name, problem, message)
            self._found.setdefault((location, name), found)


def accept(name: str, data: bytes, vault_id: bytes | None = None) -> bytes:
    """Give whole bytes back if they are those of their name; `format` if it is that of the vault.

    Raises:
        VaultDamageError: they are not.
        RefusedError: it is the format of a newer version.
    """
    if name == FORMAT:
        if check_format(data) != vault_id is not None:
            raise VaultDamageError(name, "it is that of another vault")
    else:
        verify(name, data)
    return data


def _vault_id(store: Store) -> bytes | None:
    try:
        return check_format(store.get(FORMAT))
    except VaultDamageError:
        return None


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
