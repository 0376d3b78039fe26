"""A database of the test's own, on one PostgreSQL for the session."""

import secrets

import pytest

from tests.integration.sources.database import Database
from tests.servers.fixtures import postgres
from tests.servers.postgres import Postgres

__all__ = ["postgres"]


@pytest.fixture
def database(postgres: Postgres) -> Database:
    return Database(postgres, postgres.create_database(f"test_{secrets.token_hex(6)}"))
