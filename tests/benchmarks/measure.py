"""Runs programs and says what they cost; sums up what several runs say.

A run's figures are the kernel's own account of the process and its children (`os.wait4`): wall
clock around it, user and system CPU, and the largest resident set of any one process (but not less
than this one's, which the kernel counts too: some 50 MiB). Beside them stands what the servers and links that this process runs used of the same processors meanwhile.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.report import say

QUANTITIES = ("wall", "user", "system", "cpu", "memory", "servers")
_TICKS = os.sysconf("SC_CLK_TCK")


class RunError(RuntimeError):
    """A measured program failed; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run cost: seconds, seconds of CPU, MiB; and the CPU that its servers used.

    Attributes:
        began: when, in seconds since the epoch.
    """

    wall: float
    user: float = 0.0
    system: float = 0.0
    memory: float = 0.0
    servers: float = 0.0
    began: float = 0.0

    @property
    def cpu(self) -> float:
        """User and system."""
        return self.user + self.system


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one quantity."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


Spreads = dict[str, Spread]  # quantity → spread
Results = dict[str, dict[str, Spreads]]  # step → party → spreads
Party = Callable[[str], Mapping[str, Run]]  # a name that nothing has yet → step → run


def run(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Run:
    """Run a program to its end, its output in `log`.

    What an earlier run left to be written to the disk is written first: nobody pays for another.

    Raises:
        RunError: it failed.
    """
    os.sync()
    before = _children()
    with log.open("wb") as output:
        began, start = time.time(), time.perf_counter()
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
    after = _children()
    if process.returncode:
        said = log.read_bytes()[-2000:].decode("utf-8", "replace")
        raise RunError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
    servers = sum(seconds - before[pid] for pid, seconds in after.items() if pid in before)
    return Run(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024, servers, began)


def _children() -> dict[int, float]:
    """The CPU seconds that each process has had which we run now."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[int(pid)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def compare(parties: Mapping[str, Party], rounds: int, *, warm_up: int = 1) -> Results:
    """Let the parties take turns, to warm up and then so many rounds; gives what these cost."""
    runs: dict[str, dict[str, list[Run]]] = {}
    for number, turn in enumerate(turns(list(parties), warm_up + rounds)):
        for name in turn:
            cost = parties[name](f"{name.replace(' ', '-')}-{number}")
            told = ", ".join(f"{step} {one.wall:.2f} s" for step, one in cost.items())
            say(f"  {name}: {told}{'' if number >= warm_up else ' (to warm up)'}")
            if number >= warm_up:
                for step, one in cost.items():
                    runs.setdefault(step, {}).setdefault(name, []).append(one)
    return {
        step: {name: spreads(found) for name, found in by_name.items()}
        for step, by_name in runs.items()
    }


def spreads(runs: Sequence[Run]) -> Spreads:
    """Give the spread of each quantity."""
    return {
        quantity: Spread.of([round(getattr(one, quantity), 3) for one in runs])
        for quantity in QUANTITIES
    }


def to_json(results: Results) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Give results as they are kept."""
    return {
        step: {
            party: {quantity: asdict(spread) for quantity, spread in found.items()}
            for party, found in by_party.items()
        }
        for step, by_party in results.items()
    }


def from_json(kept: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> Results:
    """Read results that were kept."""
    return {
        step: {
            party: {quantity: Spread(**spread) for quantity, spread in found.items()}
            for party, found in by_party.items()
        }
        for step, by_party in kept.items()
    }


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """Give who runs when: alternating, and each begins as often as the others.

    On a machine whose speed drifts, going first would be an advantage or a handicap.
    """
    count = len(names)
    return [[*names[turn % count :], *names[: turn % count]] for turn in range(rounds)]
