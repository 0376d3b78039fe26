"""The servers as pytest fixtures, one a session: import what a conftest.py needs by name."""

from collections.abc import Iterator

import pytest

from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as run_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server
