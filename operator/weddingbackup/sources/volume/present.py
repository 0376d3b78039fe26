"""A regular file that stands where one is to be restored, and may turn out to be the same.

Whoever had it open for writing has so still when it is kept. So it is kept only where that gives
nobody more than before: it belongs to the entry's owner already (or, without the privilege to give
files away, to who restores), has no other name, and gets no set-user-id bit that it did not have.
"""

import errno
import mmap
import os
import stat
from collections.abc import Iterable

from weddingbackup.sources.volume import attributes, segments
from weddingbackup.sources.volume.directories import DirectoryTree
from weddingbackup.sources.volume.keeping import Keeper
from weddingbackup.sources.volume.names import is_safe, split
from weddingbackup.vault.entries import Entry

# NONBLOCK: a fifo that took the file's place must not hang the recovery.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PresentFile:
    """A file as it was found. Holds no handle, since there may be many. Thread-safe."""

    __slots__ = ("_entry", "_keeper", "_path", "_seen", "_tree")

    def __init__(self, tree: DirectoryTree, keeper: Keeper, path: bytes, entry: Entry) -> None:
        """Look at it.

        Raises:
            OSError: there is no file that could be the entry's, by all but its bytes.
        """
        self._tree = tree
        self._keeper = keeper
        self._path = path
        self._entry = entry
        directory, name = split(path)
        if not is_safe(name):
            raise _other()
        status = os.stat(name, dir_fd=tree.open(directory).fd, follow_symlinks=False)
        self._seen = _identity(status)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_size != entry.size
            or (status.st_nlink, entry.links) != (1, 1)
            or (entry.segments and not self._has_holes())
        ):
            raise _other()

    def read(self, pieces: Iterable[tuple[int, int]], buffer: memoryview, /) -> None:
        """Fill the buffer with these (offset, length), read from the disk where it has them.

        The page cache may hold what the disk, or a network's file system, refused to take from an
        earlier attempt: nobody would write that a second time.

        Raises:
            OSError: it cannot be read, or is another one by now, or changed.
        """
        fd = self._open()
        try:
            done = 0
            for offset, length in pieces:
                _forget(fd, offset, length)
                _fill(fd, buffer[done : done + length], offset)
                done += length
            if _identity(os.fstat(fd)) != self._seen:
                raise _other()
        finally:
            os.close(fd)

    def keep(self) -> bool:
        """Give the file the entry's metadata; what it has already is not touched.

        So its ctime stays, and the next backup need not read it.

        Returns:
            False: it may not be kept.

        Raises:
            OSError: it is another one by now, or changed; or its metadata could not be set.
        """
        fd = self._open()
        try:
            status = os.fstat(fd)
            if _identity(status) != self._seen:
                raise _other()
            entry, xattrs = self._entry, attributes.xattrs_of(fd)
            owner = status.st_uid, status.st_gid
            mode = stat.S_IMODE(status.st_mode)
            if (
                owner == (entry.uid, entry.gid)
                and mode == entry.mode
                and status.st_mtime_ns == entry.mtime_ns
                and xattrs == entry.xattrs
            ):
                return True
            if not self._keeper.may_adopt(owner, entry):
                return False
            self._keeper.keep(fd, self._path, entry, owner=owner, clean=not xattrs)
            return True
        finally:
            os.close(fd)

    def _has_holes(self) -> bool:
        fd = self._open()
        try:
            return segments.find(fd, self._entry.size) == self._entry.segments
        finally:
            os.close(fd)

    def _open(self) -> int:
        directory, name = split(self._path)
        return os.open(name, _FLAGS, dir_fd=self._tree.open(directory).fd)


def _fill(fd: int, buffer: memoryview, offset: int) -> None:
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if not count:
            raise _other()
        done += count


def _forget(fd: int, offset: int, length: int) -> None:
    """Drop written pages of a file from the page cache; it takes whole ones only."""
    start = offset - offset % mmap.PAGESIZE
    size = offset + length + mmap.PAGESIZE - start
    os.posix_fadvise(fd, start, size, os.POSIX_FADV_DONTNEED)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What is the same as long as nobody touches the file."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _other() -> OSError:
    return OSError(errno.ESTALE, "another file, or it changed")
