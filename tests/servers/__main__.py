"""Servers that outlive the command which starts them, for the demo and for trying things by hand.

`python -m tests.servers start --directory D [--host H]` runs five empty locations and an empty
PostgreSQL, writes what is needed to reach them to `D/servers.json` and leaves them to a process of
their own; `stop` ends that one, and so all of them, and removes their data; `cut NAME` and `heal NAME` take a location away and bring
it back.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.locations import five_locations
from tests.servers.postgres import postgres, scratch
from tests.servers.process import ServerError, wait_until
from tests.servers.toxiproxy import Proxy

_START_SECONDS = 900  # the first start builds the servers
_STOP_SECONDS = 60


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    directory: Path = options.directory.resolve()
    try:
        match options.command:
            case "start":
                _start(directory, options.host)
            case "stop":
                _stop(directory)
            case "serve":
                _serve(directory, options.host)
            case "cut":
                _proxy(directory, options.name).cut()
            case "heal":
                _proxy(directory, options.name).heal()
    except (ServerError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "stop", "serve", "cut", "heal"):
        command = commands.add_parser(name)
        command.add_argument("--directory", type=Path, required=True)
        if name in {"start", "serve"}:
            command.add_argument("--host", default="127.0.0.1")
        if name in {"cut", "heal"}:
            command.add_argument("name", help="of a location")
    return parser.parse_args(arguments)


def _start(directory: Path, host: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if _state(directory).exists():
        raise ServerError(f"{_state(directory)} is there: stop those servers first")
    log = directory / "servers.log"
    command = [sys.executable, "-m", "tests.servers", "serve", "--directory", str(directory)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", host],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def is_up() -> bool:
        if process.poll() is not None:
            raise ServerError(f"the servers did not start:\n{log.read_text()[-3000:]}")
        return _state(directory).exists()

    try:
        wait_until(is_up, seconds=_START_SECONDS, what="the servers")
    except BaseException:
        process.terminate()
        raise


def _serve(directory: Path, host: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the servers end in order
    state = _state(directory)
    with (
        five_locations(_data(directory), host=host) as locations,
        scratch() as database_directory,
        postgres(database_directory, host=host) as database,
    ):
        facts = {
            "pid": os.getpid(),
            "locations": [
                {
                    "access": location.access.model_dump(mode="json"),
                    "credentials": dict(location.credentials),
                    "country": location.place.country,
                    "proxy": dataclasses.asdict(location.proxy),
                    "data": str(_data(directory) / location.name),
                }
                for location in locations
            ],
            "postgres": dataclasses.asdict(database),
            "scratch": str(database_directory),
        }
        draft = state.with_suffix(".new")
        draft.touch(mode=0o600)  # it holds the credentials
        draft.write_text(json.dumps(facts, indent=2))
        draft.rename(state)
        try:
            while True:
                signal.pause()
        finally:
            state.unlink()


def _stop(directory: Path) -> None:
    if _state(directory).exists():
        facts = _facts(directory)
        if _is_ours(facts["pid"]):
            os.kill(facts["pid"], signal.SIGTERM)
            wait_until(
                lambda: not _is_ours(facts["pid"]), seconds=_STOP_SECONDS, what="the servers to end"
            )
        # Where that process was killed, these two are still there.
        shutil.rmtree(facts["scratch"], ignore_errors=True)
        _state(directory).unlink(missing_ok=True)
    shutil.rmtree(_data(directory), ignore_errors=True)


def _is_ours(pid: int) -> bool:
    """Whether that process still is the one that we started: numbers are used again."""
    try:
        return b"tests.servers\0serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def _proxy(directory: Path, name: str) -> Proxy:
    for location in _facts(directory)["locations"]:
        if location["access"]["name"] == name:
            return Proxy(**location["proxy"])
    raise ServerError(f"there is no location {name!r}")


def _facts(directory: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(_state(directory).read_text())
    return facts


def _data(directory: Path) -> Path:
    return directory / "locations"


def _state(directory: Path) -> Path:
    return directory / "servers.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
