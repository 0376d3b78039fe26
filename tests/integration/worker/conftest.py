"""A pod's surroundings without a cluster, before real stores and a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.worker.pod import Pod
from tests.servers.broker import broker
from tests.servers.fixtures import locations as locations  # noqa: PLC0414  a fixture
from tests.servers.fixtures import postgres as postgres  # noqa: PLC0414  a fixture
from tests.servers.locations import Location
from weddingbackup.resources.common import Provider


@pytest.fixture
def five(locations: list[Location]) -> list[Location]:
    """All five, reached without faults."""
    for location in locations:
        location.proxy.heal()
    return locations


@pytest.fixture
def three(five: list[Location]) -> list[Location]:
    """Three whose objects are plain files here, so that a test can see and damage them."""
    return [found for found in five if found.access.provider in {Provider.S3, Provider.R2}]


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Callable[[list[Location]], Pod]]:
    """Lay out a pod for a vault of its own at these locations, with a broker of its own."""
    with ExitStack() as brokers:

        def make(locations: list[Location]) -> Pod:
            named = {location.name: location for location in locations}
            running = brokers.enter_context(broker(named, tmp_path / "broker"))
            return Pod(tmp_path / "pod", locations, running)

        yield make
