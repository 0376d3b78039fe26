"""Five locations in five regions: what a vault, a worker and the demo write to.

with five_locations(directory) as locations:
    stores = [location.open_store("some-vault") for location in locations]
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.azure import Azure, azure
from tests.servers.gcs import GCS, gcs
from tests.servers.s3 import S3, s3
from tests.servers.toxiproxy import Proxy, Toxiproxy, toxiproxy
from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.stores.api import Keeper
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wirestore import WireStore

BUCKET = "weddings"
Server = S3 | GCS | Azure


@dataclass(frozen=True)
class Place:
    """Where a location is, as its BackupLocation says it. The country is ISO 3166-1 alpha-2."""

    name: str
    provider: Provider
    region: str
    country: str


PLACES = (
    Place("london", Provider.S3, "eu-west-2", "GB"),
    Place("frankfurt", Provider.S3, "eu-central-1", "DE"),
    Place("paris", Provider.R2, "weur", "FR"),
    Place("zurich", Provider.GCS, "europe-west6", "CH"),
    Place("dublin", Provider.AZURE, "northeurope", "IE"),
)


@dataclass(frozen=True)
class Location:
    """One bucket at a real server, reached through a proxy that can put faults in the way.

    Attributes:
        credentials: as the location's Secret holds them.
        proxy: `proxy.cut()` takes the location away, `proxy.heal()` brings it back.
        server: the server behind the proxy.
    """

    place: Place
    access: LocationAccess
    credentials: Mapping[str, str]
    proxy: Proxy
    server: Server

    @property
    def name(self) -> str:
        """The location's name."""
        return self.access.name

    def open_store(
        self, prefix: str, *, connections: int = 8, retry: Retry | None = None
    ) -> WireStore:
        """A vault's store at this location."""
        return open_store(
            self.access, self.credentials, prefix=prefix, connections=connections, retry=retry
        )

    def open_keeper(self, prefix: str = "") -> Keeper:
        """A keeper of this location."""
        return open_keeper(self.access, self.credentials, prefix=prefix)

    def object_file(self, name: str) -> Path:
        """The file that holds an object, named as in the bucket; a test damages it here. S3 and R2 only."""
        assert isinstance(self.server, S3)
        return self.server.buckets / BUCKET / name


@contextmanager
def five_locations(directory: Path, *, host: str = "127.0.0.1") -> Iterator[list[Location]]:
    """Run two S3 servers, an R2, a GCS and an Azure one while the block runs, a bucket at each.

    Args:
        directory: for data and logs.
        host: the address that they listen on.
    """
    with ExitStack() as servers:
        through = servers.enter_context(toxiproxy(directory, host=host))
        yield [
            servers.enter_context(location(place, directory / place.name, through, host=host))
            for place in PLACES
        ]


@contextmanager
def location(
    place: Place, directory: Path, through: Toxiproxy, *, host: str = "127.0.0.1"
) -> Iterator[Location]:
    """Run one location's server while the block runs."""
    with _serve(place, directory, host) as server:
        server.create_bucket(BUCKET)
        proxy = through.proxy(place.name, server.endpoint)
        proxied = dataclasses.replace(server, endpoint=proxy.in_front_of(server.endpoint))
        access = LocationAccess(
            name=place.name,
            provider=place.provider,
            bucket=BUCKET,
            endpoint=proxied.endpoint,
            region=place.region,
            ca_file=getattr(server, "ca_file", None),
        )
        yield Location(place, access, proxied.credentials, proxy, server)


def _serve(place: Place, directory: Path, host: str) -> AbstractContextManager[Server]:
    match place.provider:
        case Provider.S3:
            return s3(directory, host=host, region=place.region)
        case Provider.R2:
            return s3(directory, host=host, region="auto")
        case Provider.GCS:
            return gcs(directory, host=host)
        case Provider.AZURE:
            return azure(directory, host=host)
