"""The programs that are compared, each as its user calls it."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.tools import binary
from tests.tools.crates import rustic as rustic_binary

Command = Sequence[str | Path]

_PASSWORD = "benchmark"


@dataclass(frozen=True, slots=True)
class Repository:
    """One program's repository, and the commands for it.

    Attributes:
        found: makes it; not measured.
        backup: data → command.
        restore: target → command.
        restored: target, data → where the data are then.
        environment: for all commands.
    """

    found: Command
    backup: Callable[[Path], Command]
    restore: Callable[[Path], Command]
    restored: Callable[[Path, Path], Path]
    environment: Mapping[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """What each program calls itself."""
    return {
        "ours": version("wedding-backup-operator"),
        "restic": _said(binary("restic"), "version"),
        "rustic": _said(rustic_binary(), "--version"),
    }


@cache
def _said(program: Path, ask: str) -> str:
    done = subprocess.run([program, ask], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def vault(command: str, kit: Path, *where: str | Path) -> list[str | Path]:
    """Give a command of our own command line; `where` are the options that name the locations."""
    program = Path(sys.executable).with_name("weddingbackup")
    return [program, "vault", command, "--kit", kit, *where]


def ours(kit: Path, *where: str | Path) -> Repository:
    """Our own vault; see `vault`."""
    return Repository(
        found=vault("init", kit, *where),
        backup=lambda data: [*vault("backup", kit, *where), "--source", f"data={data}:Portfolio"],
        restore=lambda target: [*vault("restore", kit, *where), "latest", "data", target],
        restored=lambda target, _: target,
    )


def with_quorum(repository: Repository, quorum: int) -> Repository:
    """Ours, whose backups are committed when so many locations hold all."""
    return Repository(
        found=repository.found,
        backup=lambda data: [*repository.backup(data), "--quorum", str(quorum)],
        restore=repository.restore,
        restored=repository.restored,
    )


def locations(file: Path, sites: Mapping[str, Mapping[str, Any]]) -> tuple[str, Path]:
    """Write a file of S3 locations; gives the options that name it.

    Args:
        file: JSON is YAML, too.
        sites: name → endpoint, region, bucket and credentials.
    """
    file.write_text(
        json.dumps([{"name": name, "provider": "S3", **site} for name, site in sites.items()])
    )
    return "--locations", file


def restic(where: str | Path, environment: Mapping[str, str] | None = None) -> Repository:
    """restic as its pinned module builds it."""

    def call(*arguments: str | Path) -> list[str | Path]:
        return [binary("restic"), "--repo", where, "--no-cache", *arguments]

    return Repository(
        found=call("init"),
        backup=lambda data: call("backup", data),
        restore=lambda target: call("restore", "latest", "--target", target),
        restored=lambda target, data: target / data.relative_to("/"),
        environment={"RESTIC_PASSWORD": _PASSWORD, **(environment or {})},
    )


def rustic(where: Path) -> Repository:
    """rustic as its pinned crate builds it."""

    def call(*arguments: str | Path) -> list[str | Path]:
        return [rustic_binary(), "--repository", where, "--no-cache", *arguments]

    return Repository(
        found=call("init"),
        backup=lambda data: call("backup", data),
        restore=lambda target: call("restore", "latest", target),
        restored=lambda target, data: target / data.relative_to("/"),
        environment={"RUSTIC_PASSWORD": _PASSWORD},
    )


def in_directory(name: str, place: Path) -> Repository:
    """One of the programs, with its repository in a directory of this machine."""
    if name == "ours":
        return ours(place.with_suffix(".kit.json"), "--directory", place)
    return {"restic": restic, "rustic": rustic}[name](place)
