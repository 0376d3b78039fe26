"""Real stores and a real PostgreSQL for the command line."""

import pytest

from tests.servers.fixtures import locations as locations  # noqa: PLC0414  a fixture
from tests.servers.fixtures import postgres as postgres  # noqa: PLC0414  a fixture
from tests.servers.locations import Location


@pytest.fixture
def five(locations: list[Location]) -> list[Location]:
    """All five, reached without faults."""
    for location in locations:
        location.proxy.heal()
    return locations
