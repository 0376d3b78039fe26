"""One call that makes a whole file system durable, which Python's `os` does not have."""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)


def syncfs(fd: int) -> None:
    """Write back all of the file system that the open file is on, and wait for it.

    Raises:
        OSError: it could not be written; the kernel reports what went wrong since the file was
            opened, also for files that were closed before.
    """
    if _LIBC.syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
