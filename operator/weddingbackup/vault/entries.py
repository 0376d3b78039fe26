"""What a source yields and a target takes: the shape of a protected tree of files.

It stands apart from the engine so that sources and targets need to know nothing else of it.
Names and paths are bytes, since a file's name need not be UTF-8. A path is relative to the top,
joined by `/`, and `b""` is the top itself.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = 512 * 1024
"""Files of fewer stored bytes are read whole and share chunks; larger ones are cut by content."""

_BLOCK = 64 * 1024


def shown(path: bytes) -> str:
    """Give a path as it may stand in a message; the top is ".".

    What is not printable is escaped, whatever its bytes: a file's name must not steer the terminal
    or the log that shows it.
    """
    text = path.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in text
        )
    return text or "."


class EntryType(IntEnum):
    """What kind of thing an entry is. The numbers are part of the format."""

    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHAR_DEVICE = 6
    BLOCK_DEVICE = 7


_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Device = Annotated[int, msgspec.Meta(ge=0)]
_Mode = Annotated[int, msgspec.Meta(ge=0, lt=0o10000)]


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One directory entry with its metadata; the order of the fields is part of the format.

    Attributes:
        name: one component; empty for the top directory.
        type: see `EntryType`.
        size: logical bytes of a FILE, 0 for all others.
        mode: permission bits (07777), without the file type.
        uid: owner.
        gid: group.
        mtime_ns: nanoseconds since the epoch.
        ctime_ns: nanoseconds since the epoch; 0 says "never take this for unchanged".
        inode: with `device` the identity of a hard-linked file; 0 where there is none.
        device: which file system within the source, a small number that is the same in every run
            (0: the top's); never a raw st_dev, which changes from mount to mount.
        links: hard links, 1 for most.
        target: where a SYMLINK points.
        rdev: device number of a CHAR_DEVICE or BLOCK_DEVICE.
        xattrs: (name, value), sorted by name.
        segments: (offset, length) of the data of a sparse FILE, ascending; () is not sparse. A
            file that is one hole of its size has ((0, 0),).
    """

    name: bytes
    type: EntryType
    size: _Size = 0
    mode: _Mode = 0o644
    uid: _Id = 0
    gid: _Id = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    device: int = 0
    links: int = 1
    target: bytes = b""
    rdev: _Device = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    segments: tuple[tuple[int, int], ...] = ()

    @property
    def stored_size(self) -> int:
        """Bytes that a reader delivers: all of them, or the data segments of a sparse file."""
        return sum(length for _, length in self.segments) if self.segments else self.size


def is_possible(entry: Entry) -> bool:
    """Whether a system's calls can take what an entry says beside its name.

    Its numbers have bounds (above). No target of a link and no name of an attribute has a NUL: that
    is no OSError, so one such entry would end a whole recovery.
    """
    return b"\0" not in entry.target and all(name and b"\0" not in name for name, _ in entry.xattrs)


class SourceChangedError(Exception):
    """A file changed while it was read; `entry` is the file as it was seen last."""

    def __init__(self, entry: Entry) -> None:
        """Take the entry as seen after reading."""
        super().__init__("the file changed while it was read")
        self.entry = entry


class Reader(Protocol):
    """One open file of a source."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer from its start; returns bytes read, 0 at the end.

        A sparse file delivers the bytes of its data segments only, one after the other.
        """

    def finish(self) -> Entry:
        """Give the entry of what was truly read (size, times, xattrs, segments).

        Raises:
            SourceChangedError: it changed meanwhile.
        """

    def close(self) -> None:
        """Release the file; safe after an error."""


class Source(Protocol):
    """A tree that can be read. Subclass it to get the default of `read_small`.

    An OSError about one file makes the engine leave that file out, with a warning; any other
    exception ends the backup.
    """

    def root(self) -> Entry:
        """Give the top directory's own metadata, its name empty."""

    def children(self, path: bytes) -> list[Entry]:
        """Give one directory's entries, sorted by name.

        xattrs and segments of a FILE may be left out here, when `open` and `read_small` deliver
        them: an unchanged file (size, mtime, ctime, inode) keeps the entry of the last backup.
        """

    def open(self, path: bytes, entry: Entry) -> Reader:
        """Open the file at `path` (the entry's own path, not its directory's)."""

    def read_small(
        self, path: bytes, entries: list[Entry]
    ) -> list[tuple[Entry, bytes] | SourceChangedError | OSError]:
        """Read small files of the directory `path` whole, one answer an entry, in order.

        The fast road for many small files: a source that can do it without an object a file
        should. Each answer is (entry as it truly was, its stored bytes), or what went wrong. A
        file that is not smaller than `SMALL` after all (it grew, or the listing could only guess)
        is answered with SourceChangedError: it is then opened, and never held in memory whole.
        """
        return [_read_whole(self, path + b"/" + e.name if path else e.name, e) for e in entries]

    def estimate(self) -> int | None:
        """Give the bytes to be read, for the percentage; None where unknown."""

    def facts(self) -> dict[str, Any]:
        """Give what should be recorded with the point, JSON-able; asked after all was read."""


def _read_whole(
    source: Source, path: bytes, entry: Entry
) -> tuple[Entry, bytes] | SourceChangedError | OSError:
    try:
        reader = source.open(path, entry)
    except OSError as error:
        return error
    try:
        data = bytearray()
        block = memoryview(bytearray(_BLOCK))
        while count := reader.readinto(block):
            data += block[:count]
            if len(data) >= SMALL:
                return SourceChangedError(entry)
        return reader.finish(), bytes(data)
    except (OSError, SourceChangedError) as error:
        return error
    finally:
        reader.close()


class FileWriter(Protocol):
    """One file on its way back. It appears whole at `commit`, or not at all."""

    def write(self, offset: int, data: bytes | memoryview, /) -> None:
        """Write verified bytes at a logical offset; from several threads, in any order."""

    def commit(self) -> None:
        """Give it its metadata and its name."""

    def abort(self) -> None:
        """Leave nothing behind; safe after a failed commit."""


class PresentFile(Protocol):
    """A regular file that stands where a file is to be put back. Thread-safe."""

    def read(self, pieces: Iterable[tuple[int, int]], buffer: memoryview, /) -> None:
        """Fill the buffer with these (offset, length) of the file, one after the other.

        Raises:
            OSError: it cannot be read, or is not the file that was found any more.
        """

    def keep(self) -> bool:
        """Give it the entry's metadata where it stands; False: it has to be written anew.

        Raises:
            OSError: likewise.
        """


class Target(Protocol):
    """Where a tree is put back. Its methods are called from several threads, a path at a time.

    A directory comes before what is in it; a link after all files.
    An OSError about one path fails that path only, save ENOSPC, EDQUOT and EROFS, which end all.
    """

    def directory(self, path: bytes, entry: Entry) -> bool:
        """Make a directory, writable for now; says whether it was there and may hold files."""

    def finish_directory(self, path: bytes, entry: Entry) -> None:
        """Give a directory its metadata, once all in it is there; deepest first."""

    def present(self, path: bytes, entry: Entry) -> PresentFile | None:
        """Give the regular file that is there, if its size, holes and links are the entry's."""

    def file(self, path: bytes, entry: Entry) -> FileWriter:
        """Begin a file; bytes outside the entry's segments, if it has any, are holes."""

    def small_file(self, path: bytes, entry: Entry, data: bytes | memoryview) -> None:
        """Write a file that is not sparse in one step: begin, write, commit."""

    def other(self, path: bytes, entry: Entry) -> None:
        """Make a symbolic link, fifo, socket or device."""

    def link(self, path: bytes, to_path: bytes) -> None:
        """Make `path` a hard link to `to_path`, which is there already."""

    def warnings(self) -> list[str]:
        """Say what could not be kept (owners without the privilege, for example)."""
