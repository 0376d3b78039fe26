"""Connection strings: in a file, since everybody on the machine sees a command's arguments."""

from pathlib import Path

from weddingbackup.worker.environment import read_file


def connection_string(option: str) -> str:
    """What @FILE holds; anything else is taken as the connection string itself.

    Raises:
        RefusedError: the file cannot be read, or is empty.
    """
    if not option.startswith("@"):
        return option
    return read_file(Path(option[1:]), what="the connection string")
