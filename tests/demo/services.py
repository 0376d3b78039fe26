"""The world outside the cluster: five clouds with a switch in front of each, and a database.

They run in a process of their own (`tests.servers`), for as long as the demo's cluster does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.demo import platform
from tests.demo.narrator import DemoError
from tests.demo.places import DATABASE, home
from tests.servers.__main__ import main as servers
from tests.servers.locations import BUCKET
from tests.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFETTI = b"\x00confetti\x00"
CONFETTI_EVERY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Cloud:
    """One storage location as an administrator knows it."""

    name: str
    provider: str
    region: str
    country: str
    bucket: str
    endpoint: str
    credentials: Mapping[str, str]
    data: Path


@dataclass(frozen=True)
class Services:
    """All that runs outside the cluster."""

    clouds: list[Cloud]
    postgres: Postgres

    @property
    def database(self) -> str:
        """The connection string of the wedding platform's database."""
        return self.postgres.uri(DATABASE)

    def take_away(self, name: str) -> None:
        """Cut all connections to a cloud and refuse new ones."""
        _command("cut", name)

    def bring_back_all(self) -> None:
        """Let every cloud be reached again."""
        for cloud in self.clouds:
            _command("heal", cloud.name)

    def damage(self, name: str) -> int:
        """Overwrite some bytes in each MiB of every pack at an S3 server; gives the packs' number."""
        (cloud,) = (cloud for cloud in self.clouds if cloud.name == name)
        packs = list((cloud.data / "buckets" / BUCKET).rglob("packs/*"))
        for path in packs:
            with path.open("r+b") as file:
                for offset in range(0, path.stat().st_size, CONFETTI_EVERY_BYTES):
                    file.seek(offset)
                    file.write(CONFETTI)
        return len(packs)


def start(host: str) -> Services:
    """Start what does not run yet, at this address; the database begins anew each time."""
    folder = home() / "servers"
    if not _state(folder).exists():
        _command("start", "--host", host)
    services = _connect(folder)
    # Rows that an earlier demo lost and could not bring back would be missing from this one too.
    platform.create(services.postgres.create_database(DATABASE))
    return services


def stop() -> None:
    """End the servers and remove their data."""
    _command("stop")


def _connect(folder: Path) -> Services:
    facts: dict[str, Any] = json.loads(_state(folder).read_text())
    clouds = [
        Cloud(
            name=location["access"]["name"],
            provider=location["access"]["provider"],
            region=location["access"]["region"],
            country=location["country"],
            bucket=location["access"]["bucket"],
            endpoint=location["access"]["endpoint"],
            credentials=location["credentials"],
            data=Path(location["data"]),
        )
        for location in facts["locations"]
    ]
    return Services(clouds, Postgres(**facts["postgres"]))


def _command(name: str, *arguments: str) -> None:
    if servers([name, *arguments, "--directory", str(home() / "servers")]):
        raise DemoError(f"the servers did not {name}: see above")


def _state(folder: Path) -> Path:
    return folder / "servers.json"
