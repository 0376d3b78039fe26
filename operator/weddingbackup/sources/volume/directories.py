"""Open directories below one top, reached name by name and never through a symbolic link.

A path string would be resolved by the kernel: at most 4095 bytes of it, and through whatever link
stands in the way by then. Going from handle to handle has neither trouble. The most recently used
handles stay open, so that walking a tree in depth costs one openat a directory.
"""

import errno
import os
from collections import OrderedDict
from threading import Lock

from weddingbackup.sources.volume.names import is_safe

# Far below the usual limit of 1024 open files a process.
_KEPT = 128
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory:
    """An open directory; closed when the last one who holds it lets go."""

    __slots__ = ("fd", "newcomer")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # What the target learns once about files made here: (owner, group) and if they come without
        # extended attributes.
        self.newcomer: tuple[tuple[int, int], bool] | None = None

    def __del__(self) -> None:
        os.close(self.fd)


class DirectoryTree:
    """The directories below a top. Thread-safe."""

    def __init__(self, top: str | bytes) -> None:
        """Open the top itself, following links on the way to it: it is the operator's to name."""
        self.top = Directory(os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._recent: OrderedDict[bytes, Directory] = OrderedDict()
        self._lock = Lock()

    def open(self, path: bytes) -> Directory:
        """Give the directory at `path` (`b""` is the top).

        Raises:
            OSError: one of the names is missing, no directory, or a symbolic link.
        """
        if not path:
            return self.top
        with self._lock:
            if found := self._recent.get(path):
                self._recent.move_to_end(path)
                return found
            directory, end = self._nearest(path)
            for name in path[end:].split(b"/"):
                if not is_safe(name):  # a point may have been made to lead out of the volume
                    raise OSError(errno.EINVAL, "a name that no directory can have")
                directory = Directory(os.open(name, _FLAGS, dir_fd=directory.fd))
                end += len(name)
                self._remember(path[:end], directory)
                end += 1
            return directory

    def release(self) -> None:
        """Close the handles that nobody holds; the top's too."""
        with self._lock:
            self._recent.clear()
        del self.top

    def _nearest(self, path: bytes) -> tuple[Directory, int]:
        """Give the open directory nearest above, and where the names below it begin."""
        end = path.rfind(b"/")
        while end > 0:
            if found := self._recent.get(path[:end]):
                return found, end + 1
            end = path.rfind(b"/", 0, end)
        return self.top, 0

    def _remember(self, path: bytes, directory: Directory) -> None:
        self._recent[path] = directory
        if len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
