"""How a thing gets its name: made whole under a temporary one beside it, then renamed.

A rename within a directory is atomic, so that the application sees the old file or the new one,
and a worker that is killed leaves nothing but a temporary name, which the next one sweeps away.
"""

import contextlib
import errno
import itertools
import os
import secrets

from weddingbackup.sources.errors import TargetError
from weddingbackup.sources.volume.directories import Directory
from weddingbackup.sources.volume.names import LONGEST_NAME, is_temporary, temporary
from weddingbackup.sources.volume.tally import Tally
from weddingbackup.vault.entries import shown

_ASIDE = "Something of another kind was in the way and was moved aside to <name>.before-recovery"

# What ends a whole recovery, and what a person can do about it.
_ENDS_ALL = {
    errno.ENOSPC: "the volume is full: enlarge it, or free space on it",
    errno.EDQUOT: "the volume's quota is used up: raise it, or free space",
    errno.EROFS: "the volume is mounted read-only: mount it writable",
}
_DENIED = (
    "user {}, group {} may not write here: set the worker's runAsUser or fsGroup to the owner's, "
    "or its privilege to Root"
)


class Landing:
    """Moves what was made under a temporary name to where it belongs. Thread-safe."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()

    def temporary(self) -> bytes:
        """Give a name that nothing else has."""
        return temporary(self._run, next(self._numbers))

    def install(
        self, directory: Directory, temporary_name: bytes, name: bytes, path: bytes
    ) -> None:
        """Rename; replaces a file or link of that name, moves a directory aside."""
        fd = directory.fd
        try:
            os.rename(temporary_name, name, src_dir_fd=fd, dst_dir_fd=fd)
        except IsADirectoryError:
            self.move_aside(directory, name, path)
            os.rename(temporary_name, name, src_dir_fd=fd, dst_dir_fd=fd)

    def move_aside(self, directory: Directory, name: bytes, path: bytes) -> None:
        """Rename what is in the way: it is in no backup that is being put back, so keep it."""
        for number in itertools.count(1):
            suffix = b".before-recovery" if number == 1 else b".before-recovery-%d" % number
            aside = name[: LONGEST_NAME - len(suffix)] + suffix
            try:
                os.stat(aside, dir_fd=directory.fd, follow_symlinks=False)
            except FileNotFoundError:
                os.rename(name, aside, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
                self._tally.add(_ASIDE, path)
                return

    def discard(self, directory: Directory, temporary_name: bytes) -> None:
        """Remove what did not become whole; quiet, since an error is on its way already."""
        with contextlib.suppress(OSError):
            os.unlink(temporary_name, dir_fd=directory.fd)

    def sweep(self, directory: Directory) -> None:
        """Remove what an earlier run, killed, left in a directory."""
        with os.scandir(directory.fd) as listing:
            left = [name for item in listing if is_temporary(name := os.fsencode(item.name))]
        for name in left:
            self.discard(directory, name)


def refusal(error: OSError, path: bytes) -> Exception:
    """Say for people what went wrong with a path: a TargetError where it ends the recovery."""
    if error.errno in _ENDS_ALL:
        return TargetError(f"{shown(path)} could not be restored: {_ENDS_ALL[error.errno]}.")
    text = error.strerror or str(error)
    if isinstance(error, PermissionError):
        text = _DENIED.format(os.geteuid(), os.getegid())
    return OSError(error.errno, text, shown(path))
