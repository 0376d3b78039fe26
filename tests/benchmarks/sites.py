"""Seven S3 servers of this machine, and repositories in them, directly or over links."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import programs
from tests.benchmarks.link import Link, links
from tests.benchmarks.programs import Repository
from tests.servers.s3 import S3, s3

COUNT = 7
_BUCKET = "weddings"


@dataclass(frozen=True, slots=True)
class Site:
    """One server's bucket, and the URL that leads there."""

    name: str
    server: S3
    endpoint: str

    @property
    def bucket(self) -> Path:
        """Where its objects are, as plain files."""
        return self.server.buckets / _BUCKET

    @property
    def entry(self) -> dict[str, Any]:
        """The location as our command line is told of it."""
        return {
            "endpoint": self.endpoint,
            "region": self.server.region,
            "bucket": _BUCKET,
            "credentials": self.server.credentials,
        }

    def objects(self, kind: str) -> list[Path]:
        """The files of all objects of a kind: `packs`, `snapshots`, …; of all kinds with `**`."""
        return [path for path in self.bucket.glob(f"*/{kind}/**/*") if path.is_file()]

    def empty(self) -> None:
        """Remove all that any round stored."""
        for path in self.bucket.iterdir():
            shutil.rmtree(path)


@contextmanager
def sites(directory: Path) -> Iterator[list[Site]]:
    """Run the servers while the block runs."""
    with ExitStack() as servers:
        found = []
        for number in range(COUNT):
            name = f"site-{number}"
            server = servers.enter_context(s3(directory / name))
            server.create_bucket(_BUCKET)
            found.append(Site(name, server, server.endpoint))
        yield found


@contextmanager
def over_links(
    directory: Path,
    places: Sequence[Site],
    speed: float,
    special: Mapping[str, float] | None = None,
) -> Iterator[list[Site]]:
    """Put a link in front of each site while the block runs, of this speed or a `special` one."""
    speeds = {site.name: speed for site in places} | dict(special or {})
    plan = {site.name: Link(site.server.endpoint, speeds[site.name]) for site in places}
    with links(directory, plan) as urls:
        yield [Site(site.name, site.server, urls[site.name]) for site in places]


def ours(kit: Path, places: Sequence[Site]) -> Repository:
    """Our vault at all of these; its kit and list of locations are files named like `kit`."""
    entries = {site.name: site.entry for site in places}
    return programs.ours(kit, *programs.locations(kit.with_suffix(".locations.yaml"), entries))


def restic(name: str, site: Site) -> Repository:
    """restic's repository at one site."""
    environment = {
        "AWS_ACCESS_KEY_ID": site.server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": site.server.secret_access_key,
        "AWS_DEFAULT_REGION": site.server.region,
    }
    return programs.restic(f"s3:{site.endpoint}/{_BUCKET}/{name}", environment)
