"""Names of files: which are safe to create, which are our own leftovers."""

import re

_TEMPORARY = re.compile(rb"\.weddingbackup-[0-9a-f]{16}-[0-9]+")

# The longest name that every usual file system takes, in bytes.
LONGEST_NAME = 255


def split(path: bytes) -> tuple[bytes, bytes]:
    """Give the directory and the last name of a relative, `/`-joined path."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def join(directory: bytes, name: bytes) -> bytes:
    """Give the path of a name in a directory (`b""` is the top)."""
    return directory + b"/" + name if directory else name


def is_safe(name: bytes) -> bool:
    """Say whether a single name stays in the directory where it is created."""
    return name not in {b"", b".", b".."} and b"/" not in name and b"\0" not in name


def temporary(run: str, number: int) -> bytes:
    """Name a file that is not whole yet; `run` is 16 hex digits that no other run has."""
    return f".weddingbackup-{run}-{number}".encode("ascii")


def is_temporary(name: bytes) -> bool:
    """Recognise what `temporary` named, in this run or in an earlier one that was killed."""
    return name.startswith(b".weddingbackup-") and _TEMPORARY.fullmatch(name) is not None
