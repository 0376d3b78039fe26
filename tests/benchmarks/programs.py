"""The programs that are compared, each as its user calls it."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.tools import binary

Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Program:
    """How one program founds a repository, backs up into it and restores from it.

    Attributes:
        name: in tables and figures.
        version: as it calls itself.
        found: repository → command; not measured.
        backup: repository, data → command.
        restore: repository, target → command.
        restored: target, data → where the data are then.
        environment: for all commands.
    """

    name: str
    version: str
    found: Callable[[Path], Command]
    backup: Callable[[Path, Path], Command]
    restore: Callable[[Path, Path], Command]
    restored: Callable[[Path, Path], Path]
    environment: Mapping[str, str] = field(default_factory=dict)


def ours() -> Program:
    """Give the project's own command line, a directory as the one location."""
    program = Path(sys.executable).with_name("weddingbackup")

    def vault(repository: Path, command: str) -> list[str | Path]:
        kit = repository.with_suffix(".kit.json")
        return [program, "vault", command, "--kit", kit, "--directory", repository]

    return Program(
        name="ours",
        version=version("wedding-backup-operator"),
        found=lambda repository: vault(repository, "init"),
        backup=lambda repository, data: [
            *vault(repository, "backup"),
            "--source",
            f"data={data}:Portfolio",
        ],
        restore=lambda repository, target: [
            *vault(repository, "restore"),
            "latest",
            "data",
            target,
        ],
        restored=lambda target, _: target,
    )


def restic() -> Program:
    """Give restic as its pinned module builds it."""
    program = binary("restic")

    def call(repository: Path, *arguments: str | Path) -> list[str | Path]:
        return [program, "--repo", repository, "--no-cache", *arguments]

    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    return Program(
        name="restic",
        version=said.stdout.split()[1],
        found=lambda repository: call(repository, "init"),
        backup=lambda repository, data: call(repository, "backup", data),
        restore=lambda repository, target: call(
            repository, "restore", "latest", "--target", target
        ),
        restored=lambda target, data: target / data.relative_to("/"),
        environment={"RESTIC_PASSWORD": "benchmark"},
    )
