"""Runs programs and says what they cost; sums up what several runs say.

A run's figures are the kernel's own account of the process and its children (`os.wait4`): wall
clock around it, user and system CPU, and the largest resident set of any one process.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class RunError(RuntimeError):
    """A measured program failed; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run cost: seconds, seconds of CPU, MiB."""

    wall: float
    user: float
    system: float
    memory: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one figure."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


def run(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Run:
    """Run a program to its end, its output in `log`.

    What an earlier run left to be written to the disk is written first: nobody pays for another.

    Raises:
        RunError: it failed.
    """
    os.sync()
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(  # what it cost is asked of wait4, so `run` won't do
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_bytes()[-2000:].decode("utf-8", "replace")
        raise RunError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
    return Run(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def spreads(runs: Sequence[Run]) -> dict[str, Spread]:
    """Give the spread of each figure."""
    return {
        figure: Spread.of([getattr(one, figure) for one in runs])
        for figure in ("wall", "user", "system", "memory")
    }


def ratio(theirs: Sequence[Run], ours: Sequence[Run], figure: str) -> float:
    """Give how many times more they need than we: the ratio of the medians."""
    return spreads(theirs)[figure].median / spreads(ours)[figure].median


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """Give who runs when: alternating, and each begins as often as the others.

    On a machine whose speed drifts, going first would be an advantage or a handicap.
    """
    count = len(names)
    return [[*names[turn % count :], *names[: turn % count]] for turn in range(rounds)]
