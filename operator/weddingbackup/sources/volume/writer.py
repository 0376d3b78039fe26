"""One file on its way back to a volume: written in any order, seen whole or not at all."""

import contextlib
import errno
import os
from collections.abc import Iterator
from threading import Lock

from weddingbackup.sources.volume.attributes import xattrs_of
from weddingbackup.sources.volume.directories import Directory
from weddingbackup.sources.volume.keeping import Keeper
from weddingbackup.sources.volume.landing import Landing, refusal
from weddingbackup.sources.volume.names import split
from weddingbackup.vault.entries import Entry, shown

# From here on a file's space is claimed before its first byte: a full volume is noticed early.
_CLAIM_FROM = 1024 * 1024
_NO_CLAIMING = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})

CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def newcomer(directory: Directory, fd: int) -> tuple[tuple[int, int], bool]:
    """Give the owner that new files get in a directory, and if they are free of attributes.

    Asked once a directory: a set-group-id directory hands down its group, a default access list
    itself, and a network's file system may map users.
    """
    if directory.newcomer is None:
        status = os.fstat(fd)
        directory.newcomer = (status.st_uid, status.st_gid), not xattrs_of(fd)
    return directory.newcomer


class VolumeFileWriter:
    """A file that is not there yet. `write` may be called from several threads.

    Nobody closes the file while somebody writes to it: the next file that is opened gets the same
    number, and would get the rest of the write. After an `abort` the last one who writes closes it.
    """

    def __init__(
        self, landing: Landing, keeper: Keeper, directory: Directory, path: bytes, entry: Entry
    ) -> None:
        """Begin a file at `path`, whose directory is open."""
        self._landing = landing
        self._keeper = keeper
        self._directory = directory
        self._path = path
        self._entry = entry
        self._lock = Lock()
        self._written = 0
        self._writing = 0
        self._given_up = False
        self._temporary = landing.temporary()
        self._fd = -1
        try:
            self._fd = os.open(self._temporary, CREATE, 0o600, dir_fd=directory.fd)
            self._claim()
        except OSError as error:
            self.abort()
            raise refusal(error, path) from error

    def _claim(self) -> None:
        entry = self._entry
        if entry.segments:
            os.ftruncate(self._fd, entry.size)
        elif entry.size >= _CLAIM_FROM:
            try:
                os.posix_fallocate(self._fd, 0, entry.size)
            except OSError as error:
                if error.errno not in _NO_CLAIMING:
                    raise

    def write(self, offset: int, data: bytes | memoryview, /) -> None:
        """Write verified bytes at a logical offset.

        Raises:
            TargetError: the volume is full; ends the recovery.
            OSError: this file cannot be written.
            ValueError: the bytes lie outside the file.
        """
        if offset < 0 or offset + len(data) > self._entry.size:
            raise ValueError(f"bytes outside of {shown(self._path)} at offset {offset}")
        try:
            with self._lent() as fd:
                write_all(fd, data, offset)
        except OSError as error:
            raise refusal(error, self._path) from error
        with self._lock:
            self._written += len(data)

    def commit(self) -> None:
        """Give the file its metadata, then its name.

        Raises:
            TargetError, OSError: as for `write`; nothing is left behind.
            ValueError: bytes are missing, or being written.
        """
        with self._lock:
            if self._writing or self._written < self._entry.stored_size:
                wanted = self._entry.stored_size
                message = f"{shown(self._path)} is not whole: {self._written} of {wanted} bytes"
                raise ValueError(message)
            fd, self._fd = self._fd, -1  # no later write or abort finds it
        try:
            _, name = split(self._path)
            try:
                owner, clean = newcomer(self._directory, fd)
                self._keeper.keep(fd, self._path, self._entry, owner=owner, clean=clean)
            finally:
                # A network's file system may only say at the close that its disk is full.
                os.close(fd)
            self._landing.install(self._directory, self._temporary, name, self._path)
        except OSError as error:
            self.abort()
            raise refusal(error, self._path) from error

    def abort(self) -> None:
        """Leave nothing behind; does nothing after a commit."""
        with self._lock:
            self._given_up = True
            self._close_when_idle()
        self._landing.discard(self._directory, self._temporary)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[int]:
        """Lend the open file for a write.

        Raises:
            OSError: it was given up, or is done.
        """
        with self._lock:
            if self._given_up or self._fd < 0:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            self._writing += 1
        try:
            yield self._fd
        finally:
            with self._lock:
                self._writing -= 1
                self._close_when_idle()

    def _close_when_idle(self) -> None:
        """Close a file that was given up once nobody writes to it; the lock is held."""
        if self._given_up and not self._writing and self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):  # what became of its bytes matters no more
                os.close(fd)


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write at an offset until all is written: the kernel may take less at a time."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)
