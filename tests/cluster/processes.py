"""Processes that outlive us, in Linux namespaces of their own.

A set of namespaces (mounts, network, process ids) lives as long as its first process, a catatonit
that only reaps: killing that one ends every process in it, and with the last of them go its mounts
and its links. A power cut is just that.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_NEW_NAMESPACES = (
    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("--propagation", "private", "--", "catatonit", "-P"),
)


class ClusterError(RuntimeError):
    """The test cluster could not do what was asked; the message says what and where to look."""


@dataclass(frozen=True)
class Process:
    """A process that is not mistaken for a later one with the same id."""

    pid: int
    started: int  # clock ticks from boot, field 22 of /proc/PID/stat

    @classmethod
    def of(cls, pid: int) -> "Process":
        started = _start_time(pid)
        if started is None:
            raise ClusterError(f"process {pid} ended at once")
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        return _start_time(self.pid) == self.started

    def kill(self) -> None:
        """Kill it and wait until it is gone: for the first process of a namespace, with all of it."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.alive, f"process {self.pid} to end", seconds=30)


def spawn(command: Iterable[str | Path], log: Path) -> Process:
    """Start a process that neither our end nor our terminal reaches; its output goes to `log`."""
    # The shell ends at once, so the process becomes a child of the machine's first one.
    done = subprocess.run(
        ["sh", "-c", '"$@" </dev/null >>"$0" 2>&1 & echo $!', log, *command],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Process.of(int(done.stdout))


def run(*command: str | Path, stdin: str | IO[bytes] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end and give its output.

    Raises:
        ClusterError: it failed; the message holds what it said.
    """
    text = stdin if isinstance(stdin, str) else None
    file = None if isinstance(stdin, str) else stdin or subprocess.DEVNULL
    done = subprocess.run(
        command, input=text, stdin=file, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise ClusterError(f"`{words}` failed ({done.returncode}): {done.stderr or done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Namespaces:
    """A set of namespaces, by its first process."""

    first: Process

    @classmethod
    def create(cls, log: Path, inside: "Namespaces | None" = None) -> "Namespaces":
        """Make a set of namespaces; one that is made inside another one ends with it."""
        command = inside.entering(*_NEW_NAMESPACES) if inside else list(_NEW_NAMESPACES)
        starter = spawn(command, log)
        found: list[int] = []

        def ready() -> bool:
            found[:] = _descendant(starter.pid, "catatonit")
            return bool(found)

        wait_until(ready, f"new namespaces; see {log}", seconds=10, every=0.01)
        return cls(Process.of(found[0]))

    def entering(self, *command: str | Path) -> list[str | Path]:
        return ["nsenter", "-t", str(self.first.pid), "-m", "-n", "-p", "--", *command]

    def run(self, *command: str | Path, stdin: str | IO[bytes] | None = None) -> str:
        return run(*self.entering(*command), stdin=stdin)

    def start(self, log: Path, *command: str | Path) -> None:
        spawn(self.entering(*command), log)

    def configure_links(self, commands: Iterable[str]) -> None:
        """Run `ip` commands. Only the network is entered: process ids in them are this machine's."""
        run(
            *("nsenter", "-t", str(self.first.pid), "-n", "--", "ip", "-batch", "-"),
            stdin="\n".join(commands),
        )


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float, every: float = 0.1
) -> None:
    """Wait for a condition.

    Raises:
        ClusterError: it did not come true in time; the message says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(every)


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _descendant(pid: int, name: str) -> list[int]:
    """The first descendant of a process that runs the named program, or nothing yet."""
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return [pid]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return next((found for child in children if (found := _descendant(int(child), name))), [])
