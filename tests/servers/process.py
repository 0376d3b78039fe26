"""Runs one server process: starts it, waits until it answers, ends it, and says why when it doesn't."""

import errno
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_STOP_SECONDS = 10
_POLL_SECONDS = 0.05
_PORTS = range(10_000, 30_000)


class ServerError(RuntimeError):
    """A server did not come up; the message ends with what it said itself."""


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    ready_seconds: float = 60,
) -> Iterator[None]:
    """Run a server while the block runs.

    It is killed when the thread that entered here ends, so enter from one that lasts.

    Args:
        ready: asked again and again until it says True; connection errors count as False.
        user: whom to run as, where we are root.

    Raises:
        ServerError: it ended, or was not ready in time.
    """
    privileges = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["setpriv", *privileges, "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
            start_new_session=True,  # Ctrl-C ends the tests, and those end their servers in order
        )
    try:
        _wait(process, ready, log, ready_seconds)
        yield
    finally:
        _stop(process, stop_signal)


def free_port(host: str) -> int:
    """A TCP port that nobody listens on at this moment.

    Of those that no kernel gives to outgoing connections: one of them could take it before its
    server listens, or while that is away for a test.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.create_connection((host, port), timeout=1):
        return True


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Ask a condition until it holds.

    Raises:
        TimeoutError: it never did; `what` names it.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} s still waiting for {what}")
        time.sleep(_POLL_SECONDS)


def _wait(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not _holds(ready):
        if process.poll() is not None:
            raise ServerError(_report(process, f"ended with {process.returncode}", log))
        if time.monotonic() > deadline:
            raise ServerError(_report(process, f"was not ready after {seconds:g} s", log))
        time.sleep(_POLL_SECONDS)


def _holds(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def _report(process: subprocess.Popen[bytes], what: str, log: Path) -> str:
    assert isinstance(process.args, list)
    program = Path(process.args[process.args.index("--") + 1]).name
    return f"{program} {what}:\n{log.read_text(errors='replace')[-3000:]}"


def _stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    process.send_signal(stop_signal)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
