"""What the shared suite is run against: each provider at a real server, and a directory."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.fixtures import locations as locations  # noqa: PLC0414  a fixture
from tests.servers.locations import Location
from weddingbackup.stores import DirectoryStore, open_wire
from weddingbackup.stores.api import Keeper, Store
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire
from weddingbackup.stores.wirestore import WireStore

_REMOTE = {"S3": "london", "R2": "paris", "GCS": "zurich", "Azure": "dublin"}


@dataclass(frozen=True)
class Remote:
    """A location, with a vault prefix that no other test uses."""

    location: Location
    prefix: str

    def keeper(self) -> Keeper:
        return self.location.open_keeper(self.prefix)

    def wire(self) -> Wire:
        return open_wire(self.location.access, "the bucket")

    def store(self, *, on_pause: Callable[[], None] | None = None) -> WireStore:
        """A store.

        Args:
            on_pause: called in place of each pause before another try; without it, pauses are short.
        """
        if on_pause is None:
            return self.location.open_store(self.prefix, retry=Retry(first_seconds=0.05))
        return self.location.open_store(self.prefix, retry=Retry(sleep=lambda _: on_pause()))

    def store_that_gives_up(self) -> WireStore:
        """A store that has time for no second try."""
        return self.location.open_store(self.prefix, retry=Retry(deadline_seconds=0))


@pytest.fixture(params=_REMOTE)
def remote(request: pytest.FixtureRequest, locations: list[Location]) -> Remote:
    """Each provider, reached through a proxy without faults."""
    [location] = [found for found in locations if found.name == _REMOTE[request.param]]
    location.proxy.heal()
    return Remote(location, f"vault-{secrets.token_hex(8)}")


@pytest.fixture(params=[*_REMOTE, "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    locations: list[Location] = request.getfixturevalue("locations")
    [location] = [found for found in locations if found.name == _REMOTE[request.param]]
    location.proxy.heal()
    return Remote(location, f"vault-{secrets.token_hex(8)}").store()
