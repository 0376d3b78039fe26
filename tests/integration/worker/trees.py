"""Files to protect, and whether they came back: content, kind, mode, owner, time, attributes."""

import os
import random
import stat
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def photographs(directory: Path, *, count: int = 6, size: int = MIB, seed: int = 1) -> Path:
    """Make files that do not compress, as photographs do not; the same for the same seed."""
    randomness = random.Random(seed)
    for number in range(count):
        file = directory / f"day-{number % 2}" / f"{number:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(randomness.randbytes(size))
    return directory


def everything(directory: Path) -> Path:
    """Make one of every kind of thing."""
    photographs(directory, count=3)
    (directory / "empty").touch()
    (directory / "hollow").mkdir(mode=0o750)
    (directory / "link").symlink_to("day-0/0000.jpg")
    os.link(directory / "day-0" / "0000.jpg", directory / "hard")
    (directory / "notes.txt").write_text("first dance: 19:30\n" * 1000)
    (directory / "notes.txt").chmod(0o640)
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9")).write_text("no UTF-8")
    with (directory / "sparse").open("wb") as file:
        file.seek(8 * MIB)
        file.write(b"end")
    os.utime(directory / "notes.txt", ns=(1, 1_700_000_000_123_456_789))
    if os.geteuid() == 0:
        os.chown(directory / "notes.txt", 1234, 5678)
    return directory


def facts(directory: Path) -> dict[str, Any]:
    """All that a restore has to keep, by path."""
    return {
        str(Path(folder, name).relative_to(directory)): _facts(Path(folder, name))
        for folder, folders, files in os.walk(directory)
        for name in (*folders, *files)
    }


def _facts(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    content: bytes = b""
    if path.is_symlink():
        content = os.fsencode(path.readlink())
    elif path.is_file():
        content = path.read_bytes()
    links = status.st_nlink if stat.S_ISREG(status.st_mode) else 0
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, links, content
