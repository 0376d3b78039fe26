"""Rows on their way between a worker and whoever reads and writes the database for it: a tar.

`meta.json` comes first, then `tables/0`, `tables/1` … in the order of its list (members of one name
that follow each other are parts of one file, so that nothing has to be counted or kept before it is
sent), and last `end.json`: without it the tar is not whole. Only plain members of these names are
read, a block at a time: no path, no link and no header of any length comes from the other side.
"""

import tarfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from weddingbackup.resources.base import Model
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import meta
from weddingbackup.sources.postgres.export import PostgresSource
from weddingbackup.sources.postgres.meta import Meta
from weddingbackup.vault.entries import Reader

_PART: Final = 1 << 20
_BLOCK: Final = 512
_END: Final = "end.json"
_LARGEST_TEXT: Final = 8 << 20
_ZEROS: Final = bytes(_BLOCK)


class End(Model):
    """The last member: what the files do not say, or why there are no more of them."""

    facts: dict[str, Any] = Field(default_factory=dict)
    sizes: list[int] = Field(default_factory=list)
    """Of the tables' files, as the source listed them before they were read."""
    error: str | None = None
    passing: bool = False
    """Trying again may help."""


def pack(source: PostgresSource) -> Generator[bytes, None, None]:
    """Give a tar of an entered source, piece by piece; what goes wrong stands in its end."""
    try:
        listed = {entry.name: entry for entry in source.children(b"")}
        reader = source.open(meta.FILE.encode(), listed[meta.FILE.encode()])
        yield from _member(meta.FILE, b"".join(_read(reader)))
        sizes = {entry.name: entry for entry in source.children(meta.DIRECTORY.encode())}
        entries = [sizes[name.encode()] for name in source.files()]
        for number, entry in enumerate(entries):
            name = f"{meta.DIRECTORY}/{number}"
            yield from _member(name, b"")
            for part in _read(source.open(meta.DIRECTORY.encode() + b"/" + entry.name, entry)):
                yield from _member(name, part)
        end = End(facts=source.facts(), sizes=[entry.size for entry in entries])
    except (SourceError, SourceUnavailableError) as error:
        end = End(error=str(error), passing=isinstance(error, SourceUnavailableError))
    yield from _member(_END, end.to_json().encode())
    yield _ZEROS * 2


def pack_directory(directory: Path) -> Iterator[bytes]:
    """Give a tar of files that a vault gave back.

    Raises:
        SourceError: they are no rows of a database.
    """
    text = _bytes_of(directory / meta.FILE)
    description = _parse(text)
    yield from _member(meta.FILE, text)
    for number, table in enumerate(description.tables):
        name = f"{meta.DIRECTORY}/{number}"
        yield from _member(name, b"")
        with (directory / meta.DIRECTORY / table.file).open("rb") as file:
            while part := file.read(_PART):
                yield from _member(name, part)
    yield from _member(_END, End().to_json().encode())
    yield _ZEROS * 2


def unpack(read: Callable[[int], bytes], directory: Path, *, most: int | None = None) -> End:
    """Bring a tar's files into a directory, as a `PostgresSource` names them.

    Args:
        read: gives up to so many bytes of the tar, none at its end.
        directory: an empty one.
        most: bytes that the files may have together.

    Raises:
        SourceError: it is no such tar, or too large, or says that there is no use in another try.
        SourceUnavailableError: it broke off, or says that another try may help.
    """
    (directory / meta.DIRECTORY).mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    room = most
    while True:
        name, size = _header(read)
        if room is not None:
            room -= size
            if room < 0:
                raise SourceError(f"the rows take more than {most} bytes")
        if name in {meta.FILE, _END}:
            text = _text(read, name, size)
            if name == _END:
                return _ended(text, directory, paths)
            paths = _begin(text, directory, again=bool(paths))
            continue
        with _place(name, paths).open("ab") as file:
            for part in _data(read, size):
                file.write(part)


def _read(reader: Reader) -> Iterator[bytes]:
    buffer = memoryview(bytearray(_PART))
    try:
        while count := reader.readinto(buffer):
            yield bytes(buffer[:count])
        reader.finish()
    finally:
        reader.close()


def _member(name: str, data: bytes) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    yield info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % _BLOCK)


def _header(read: Callable[[int], bytes]) -> tuple[str, int]:
    block = _exactly(read, _BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise SourceError("what should be a tar of rows is none, or is not whole") from None
    if info.type != tarfile.REGTYPE or info.size < 0:
        raise SourceError("the tar of rows holds something other than plain files")
    return info.name, info.size


def _begin(text: bytes, directory: Path, *, again: bool) -> list[Path]:
    """Make a file for each table that meta.json names."""
    if again:
        raise SourceError(f"the tar of rows holds {meta.FILE} more than once")
    description = _parse(text)
    (directory / meta.FILE).write_bytes(text)
    paths = [directory / meta.DIRECTORY / table.file for table in description.tables]
    for path in paths:
        try:
            path.open("xb").close()
        except (OSError, ValueError):
            raise SourceError(f"{meta.FILE} names a file that cannot be: {path.name!r}") from None
    return paths


def _parse(text: bytes) -> Meta:
    try:
        description = Meta.model_validate_json(text)
    except ValidationError:
        raise SourceError(f"{meta.FILE} cannot be read") from None
    for table in description.tables:
        if not meta.is_file_name(table.file):
            raise SourceError(f"{meta.FILE} names no file of its own: {table.file!r}")
    return description


def _place(name: str, paths: list[Path]) -> Path:
    folder, _, number = name.partition("/")
    if folder == meta.DIRECTORY and number.isdecimal() and int(number) < len(paths):
        return paths[int(number)]
    raise SourceError("the tar of rows holds a member that is none of its tables'")


def _ended(text: bytes, directory: Path, paths: list[Path]) -> End:
    try:
        end = End.model_validate_json(text)
    except ValidationError:
        raise SourceError(f"{_END} cannot be read") from None
    if end.error is not None:
        raise SourceUnavailableError(end.error) if end.passing else SourceError(end.error)
    if not paths and not (directory / meta.FILE).exists():
        raise SourceError(f"the tar of rows has no {meta.FILE}")
    return end


def _text(read: Callable[[int], bytes], name: str, size: int) -> bytes:
    if size > _LARGEST_TEXT:
        raise SourceError(f"{name} is larger than {_LARGEST_TEXT} bytes")
    return b"".join(_data(read, size))


def _data(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        part = _exactly(read, min(_PART, left))
        left -= len(part)
        yield part
    _exactly(read, -size % _BLOCK)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = read(size - len(data))
        if not part:
            raise SourceUnavailableError("the rows broke off on the way")
        data += part
    return bytes(data)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise SourceError(f"the backup's file {path.name} was not restored") from None
