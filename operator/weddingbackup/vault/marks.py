"""Marks: what a collection is going to remove, said at the locations a grace before it does.

Whoever stores a manifest looks at them first, and stores none that needs a marked object; a
collection, before it removes anything, looks at all manifests again. So one of the two sees the
other. See docs/decisions/0019-marks-before-deletion.md.

A mark is plain, needs no key, and is never changed:

    marks/<YYYYMMDD>t<HHMMSS>z-<sha256>: MessagePack [1, time, [manifests], indexes, packs]

Names are sorted; indexes and packs are SHA-256s, joined. A **fence** `fences/<8 digits>` tells of two
collections which is the later one: it is the only one that may go on.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from weddingbackup.stores.errors import ExistsError, StoreError
from weddingbackup.vault.errors import UNDECODABLE, QuorumError, VaultDamageError, VaultError
from weddingbackup.vault.names import (
    INDEXES,
    PACKS,
    base_name,
    digest_of,
    index_name,
    pack_name,
    snapshot_job,
    verify,
)
from weddingbackup.vault.objects import get_object
from weddingbackup.vault.parallel import MAJORITY, Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from weddingbackup.stores.api import Store

MARKS = "marks/"
FENCES = "fences/"
MARK = re.compile(r"marks/[0-9]{8}t[0-9]{6}z-[0-9a-f]{64}")
"""A mark's name."""

MOST_NAMES = 65_536
"""In one mark; a collection writes as many as it takes."""

_VERSION = 1
_LARGEST = 64 << 20
_REMEMBERED = 64 << 20
_DIGEST_SIZE = 32
_TIME = "%Y%m%dt%H%M%Sz"
_FENCE = re.compile(r"fences/([0-9]{8})")
_FENCE_TRIES = 8
_FENCE_SECONDS = 10.0
_SHOWN = 3


class MarkedError(VaultError):
    """What a point would need is about to be removed. The next try stores it anew."""

    def __init__(self, manifest: str, marked: Sequence[str]) -> None:
        """Say which point needs what."""
        more = f" and {len(marked) - _SHOWN} more" if len(marked) > _SHOWN else ""
        super().__init__(
            f"{manifest} needs what is marked to be removed: {', '.join(marked[:_SHOWN])}{more}; it "
            "is not stored. Try again: the next try stores anew what this one relied on"
        )


class FencedError(VaultError):
    """Another collection of the same vault has begun, or may have: this one must not go on."""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    version: int
    at: datetime
    manifests: tuple[str, ...]
    indexes: bytes
    packs: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


class Mark:
    """One mark. Held as it is stored: 32 bytes an object, searched in place."""

    def __init__(self, name: str, body: _Body) -> None:
        """Take what was read; `read_mark` and `encode_mark` are the ways here."""
        self.name = name
        self._body = body

    @property
    def at(self) -> datetime:
        """When it was made, to the second."""
        return self._body.at

    @property
    def manifests(self) -> tuple[str, ...]:
        """The points that go."""
        return self._body.manifests

    @property
    def indexes(self) -> Iterator[bytes]:
        """SHA-256s of the indexes that go."""
        return _digests(self._body.indexes)

    @property
    def packs(self) -> Iterator[bytes]:
        """SHA-256s of the packs that go."""
        return _digests(self._body.packs)

    def names(self) -> Iterator[str]:
        """All that it names; replacements go with their object."""
        yield from self.manifests
        yield from map(index_name, self.indexes)
        yield from map(pack_name, self.packs)

    def __contains__(self, name: str) -> bool:
        """Whether it names this object, or the one that this is a replacement of."""
        name = base_name(name)
        digest = digest_of(name)
        if digest is None:
            return False
        if name.startswith(PACKS):
            return _holds(self._body.packs, digest)
        if name.startswith(INDEXES):
            return _holds(self._body.indexes, digest)
        place = bisect_left(self.manifests, name)
        return self.manifests[place : place + 1] == (name,)

    def __len__(self) -> int:
        sealed = len(self._body.indexes) + len(self._body.packs)
        return len(self.manifests) + sealed // _DIGEST_SIZE


def encode_mark(at: datetime, names: Iterable[str]) -> tuple[str, bytes]:
    """Give (name, bytes) of the mark of these manifests, indexes and packs, `MOST_NAMES` at most."""
    listed = sorted({*names})
    groups = {
        folder: b"".join(digest_of(x) or b"" for x in listed if x.startswith(folder))
        for folder in (INDEXES, PACKS)
    }
    manifests = tuple(x for x in listed if not x.startswith((INDEXES, PACKS)))
    at = at.astimezone(UTC).replace(microsecond=0)
    data = _encoder.encode(_Body(_VERSION, at, manifests, groups[INDEXES], groups[PACKS]))
    return _name(at, hashlib.sha256(data).hexdigest()), data


def read_mark(name: str, data: bytes) -> Mark:
    """Read a mark.

    Raises:
        VaultDamageError: these are not the bytes of the mark `name`.
    """
    verify(name, data)
    if len(data) > _LARGEST:
        raise VaultDamageError(name, "it is larger than any mark")
    try:
        body = _decoder.decode(data)
        whole = _encoder.encode(body) == data  # one value, one byte string
    except UNDECODABLE as error:
        raise VaultDamageError(name, f"it is no mark ({error})") from None
    if (
        not whole
        or body.version != _VERSION
        or body.at.tzinfo is None
        or body.at.microsecond
        or name != _name(body.at, name[-64:])
        or not _ascending(body.manifests)
        or not all(map(snapshot_job, body.manifests))
        or not all(len(x) % _DIGEST_SIZE == 0 for x in (body.indexes, body.packs))
        or not all(_ascending(list(_digests(x))) for x in (body.indexes, body.packs))
    ):
        raise VaultDamageError(name, "it makes no sense as a mark")
    return Mark(name, body)


def marked_at(name: str) -> datetime:
    """Say when a mark was made, by its name, whether it can be read or not."""
    return datetime.strptime(name[len(MARKS) :].partition("-")[0], _TIME).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Marked:
    """What the marks at some locations say.

    Attributes:
        marks: those that could be read.
        holders: of each that is listed, by name, readable or not: the locations that list it.
        unreadable: names of those of which nobody who answers has a good copy.
        unanswered: location -> why it said nothing.
    """

    marks: tuple[Mark, ...]
    holders: Mapping[str, frozenset[str]]
    unreadable: tuple[str, ...]
    unanswered: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        """Whether any mark names this object."""
        return any(name in mark for mark in self.marks)

    def names(self) -> Iterator[str]:
        """All that the marks name."""
        return (name for mark in self.marks for name in mark.names())

    def refuse(self, manifest: str, needed: Iterable[str]) -> None:
        """Let a manifest pass that needs nothing of what is marked.

        Raises:
            MarkedError: it does, or is marked itself.
            VaultDamageError: a mark cannot be read, so nobody can tell.
        """
        if self.unreadable:
            raise VaultDamageError(self.unreadable[0], "no location that answers has it whole")
        if marked := [name for name in (manifest, *needed) if name in self]:
            raise MarkedError(manifest, marked)


class Marks:
    """Reads marks, and remembers them: their names carry their hashes, so none is read twice.

    Safe to share between threads. It holds about 64 MiB of them at most.
    """

    def __init__(self) -> None:
        """Remember none yet."""
        self._known: OrderedDict[str, tuple[Mark, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def look(self, stores: Sequence[Store], patience: Patience = MAJORITY) -> Marked:
        """Say which marks there are at these locations now; see `Patience`."""
        answers = ask_all(stores, _listed, patience)
        holders: dict[str, set[str]] = {}
        unanswered: dict[str, str] = {}
        for store, found in zip(stores, answers, strict=True):
            if isinstance(found, StoreError):
                unanswered[store.location] = str(found)
                continue
            for name in found:
                holders.setdefault(name, set()).add(store.location)
        marks, unreadable = [], []
        for name, places in sorted(holders.items()):
            try:
                marks.append(self._read([s for s in stores if s.location in places], name))
            except (StoreError, VaultDamageError):
                unreadable.append(name)
        return Marked(
            tuple(marks),
            {name: frozenset(places) for name, places in holders.items()},
            tuple(unreadable),
            unanswered,
        )

    def _read(self, stores: Sequence[Store], name: str) -> Mark:
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name][0]
        mark, size = get_object(stores, name, lambda n, data: (read_mark(n, data), len(data)))
        with self._lock:
            if name not in self._known:
                self._known[name] = (mark, size)
                self._size += size
            while self._size > _REMEMBERED and len(self._known) > 1:
                self._size -= self._known.popitem(last=False)[1][1]
        return mark


class Fence:
    """A number that no later collection shares. It holds while no location shows a higher one."""

    def __init__(
        self,
        stores: Sequence[Store],
        nonce: bytes,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the next number.

        Args:
            stores: all of the vault's locations, those that do not answer among them.
            nonce: bytes that no other collection has: of two that want a number, create-only lets
                one have it.
            clock: monotonic seconds.

        Raises:
            QuorumError: no majority of the locations answers.
            FencedError: others are faster, again and again.
        """
        self._stores = stores
        self._clock = clock
        self._lock = threading.Lock()
        for _ in range(_FENCE_TRIES):
            self.number = self._highest() + 1
            name = f"{FENCES}{self.number:08}"
            digest = hashlib.sha256(nonce).digest()
            answers = ask_all(stores, lambda s: s.put(name, nonce, sha256=digest))  # noqa: B023  asked here
            taken = sum(isinstance(answer, ExistsError) for answer in answers)
            if sum(answer is None for answer in answers) >= self._majority:
                self._seen = clock()
                return
            if not taken:
                break
        else:
            raise FencedError("other collections of this vault begin all the time: try again later")
        raise QuorumError(
            f"a fence could not be put at {self._majority} of {len(stores)} locations: "
            + "; ".join(str(answer) for answer in answers if answer is not None)
        )

    def hold(self) -> None:
        """Come back only while this is the highest number, as seen within the last ten seconds.

        Raises:
            FencedError: it is not, or that cannot be told.
        """
        with self._lock:
            if self._clock() - self._seen <= _FENCE_SECONDS:
                return
            begun = self._clock()
            try:
                highest = self._highest()
            except QuorumError as error:
                raise FencedError(
                    f"it cannot be told whether another collection runs: {error}"
                ) from None
            if highest > self.number:
                raise FencedError(
                    f"another collection of this vault has begun (fence {highest}, this one has "
                    f"{self.number}); this one has stopped"
                )
            self._seen = begun

    def older(self, name: str) -> bool:
        """Whether this is the name of a fence that nobody needs any more."""
        match = _FENCE.fullmatch(name)
        return match is not None and int(match[1]) < self.number

    @property
    def _majority(self) -> int:
        return len(self._stores) // 2 + 1

    def _highest(self) -> int:
        answers = ask_all(self._stores, _fences)
        good = [answer for answer in answers if not isinstance(answer, StoreError)]
        if len(good) < self._majority:
            silent = "; ".join(str(answer) for answer in answers if isinstance(answer, StoreError))
            raise QuorumError(
                f"{len(good)} of {len(self._stores)} locations answer, {self._majority} have to ({silent})"
            )
        return max((number for numbers in good for number in numbers), default=0)


def _name(at: datetime, sha256: str) -> str:
    return f"{MARKS}{at.astimezone(UTC).strftime(_TIME)}-{sha256}"


def _listed(store: Store) -> list[str]:
    return [info.name for info in store.list(MARKS) if _is_mark(info.name)]


def _is_mark(name: str) -> bool:
    if MARK.fullmatch(name) is None:
        return False
    try:
        marked_at(name)
    except ValueError:  # the 31st of February
        return False
    return True


def _fences(store: Store) -> list[int]:
    return [int(match[1]) for info in store.list(FENCES) if (match := _FENCE.fullmatch(info.name))]


def _digests(joined: bytes) -> Iterator[bytes]:
    return (joined[i : i + _DIGEST_SIZE] for i in range(0, len(joined), _DIGEST_SIZE))


def _holds(joined: bytes, digest: bytes) -> bool:
    def at(place: int) -> bytes:
        return joined[place * _DIGEST_SIZE : (place + 1) * _DIGEST_SIZE]

    return at(bisect_left(range(len(joined) // _DIGEST_SIZE), digest, key=at)) == digest


def _ascending(values: Sequence[str] | Sequence[bytes]) -> bool:
    return all(a < b for a, b in pairwise(values))  # type: ignore[operator]
