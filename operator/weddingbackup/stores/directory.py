"""A directory as a location, for the command line: a disk in a drawer, or a store mounted or synced here.

An object is a file of the same name. It is written beside its place and linked into it, which is
create-only and whole or not at all; both the file and the directory are flushed first. Objects of
`packs/` are spread over 256 directories by the first two digits of their names.
"""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from weddingbackup.stores import names
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
)

_TEMPORARY = ".tmp-"  # no object's name has a component that begins with a dot
_TEMPORARY_SECONDS = 24 * 3600  # no writer takes that long for one object
_SPREAD = "packs"
_DIGITS = 2


class DirectoryStore:
    """A `Store` in a directory, with what a keeper does beside it: head and delete.

    Args:
        path: is made when it is missing.
        location: for messages; the path, where it isn't given.
        prefix: where objects lie below the path.
    """

    def __init__(self, path: Path, *, location: str | None = None, prefix: str = "") -> None:
        self.location = location or str(path)
        self._root = path / names.below(prefix)
        self._swept: set[Path] = set()

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        """Create an object; see `Store.put`.

        No wire lies between that could change the bytes, so they are not hashed once more: `sha256`
        only tells whether an object that has the name already is the same.
        """
        path = self._path(name)
        with self._errors(name):
            _make_directories(path.parent, self._root)
            if path.parent not in self._swept:
                _sweep(path.parent)
                self._swept.add(path.parent)
            temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
            try:
                _write(temporary, data)
                os.link(temporary, path)
                _flush_directory(path.parent)
            except FileExistsError:
                if hashlib.sha256(path.read_bytes()).digest() != sha256:
                    raise
            finally:
                temporary.unlink(missing_ok=True)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a part of it; see `Store.get`."""
        if offset < 0 or (length is not None and length <= 0):
            raise ValueError(f"no such part of an object: {length} bytes from {offset}")
        with self._errors(name), self._path(name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            data = file.read(-1 if length is None else length)
        expected = size - offset if length is None else length
        if len(data) != expected or expected < 0:
            raise CorruptError(
                f"object {name} in {self.location} has {size} bytes: no {length} from {offset}",
                location=self.location,
                name=name,
            )
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in no order."""
        names.check_prefix(prefix)
        folder = self._root / prefix.rpartition("/")[0]
        with self._errors(""):
            for directory, _, files in os.walk(folder, onerror=_unless_missing):
                for file in files:
                    path = Path(directory, file)
                    name = _name(path.relative_to(self._root).parts)
                    # Others' files, and temporary ones, have names that no object has.
                    if name.startswith(prefix) and names.is_name(name):
                        yield _info(name, path)

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        with self._errors(name):
            return _info(name, self._path(name))

    def delete(self, name: str) -> None:
        """Remove an object; one that isn't there is no error."""
        with self._errors(name), suppress(FileNotFoundError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        first, *rest = names.check(name).split("/")
        if first == _SPREAD and rest:
            rest.insert(0, rest[0][:_DIGITS])
        return self._root.joinpath(first, *rest)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        where = {"location": self.location, "name": name}
        try:
            yield
        except FileNotFoundError as error:
            raise MissingError(f"object {name} is not in {self.location}", **where) from error
        except FileExistsError as error:
            raise ExistsError(
                f"object {name} exists in {self.location} with other bytes; it was left as it is",
                **where,
            ) from error
        except PermissionError as error:
            raise DeniedError(f"{self.location}: {error}", **where) from error
        except (IsADirectoryError, NotADirectoryError) as error:
            raise StoreError(f"{self.location}: {error}", **where) from error
        except OSError as error:  # a full disk, a network that is away: may pass
            raise TransientError(
                f"{self.location}: {error}", location=self.location, name=name
            ) from error


def _name(parts: tuple[str, ...]) -> str:
    if parts[0] == _SPREAD and len(parts) > 2:  # noqa: PLR2004  packs/ab/abcd…
        parts = (parts[0], *parts[2:])
    return "/".join(parts)


def _info(name: str, path: Path) -> ObjectInfo:
    facts = path.stat()
    return ObjectInfo(name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


def _unless_missing(error: OSError) -> None:
    """Raise what `os.walk` would pass over: a directory that cannot be read is not an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _sweep(folder: Path) -> None:
    """Remove what writers left that were killed before they could; others may be at work here."""
    before = time.time() - _TEMPORARY_SECONDS
    for path in folder.glob(f"{_TEMPORARY}*"):
        with suppress(FileNotFoundError):  # somebody else sweeps, too
            if path.stat().st_mtime < before:
                path.unlink()


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_directories(path: Path, root: Path) -> None:
    """Make missing directories, each flushed into its parent, or a power cut could lose them."""
    if path.is_dir():
        return
    try:
        if path != root:
            _make_directories(path.parent, root)
            path.mkdir(exist_ok=True)
            _flush_directory(path.parent)
        else:
            path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(
            errno.ENOTDIR, "a file is where a directory should be", str(path)
        ) from None


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
