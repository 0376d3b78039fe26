"""The servers as pytest fixtures, one a session: import what a conftest.py needs by name."""

from collections.abc import Iterator

import pytest

from tests.servers.locations import Location, five_locations
from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as run_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def locations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Location]]:
    """Two S3, an R2, a GCS and an Azure location. Use a vault prefix of your own; heal what you cut."""
    with five_locations(tmp_path_factory.mktemp("locations")) as found:
        yield found
