"""One repository in a directory: the engine beside restic and rustic.

Each program backs the data up into a new, encrypted repository, once more with nothing changed
where the files are small, and restores into a new directory.

What is the same for all: the data in the page cache, default compression, one local directory,
every file of the repository flushed to the disk before it counts (each does that by itself). Where
they differ, the others are favoured: they run without their local cache, which only costs time when
the repository is local; our restore ends with a `syncfs`, theirs leave their files in the page
cache. They derive their key from a password, on purpose slowly (about half a second); ours reads
its keys from a file.

What was restored of the small files is not removed before the end: for minutes after a file is
removed, ext4 avoids its inode, and searching past 100,000 of them costs more than what is measured.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.benchmarks import data, measure, programs
from tests.benchmarks.measure import Results, Run

CONTESTANTS = ("ours", "restic", "rustic")


def large(work: Path, rounds: int, *, short: bool) -> Results:
    """1 GiB in files of 4 and 8 MiB."""
    return _compare(data.original(work, short=short), work, rounds, small=False)


def small(work: Path, rounds: int, *, short: bool) -> Results:
    """100,000 files of 0.2 to 8 kB."""
    original = work / "data"
    data.apart(data.small_files, original, 5_000 if short else 100_000)
    return _compare(original, work, rounds, small=True)


def _compare(original: Path, work: Path, rounds: int, *, small: bool) -> Results:
    parties = {name: partial(_once, name, original, work, small=small) for name in CONTESTANTS}
    return measure.compare(parties, rounds)


def _once(name: str, original: Path, work: Path, turn: str, *, small: bool) -> Mapping[str, Run]:
    """Back up into a new repository and restore from it; checks what came back."""
    place, target, log = (work / f"{turn}.{what}" for what in ("repository", "restored", "log"))
    repository = programs.in_directory(name, place)
    environment = repository.environment
    measure.run(repository.found, environment, log)
    found = {"backup": measure.run(repository.backup(original), environment, log)}
    if small:
        found["unchanged"] = measure.run(repository.backup(original), environment, log)
    found["restore"] = measure.run(repository.restore(target), environment, log)
    data.require_same(original, repository.restored(target, original), name)
    shutil.rmtree(place)
    if not small:
        shutil.rmtree(target)
    return found
