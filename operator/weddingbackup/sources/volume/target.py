"""Puts files back on a mounted volume, beside an application that may be using it.

Every file appears whole or not at all. What the backup does not hold stays as it is. Durability is
bought once: an fsync a file would make 100,000 small files take minutes, so `close` writes back
the whole file system before a recovery may be called complete. A power cut before that ends in
another run, which keeps what it finds whole on the disk and writes the rest again.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from weddingbackup.sources.errors import SourceUnavailableError, TargetError
from weddingbackup.sources.volume import attributes
from weddingbackup.sources.volume.directories import Directory, DirectoryTree
from weddingbackup.sources.volume.keeping import Keeper, chmod_by_path_handle
from weddingbackup.sources.volume.landing import Landing, refusal
from weddingbackup.sources.volume.names import is_safe, split
from weddingbackup.sources.volume.present import PresentFile
from weddingbackup.sources.volume.syncfs import syncfs
from weddingbackup.sources.volume.tally import Tally
from weddingbackup.sources.volume.writer import CREATE, VolumeFileWriter, newcomer, write_all
from weddingbackup.vault.entries import Entry, EntryType, shown

_COPIED = "A hard link could not be made, a copy stands in its place"
_NO_DEVICE = "Device not restored (it takes the worker's privilege Root)"
_COPY_BLOCK = 1024 * 1024

_NODES = {
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
    EntryType.CHAR_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
}


class VolumeTarget:
    """The directory that files are put back into. Thread-safe, a path at a time.

    An OSError fails one path, a TargetError the whole recovery. As a context manager it is closed
    at the end, and just let go after an error.

    Args:
        root: the top directory; made if it is missing.
        privileged: give files back to their owners.

    Raises:
        TargetError: the top cannot be used.
        SourceUnavailableError: another recovery is writing there.
    """

    def __init__(self, root: Path, *, privileged: bool) -> None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._tree = DirectoryTree(os.fspath(root))
        except OSError as error:
            message = f"Nothing can be restored into {root} ({error.strerror}): check the path."
            raise TargetError(message) from error
        self._tally = Tally()
        self._keeper = Keeper(self._tally, privileged=privileged)
        self._landing = Landing(self._tally)
        self._missing_devices: set[bytes] = set()
        _claim(self._tree.top, root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._tree.release()

    def directory(self, path: bytes, entry: Entry) -> bool:  # noqa: ARG002  the protocol's
        """Make a directory, ours alone until it is finished, or take the one that is there.

        Returns:
            it was there.
        """
        try:
            if not path:
                self._take(self._tree.top)
                return True
            parent, name = self._parent(path)
            while True:
                try:
                    os.mkdir(name, 0o700, dir_fd=parent.fd)
                except FileExistsError:
                    if self._taken(parent, name, path):
                        return True
                    self._landing.move_aside(parent, name, path)
                else:
                    return False
        except OSError as error:
            raise refusal(error, path) from error

    def _taken(self, parent: Directory, name: bytes, path: bytes) -> bool:
        """Take the directory that is there; False when something else has its name."""
        try:
            _unlock(parent, name)
            self._take(self._tree.open(path))
        except NotADirectoryError:  # with O_DIRECTORY a symbolic link says so too
            return False
        return True

    def _take(self, directory: Directory) -> None:
        """Use a directory that was there before: try if it can be written, clean it up."""
        self._landing.sweep(directory)
        probe = self._landing.temporary()
        os.close(os.open(probe, CREATE, 0o600, dir_fd=directory.fd))
        os.unlink(probe, dir_fd=directory.fd)

    def finish_directory(self, path: bytes, entry: Entry) -> None:
        """Give a directory its metadata, once all in it is there; deepest first."""
        try:
            directory = self._tree.open(path)
            status = os.fstat(directory.fd)
            owner = status.st_uid, status.st_gid
            self._keeper.keep(directory.fd, path, entry, owner=owner, clean=False)
        except OSError as error:
            raise refusal(error, path) from error

    def present(self, path: bytes, entry: Entry) -> PresentFile | None:
        """Give the regular file that is there, if it could be the entry's by all but its bytes."""
        try:
            return PresentFile(self._tree, self._keeper, path, entry)
        except OSError:  # what cannot be looked at is replaced, which says what is wrong
            return None

    def file(self, path: bytes, entry: Entry) -> VolumeFileWriter:
        """Begin a file, its space claimed at once; bytes outside of its segments are holes."""
        try:
            directory, _ = self._parent(path)
        except OSError as error:
            raise refusal(error, path) from error
        return VolumeFileWriter(self._landing, self._keeper, directory, path, entry)

    def small_file(self, path: bytes, entry: Entry, data: bytes | memoryview) -> None:
        """Write a file that is not sparse in one step."""
        if len(data) != entry.size:
            raise ValueError(f"{shown(path)} is not whole: {len(data)} of {entry.size} bytes")
        try:
            directory, name = self._parent(path)
            temporary = self._landing.temporary()
            try:
                fd = os.open(temporary, CREATE, 0o600, dir_fd=directory.fd)
                try:
                    write_all(fd, data, 0)
                    owner, clean = newcomer(directory, fd)
                    self._keeper.keep(fd, path, entry, owner=owner, clean=clean)
                finally:
                    os.close(fd)
                self._landing.install(directory, temporary, name, path)
            except BaseException:
                self._landing.discard(directory, temporary)
                raise
        except OSError as error:
            raise refusal(error, path) from error

    def other(self, path: bytes, entry: Entry) -> None:
        """Make a symbolic link, fifo, socket or device."""
        try:
            directory, name = self._parent(path)
            temporary = self._landing.temporary()
            try:
                if entry.type is EntryType.SYMLINK:
                    os.symlink(entry.target, temporary, dir_fd=directory.fd)
                else:
                    kind = _NODES[entry.type]
                    os.mknod(temporary, kind | 0o600, entry.rdev, dir_fd=directory.fd)
                status = os.stat(temporary, dir_fd=directory.fd, follow_symlinks=False)
                owner = status.st_uid, status.st_gid
                file = attributes.beneath(directory.fd, temporary)
                self._keeper.keep(file, path, entry, owner=owner, clean=False)
                self._landing.install(directory, temporary, name, path)
            except BaseException:
                self._landing.discard(directory, temporary)
                raise
        except OSError as error:
            device = entry.type in {EntryType.CHAR_DEVICE, EntryType.BLOCK_DEVICE}
            if device and error.errno == errno.EPERM:
                self._tally.add(_NO_DEVICE, path)
                self._missing_devices.add(path)
                return
            raise refusal(error, path) from error

    def link(self, path: bytes, to_path: bytes) -> None:
        """Make `path` a hard link to `to_path`, which is there already and no directory."""
        if to_path in self._missing_devices:
            self._tally.add(_NO_DEVICE, path)
            return
        try:
            directory, name = self._parent(path)
            existing, existing_name = self._parent(to_path)
            temporary = self._landing.temporary()
            try:
                os.link(
                    existing_name,
                    temporary,
                    src_dir_fd=existing.fd,
                    dst_dir_fd=directory.fd,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}:
                    raise
                self._copy(existing, existing_name, path)
                return
            try:
                self._landing.install(directory, temporary, name, path)
            finally:
                # A rename onto another link of the same file does nothing, by POSIX.
                self._landing.discard(directory, temporary)
        except OSError as error:
            raise refusal(error, path) from error

    def _copy(self, directory: Directory, name: bytes, path: bytes) -> None:
        """Copy what was restored where the file system knows no hard links."""
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        link = stat.S_ISLNK(status.st_mode)
        if link or stat.S_IFMT(status.st_mode) in _NODES.values():
            # Made anew: to open it would follow a link, or wait at a fifo for ever.
            to = os.readlink(name, dir_fd=directory.fd) if link else b""
            xattrs = attributes.xattrs_of(attributes.beneath(directory.fd, name))
            self.other(path, attributes.entry(name, status, device=0, target=to, xattrs=xattrs))
        else:
            self._copy_file(directory, name, path)
        self._tally.add(_COPIED, path)

    def _copy_file(self, directory: Directory, name: bytes, path: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            status = os.fstat(fd)
            entry = attributes.entry(name, status, device=0, xattrs=attributes.xattrs_of(fd))
            writer = self.file(path, entry)
            try:
                offset = 0
                while block := os.pread(fd, _COPY_BLOCK, offset):
                    writer.write(offset, block)
                    offset += len(block)
                writer.commit()
            finally:
                writer.abort()
        finally:
            os.close(fd)

    def warnings(self) -> list[str]:
        """Say what could not be kept, a line a kind."""
        return self._tally.lines()

    def close(self) -> None:
        """Make all that was restored durable, and let go of the directory.

        Raises:
            TargetError, OSError: the volume could not take what it had accepted.
        """
        try:
            syncfs(self._tree.top.fd)
        except OSError as error:
            raise refusal(error, b"") from error
        finally:
            self._tree.release()

    def _parent(self, path: bytes) -> tuple[Directory, bytes]:
        """Give the open directory of a path and its last name, which is safe to create there."""
        directory, name = split(path)
        if not is_safe(name):
            raise OSError(errno.EINVAL, "a name that no file can have")
        return self._tree.open(directory), name


def _claim(top: Directory, root: Path) -> None:
    """Refuse a second recovery into the same directory: each would sweep the other's files."""
    try:
        fcntl.flock(top.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"Another recovery is writing to {root}; this one has to wait for it."
        raise SourceUnavailableError(message) from error
    except OSError as error:
        # Some network file systems lock no directories: there nothing can be told.
        if error.errno not in {errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL}:
            raise


def _unlock(parent: Directory, name: bytes) -> None:
    """Make a directory of ours usable that its mode has closed to us."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            with contextlib.suppress(PermissionError):  # the write will tell
                chmod_by_path_handle(fd, mode | stat.S_IRWXU)
    finally:
        os.close(fd)
