"""A store, a source and a target in memory, with a place for faults; clocks and randomness fixed."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from weddingbackup.resources.common import DataClass
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import CorruptError, ExistsError, MissingError
from weddingbackup.vault.catalog import points
from weddingbackup.vault.entries import Entry, EntryType, Source, SourceChangedError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import restore
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup

if TYPE_CHECKING:
    from weddingbackup.vault.results import BackupResult

START = datetime(2026, 12, 5, 18, 0, tzinfo=UTC)
SMALL_PACKS = Limits(pack_bytes=48 * 1024, packs=64, streams=2, grace_seconds=30.0)
"""So that little data makes many packs."""

LARGE_PACKS = Limits(grace_seconds=30.0)

Fault = Callable[[str, str], None]


class MemoryStore:
    """A create-only store. `fault(operation, name)` comes before each operation and may raise."""

    def __init__(self, location: str, fault: Fault | None = None) -> None:
        self.location = location
        self.objects: dict[str, bytes] = {}
        self.fault = fault
        self.after_put: Callable[[MemoryStore, str], None] | None = None
        self.gets: list[tuple[str, int]] = []
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        self._fail("put", name)
        kept = bytes(data)
        if hashlib.sha256(kept).digest() != sha256:
            raise CorruptError("other bytes", location=self.location, name=name)
        with self._lock:
            there = self.objects.setdefault(name, kept)
        if there != kept:
            raise ExistsError("taken", location=self.location, name=name)
        if self.after_put:
            self.after_put(self, name)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self._fail("get", name)
        with self._lock:
            data = self.objects.get(name)
        if data is None:
            raise MissingError("no such object", location=self.location, name=name)
        end = len(data) if length is None else offset + length
        if end > len(data):
            raise CorruptError("too short", location=self.location, name=name)
        self.gets.append((name, end - offset))
        return data[offset:end]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._fail("list", prefix)
        with self._lock:
            found = [(n, len(d)) for n, d in self.objects.items() if n.startswith(prefix)]
        return (ObjectInfo(name, size, None) for name, size in found)

    def copy(self) -> MemoryStore:
        twin = MemoryStore(self.location)
        twin.objects = dict(self.objects)
        return twin

    def _fail(self, operation: str, name: str) -> None:
        if self.fault:
            self.fault(operation, name)


class _MemoryReader:
    def __init__(self, entry: Entry, data: bytes, step: int, *, changed: bool) -> None:
        self._entry, self._data, self._step, self._changed = entry, data, step, changed

    def readinto(self, buffer: memoryview, /) -> int:
        part = self._data[: min(len(buffer), self._step)]
        self._data = self._data[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def finish(self) -> Entry:
        if self._changed:
            raise SourceChangedError(self._entry)
        return self._entry

    def close(self) -> None:
        pass


class MemorySource(Source):
    """A tree of files from a dict path -> bytes; directories are implied. `reads` counts reading."""

    def __init__(self, files: dict[bytes, bytes], step: int = 1 << 20) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.data: dict[bytes, bytes] = {}
        self.reads: list[bytes] = []
        self.failing: dict[bytes, Exception] = {}
        self.changing: dict[bytes, int] = {}
        self._step = step
        self._clock = 1
        for path, data in files.items():
            self.write(path, data)

    def write(self, path: bytes, data: bytes, **metadata: Any) -> None:
        self._clock += 1
        directory = b""
        for name in path.split(b"/")[:-1]:
            directory = _join(directory, name)
            self.entries.setdefault(directory, Entry(name, EntryType.DIRECTORY, mode=0o755))
        metadata = {
            "size": len(data),
            "mtime_ns": self._clock,
            "ctime_ns": self._clock + (zlib.crc32(data) << 20),
            "inode": self._clock,
        } | metadata
        self.add(path, Entry(path.split(b"/")[-1], EntryType.FILE, **metadata))
        self.data[path] = data

    def add(self, path: bytes, entry: Entry) -> None:
        self.entries[path] = entry

    def root(self) -> Entry:
        return Entry(b"", EntryType.DIRECTORY, mode=0o750)

    def children(self, path: bytes) -> list[Entry]:
        if path in self.failing:
            raise self.failing[path]
        depth = path.count(b"/") + 1 if path else 0
        below = path + b"/" if path else b""
        found = [
            entry
            for name, entry in self.entries.items()
            if name.startswith(below) and name.count(b"/") == depth
        ]
        return sorted(found, key=lambda entry: entry.name)

    def open(self, path: bytes, _entry: Entry, /) -> _MemoryReader:
        self.reads.append(path)
        if path in self.failing:
            raise self.failing[path]
        left = self.changing.get(path, 0)
        self.changing[path] = left - 1
        found = self.entries[path]
        return _MemoryReader(found, self.data[path], self._step, changed=left > 0)

    def estimate(self) -> int | None:
        return sum(map(len, self.data.values()))

    def facts(self) -> dict[str, Any]:
        return {"lsn": "0/16B3748", "kind": "memory"}


class _MemoryWriter:
    def __init__(self, target: MemoryTarget, path: bytes, entry: Entry) -> None:
        self._target, self._path, self._entry = target, path, entry
        self._data = bytearray(entry.size)
        target.unfinished.add(path)

    def write(self, offset: int, data: bytes | memoryview, /) -> None:
        self._target.check(self._path)
        self._data[offset : offset + len(data)] = data

    def commit(self) -> None:
        self._target.unfinished.discard(self._path)
        self._target.files[self._path] = bytes(self._data)
        self._target.entries[self._path] = self._entry

    def abort(self) -> None:
        self._target.unfinished.discard(self._path)


class _MemoryPresent:
    def __init__(self, target: MemoryTarget, path: bytes, entry: Entry) -> None:
        self._target, self._path, self._entry = target, path, entry

    def read(self, pieces: Iterable[tuple[int, int]], buffer: memoryview, /) -> None:
        data = self._target.files[self._path]
        buffer[:] = b"".join(data[offset : offset + length] for offset, length in pieces)

    def keep(self) -> bool:
        self._target.kept.append(self._path)
        self._target.entries[self._path] = self._entry
        return True


class MemoryTarget:
    """Takes a tree into dicts; `failing` paths raise when their bytes are written.

    Files that are put into `files` before are there already; a sparse one's holes are its entry's.
    """

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.files: dict[bytes, bytes] = {}
        self.entries: dict[bytes, Entry] = {}
        self.finished: list[bytes] = []
        self.links: dict[bytes, bytes] = {}
        self.unfinished: set[bytes] = set()
        self.failing: dict[bytes, OSError] = {}

    def check(self, path: bytes) -> None:
        if path in self.failing:
            raise self.failing[path]

    def directory(self, path: bytes, entry: Entry) -> bool:
        self.entries[path] = entry
        return True

    def finish_directory(self, path: bytes, entry: Entry) -> None:
        assert self.entries[path] == entry
        self.finished.append(path)

    def present(self, path: bytes, entry: Entry) -> _MemoryPresent | None:
        there = len(self.files.get(path, b"")) == entry.size and path in self.files
        return _MemoryPresent(self, path, entry) if there and entry.links == 1 else None

    def file(self, path: bytes, entry: Entry) -> _MemoryWriter:
        return _MemoryWriter(self, path, entry)

    def small_file(self, path: bytes, entry: Entry, data: bytes | memoryview) -> None:
        self.check(path)
        self.files[path] = bytes(data)
        self.entries[path] = entry

    def other(self, path: bytes, entry: Entry) -> None:
        self.entries[path] = entry

    def link(self, path: bytes, to_path: bytes) -> None:
        self.links[path] = to_path
        self.files[path] = self.files[to_path]

    def warnings(self) -> list[str]:
        return []


@dataclass
class World:
    """A vault at some locations, and jobs that run one after the other."""

    stores: list[MemoryStore]
    kit: Kit = field(default_factory=lambda: Kit.found(random=rng(1)))
    quorum: int = 2
    limits: Limits = SMALL_PACKS
    _jobs: int = 0

    @classmethod
    def of(cls, *locations: str, quorum: int = 2) -> World:
        return cls([MemoryStore(name) for name in locations], quorum=quorum)

    def vault(self, stores: Sequence[MemoryStore] | None = None) -> Vault:
        self._jobs += 1
        salts = rng(1000 + self._jobs)
        kit = self.kit
        return Vault.open(kit.keyring(), kit.objects, stores or self.stores, random=salts)

    def backup(
        self,
        source: Source,
        uid: str = "",
        *,
        vault: Vault | None = None,
        distrust: Sequence[str] = (),
    ) -> BackupResult:
        vault = vault or self.vault()
        job = JobFacts(uid or f"job-{self._jobs}", "studio", "nightly", START)
        return backup(
            vault,
            job,
            [SourceInput("photos", DataClass.PORTFOLIO, source)],
            quorum=self.quorum,
            progress=Progress(),
            distrust=distrust,
            clock=ticking(self._jobs),
            limits=self.limits,
        )


def bring_back(world: World, number: int = 0, include: tuple[bytes, ...] = ()) -> MemoryTarget:
    """Restore a point, 0 the newest, and make sure that nothing half-written stays."""
    vault = world.vault()
    target = MemoryTarget()
    point = points(vault.stores)[number]
    restore(vault, point, "photos", target, progress=Progress(), include=include)
    assert not target.unfinished
    return target


def rng(seed: int) -> Callable[[int], bytes]:
    """Bytes that look random and are the same in every run; safe to share between threads."""
    generator, lock = random.Random(seed), threading.Lock()

    def draw(size: int) -> bytes:
        with lock:
            return generator.randbytes(size)

    return draw


def ticking(day: int) -> Callable[[], datetime]:
    """A clock that moves on by a second whenever it is asked."""
    moments = iter(START + timedelta(days=day, seconds=second) for second in range(1000))
    return lambda: next(moments)


def some_files(seed: int = 7, directories: int = 4, files: int = 6) -> dict[bytes, bytes]:
    """Small files in several directories, incompressible, and one large compressible one."""
    draw = rng(seed)
    found = {
        b"d%d/f%d" % (d, f): draw(1000 + 977 * f) for d in range(directories) for f in range(files)
    }
    return found | {b"empty": b"", b"notes.txt": b"so be it. " * 3000}


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
