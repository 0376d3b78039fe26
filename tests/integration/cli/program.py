"""The command line as a person has it: a program on the path, in a directory of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.servers.locations import Location

_SOURCES = Path(__file__).parents[3] / "operator"


@dataclass(frozen=True)
class Program:
    """Runs `weddingbackup` in a directory."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "weddingbackup", *map(str, arguments)])

    def vault(
        self,
        command: str,
        *arguments: str | Path,
        places: Sequence[str] = ("--locations", "locations.yaml"),
    ) -> subprocess.CompletedProcess[str]:
        return self.run("vault", command, "--kit", "kit.json", *places, *arguments)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run lines as they stand on a page of the documentation."""
        path = self.directory / "bin"
        path.mkdir(exist_ok=True)
        shim = path / "weddingbackup"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m weddingbackup "$@"\n')
        shim.chmod(0o755)
        return self._run(["bash", "-euc", script], PATH=f"{path}:{os.environ['PATH']}")

    def _run(self, command: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(_SOURCES), **self.environment, **more}
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


def entry(location: Location) -> dict[str, Any]:
    """A location as `locations.yaml` has it."""
    return {**location.access.dump(), "credentials": dict(location.credentials)}


def write_locations(file: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    file.write_text(yaml.safe_dump([dict(found) for found in entries]))
