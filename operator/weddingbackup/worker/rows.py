"""Rows of a shared database, which the broker reads and writes for the worker: on the way they are a tar.

What is backed up is the same, file by file and byte by byte, as if the worker had read the database
itself, so a recovery needs not know which road was taken.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import msgspec

from weddingbackup.resources.broker import Applied
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import meta, pack_directory, unpack
from weddingbackup.sources.postgres.archive import End
from weddingbackup.sources.postgres.export import nanoseconds
from weddingbackup.vault.entries import Entry, EntryType, Reader, Source, shown

_ATTEMPTS: Final = 3


class Broker(Protocol):
    """What is asked of the broker; see worker.client."""

    def get_rows(self, source: str, into: Path) -> None:
        """Save a source's rows as a tar."""

    def put_rows(self, source: str, from_: Path) -> Applied:
        """Put a source's rows back from a tar."""


def shared_source(broker: Broker, name: str, scratch: Path) -> Source:
    """Bring a source's rows into the pod's scratch space, whole, and give them as a source.

    Raises:
        SourceError: the database cannot be read.
        SourceUnavailableError: nor could it just now, in several attempts.
        BrokerError: the broker refuses, or is away.
    """
    directory = scratch / f"rows-{name}"
    archive = scratch / f"rows-{name}.tar"

    def attempt() -> Source:
        # Of an attempt that broke off, or of a container that was killed here.
        shutil.rmtree(directory, ignore_errors=True)
        try:
            broker.get_rows(name, archive)
            with archive.open("rb") as file:
                end = unpack(file.read, directory)
        finally:
            archive.unlink(missing_ok=True)
        return _RowsSource(directory, end)

    return _persistently(attempt)


def put_back(broker: Broker, name: str, directory: Path) -> Applied:
    """Have the rows that a vault gave back written into their database.

    Raises:
        SourceError: they are no rows.
        BrokerError: the broker, or the database behind it, refuses or is away.
    """
    with TemporaryDirectory(prefix="rows-", dir=directory.parent) as scratch:
        archive = Path(scratch) / "rows.tar"
        with archive.open("wb") as file:
            for part in pack_directory(directory):
                file.write(part)
        return broker.put_rows(name, archive)


def _persistently(attempt: Callable[[], Source]) -> Source:
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except SourceUnavailableError:
            continue  # the whole stream again: another snapshot
    return attempt()


class _RowsSource(Source):
    """The files, with the metadata that a `PostgresSource` gives them."""

    def __init__(self, directory: Path, end: End) -> None:
        self._directory = directory
        self._facts = end.facts
        text = (directory / meta.FILE).read_bytes()
        described = meta.Meta.model_validate_json(text)
        self._mtime = nanoseconds(described.time)
        self._meta_size = len(text)
        if len(end.sizes) != len(described.tables):
            raise SourceError(
                "the broker's rows are not whole: do broker and worker have one version?"
            )
        self._sizes = dict(zip((t.file.encode() for t in described.tables), end.sizes, strict=True))

    def root(self) -> Entry:
        """Give the top directory."""
        return self._entry(b"", EntryType.DIRECTORY)

    def children(self, path: bytes) -> list[Entry]:
        """Give `meta.json` and the tables' directory, or the tables' files."""
        if not path:
            return [
                self._entry(meta.FILE.encode(), EntryType.FILE, self._meta_size),
                self._entry(meta.DIRECTORY.encode(), EntryType.DIRECTORY),
            ]
        return [
            self._entry(name, EntryType.FILE, size) for name, size in sorted(self._sizes.items())
        ]

    def open(self, path: bytes, entry: Entry) -> Reader:
        """Open a file."""
        known = path == meta.FILE.encode() or entry.name in self._sizes
        if not known:
            raise SourceError(f"there is no file {shown(path)} in this source")
        return _FileReader(self._directory / path.decode(), entry)

    def estimate(self) -> int | None:
        """Give the bytes that the rows take in the database."""
        return sum(self._sizes.values()) + self._meta_size

    def facts(self) -> dict[str, Any]:
        """Give what the database said of the snapshot, as the broker passed it on."""
        return self._facts

    def _entry(self, name: bytes, type_: EntryType, size: int = 0) -> Entry:
        mode = 0o700 if type_ is EntryType.DIRECTORY else 0o600
        return Entry(name=name, type=type_, size=size, mode=mode, mtime_ns=self._mtime)


class _FileReader:
    """One file of the scratch space."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self._file = path.open("rb")
        self._entry = entry

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer)

    def finish(self) -> Entry:
        return msgspec.structs.replace(self._entry, size=self._file.tell())

    def close(self) -> None:
        self._file.close()
