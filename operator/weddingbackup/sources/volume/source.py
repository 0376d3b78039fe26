"""Reads a mounted volume for a backup: every kind of file, with all that is known about it.

Stays on the volume's own file system. A file that changes while it is read is noticed by its size
and times before and after; changes through a shared memory map may escape that, as they do
everywhere, until the kernel writes them back.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.volume import attributes
from weddingbackup.sources.volume.directories import Directory, DirectoryTree
from weddingbackup.sources.volume.globs import Selection
from weddingbackup.sources.volume.names import is_temporary, join, split
from weddingbackup.sources.volume.reader import RECENT_NS, FileReader
from weddingbackup.sources.volume.tally import Tally
from weddingbackup.vault.entries import Entry, EntryType, Source, SourceChangedError, shown

# NONBLOCK: a fifo that took the file's place must not hang the backup.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE})

_VANISHED = "Gone, or something else by now, when it was to be read; left out"


class VolumeSource(Source):
    """The files below a directory. Thread-safe.

    Args:
        root: the top directory.
        include: patterns (see `globs`); empty: everything.
        exclude: patterns; they win.
        clock: nanoseconds since the epoch.
        sleep: seconds.

    Raises:
        SourceError: the top is missing or may not be read.
    """

    def __init__(
        self,
        root: Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            self._tree = DirectoryTree(os.fspath(root))
        except PermissionError as error:
            raise _denied(os.fsencode(root)) from error
        except OSError as error:
            message = f"There is no directory {root} to back up ({error.strerror}): check the path."
            raise SourceError(message) from error
        self._device = os.fstat(self._tree.top.fd).st_dev
        self._devices = {self._device: 0}
        self._selection = Selection(include, exclude)
        self._clock = clock
        self._sleep = sleep
        self._no_atime = os.O_NOATIME
        self._tally = Tally()
        self._lock = Lock()
        self._listed = 0

    def root(self) -> Entry:
        """Give the top directory's own metadata."""
        fd = self._tree.top.fd
        return attributes.entry(b"", os.fstat(fd), device=0, xattrs=attributes.xattrs_of(fd))

    def children(self, path: bytes) -> list[Entry]:
        """List a directory, sorted by name; regular files come without xattrs and segments.

        Raises:
            SourceError: it may not be read.
            FileNotFoundError: it is gone.
        """
        found = self._list(path, self._tally)
        with self._lock:
            self._listed += len(found)
        return found

    def open(self, path: bytes, entry: Entry) -> FileReader:
        """Open a regular file.

        Raises:
            SourceError: it may not be read.
            FileNotFoundError: it is gone, or no regular file any more.
        """
        parent, _ = split(path)
        fd = self._open(self._directory(parent, self._tally), path, entry.name)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return FileReader(
                    fd, entry.name, device=self._number, clock=self._clock, sleep=self._sleep
                )
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise _vanished(path, self._tally)

    def read_small(
        self, path: bytes, entries: list[Entry]
    ) -> list[tuple[Entry, bytes] | SourceChangedError | OSError]:
        """Read small regular files of one directory whole; one answer an entry, in order.

        Five system calls a file, one of them a stat: where it tells what the listing told, nothing
        changed in between and the listed entry stands. All else takes the way of one file.
        """
        try:
            directory = self._directory(path, self._tally)
        except OSError as error:
            return [error] * len(entries)
        held_still = self._clock() - RECENT_NS
        result: list[tuple[Entry, bytes] | SourceChangedError | OSError] = []
        for entry in entries:
            try:
                read = entry.ctime_ns < held_still and self._read_small(directory, path, entry)
                result += [read] if read else super().read_small(path, [entry])
            except OSError as error:
                result.append(error)
        return result

    def _read_small(
        self, directory: Directory, path: bytes, entry: Entry
    ) -> tuple[Entry, bytes] | None:
        """Read one file on the assumption that it is as listed; None where it is not, or sparse."""
        fd = self._open(directory, join(path, entry.name), entry.name)
        try:
            data = os.read(fd, entry.size + 1)
            status = os.fstat(fd)
            xattrs = attributes.xattrs_of(fd)
        finally:
            os.close(fd)
        if (
            len(data) != entry.size
            or status.st_ctime_ns != entry.ctime_ns
            or status.st_mtime_ns != entry.mtime_ns
            or status.st_ino != entry.inode
            or status.st_size != entry.size
            or status.st_blocks * 512 < status.st_size
        ):
            return None
        return (msgspec.structs.replace(entry, xattrs=xattrs) if xattrs else entry), data

    def estimate(self) -> int | None:
        """Give the bytes of all selected files, found by a walk through all directories."""
        total = 0
        unheard = Tally()
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            try:
                entries = self._list(path, unheard)
            except FileNotFoundError:
                continue
            for entry in entries:
                total += entry.size
                if entry.type is EntryType.DIRECTORY:
                    waiting.append(join(path, entry.name))
        return total

    def facts(self) -> dict[str, Any]:
        """Give what the point should remember: the warnings, for people."""
        warnings = self._tally.lines()
        if not self._listed:
            warnings.insert(0, "The source is empty: there was nothing to back up.")
        return {"warnings": warnings}

    def _list(self, path: bytes, tally: Tally) -> list[Entry]:
        directory = self._directory(path, tally)
        if os.fstat(directory.fd).st_dev != self._device:
            tally.add("Another file system is mounted there, its files are left out", path)
            return []
        try:
            # A handle of its own: threads that list one directory must not share a position in it.
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.fd)
            try:
                with os.scandir(fd) as listing:
                    seen = [self._look(directory.fd, path, item, tally) for item in listing]
            finally:
                os.close(fd)
        except PermissionError as error:
            raise _denied(path) from error
        return sorted((entry for entry in seen if entry is not None), key=attrgetter("name"))

    def _look(
        self, directory: int, path: bytes, item: os.DirEntry[str], tally: Tally
    ) -> Entry | None:
        """Give one entry of a listing; None for what is not to be backed up, or gone by now."""
        name = os.fsencode(item.name)
        try:
            status = item.stat(follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if is_temporary(name) or not self._selected(path, name, kind, status.st_uid):
                return None
            device = self._number(status.st_dev)
            if kind == stat.S_IFREG:
                return attributes.entry(name, status, device=device)
            target = os.readlink(name, dir_fd=directory) if kind == stat.S_IFLNK else b""
        except OSError as error:
            if error.errno not in _GONE | {errno.EINVAL}:  # EINVAL: no symbolic link any more
                raise
            tally.add(_VANISHED, join(path, name))
            return None
        xattrs = self._xattrs(directory, path, name, tally)
        return attributes.entry(name, status, device=device, target=target, xattrs=xattrs)

    def _xattrs(self, directory: int, path: bytes, name: bytes, tally: Tally) -> attributes.Xattrs:
        try:
            return attributes.xattrs_of(attributes.beneath(directory, name))
        except OSError:
            tally.add("Extended attributes could not be read", join(path, name))
            return ()

    def _selected(self, path: bytes, name: bytes, kind: int, owner: int) -> bool:
        directory = kind == stat.S_IFDIR
        if name == b"lost+found" and not path and directory and owner == 0:
            return False  # the file system's own, and readable by root alone
        selection = self._selection
        return selection.everything or selection.takes(join(path, name), directory=directory)

    def _directory(self, path: bytes, tally: Tally) -> Directory:
        try:
            return self._tree.open(path)
        except PermissionError as error:
            raise _denied(path) from error
        except OSError as error:
            if error.errno in _GONE:
                raise _vanished(path, tally) from error
            raise

    def _open(self, directory: Directory, path: bytes, name: bytes) -> int:
        try:
            return os.open(name, _FLAGS | self._no_atime, dir_fd=directory.fd)
        except PermissionError as error:
            if self._no_atime and error.errno == errno.EPERM:  # somebody else's file
                self._no_atime = 0
                return self._open(directory, path, name)
            raise _denied(path) from error
        except OSError as error:
            if error.errno in _GONE:
                raise _vanished(path, self._tally) from error
            raise

    def _number(self, device: int) -> int:
        """Give the vault's small number of a `st_dev`, which changes from mount to mount."""
        number = self._devices.get(device)
        if number is None:
            with self._lock:
                number = self._devices.setdefault(device, len(self._devices))
        return number


def _denied(path: bytes) -> SourceError:
    return SourceError(
        f"{shown(path)} may not be read by user {os.geteuid()}, group {os.getegid()}: set the "
        "worker's runAsUser or fsGroup to the owner's, or its privilege to Root."
    )


def _vanished(path: bytes, tally: Tally) -> FileNotFoundError:
    tally.add(_VANISHED, path)
    return FileNotFoundError(errno.ENOENT, "gone between being listed and being read", shown(path))
