"""What tests do with a database, and with files as a vault would read them and put them back."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from tests.servers.postgres import Postgres
from tests.servers.process import wait_until
from weddingbackup.resources.common import Table
from weddingbackup.sources.postgres import PostgresSource
from weddingbackup.vault.entries import EntryType, Source

APPLICATION = "weddingbackup"


@dataclass(frozen=True)
class Database:
    """One database and its superuser's URI."""

    server: Postgres
    uri: str

    def run(self, statements: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(statements.encode())

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def role(self, name: str, password: str = "secret pass:word@") -> str:
        """Make a role that may do nothing yet; gives its URI. Roles belong to the whole server."""
        name = f"{name}_{urlsplit(self.uri).path[1:]}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(name), sql.Literal(password)
                )
            )
        return self.server.uri(urlsplit(self.uri).path[1:], user=name, password=password)

    def content(self) -> dict[str, list[str]]:
        """Give every row of every table, as text."""
        with psycopg.connect(self.uri) as connection:
            connection.execute("SET timezone = 'UTC'")
            tables = connection.execute(
                "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n"
                " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^pg_|^info'"
            ).fetchall()
            return {
                table: sorted(
                    text
                    for (text,) in connection.execute(
                        f"SELECT whole::text FROM ONLY {table} whole".encode()
                    )
                )
                for (table,) in tables
            }

    def sessions(self, condition: str = "true") -> list[int]:
        """Give the process ids of our program's sessions in this database."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
            f" AND datname = current_database() AND {condition}"
        )
        return [pid for (pid,) in self.rows(query, APPLICATION)]

    def kill(self, condition: str = "true") -> None:
        """Wait until our program has a session for which `condition` holds; end it from outside."""
        wait_until(lambda: bool(self.sessions(condition)), seconds=30, what=f"session {condition}")
        for pid in self.sessions(condition):
            self.rows("SELECT pg_terminate_backend(%s, 10000)", pid)


def tables(*described: dict[str, Any]) -> list[Table]:
    """Parse a policy's `tables`."""
    return [Table.model_validate(table) for table in described]


def read(source: Source, path: bytes = b"", block: int = 1 << 16) -> dict[bytes, bytes]:
    """Read a source as the vault does: each file opened, drained, finished."""
    files: dict[bytes, bytes] = {}
    for entry in source.children(path):
        below = path + b"/" + entry.name if path else entry.name
        if entry.type is EntryType.DIRECTORY:
            files |= read(source, below, block)
            continue
        reader = source.open(below, entry)
        try:
            data, buffer = bytearray(), memoryview(bytearray(block))
            while count := reader.readinto(buffer):
                data += buffer[:count]
            assert reader.finish().size == len(data)
        finally:
            reader.close()
        files[below] = bytes(data)
    return files


def save(files: dict[bytes, bytes], directory: Path) -> Path:
    """Write files as a volume target would."""
    for path, data in files.items():
        place = directory / path.decode()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return directory


def user_of(uri: str) -> str:
    """Give the name of a URI's user."""
    return unquote(urlsplit(uri).username or "")


def backup(uri: str, chosen: Sequence[Table], directory: Path) -> Path:
    """Back up into a directory."""
    with PostgresSource(uri, chosen) as source:
        return save(read(source), directory)


@contextmanager
def in_background(action: Any) -> Iterator[list[BaseException | Any]]:
    """Run an action beside the block; its result or error is in the list when the block is over."""
    outcome: list[BaseException | Any] = []

    def run() -> None:
        try:
            outcome.append(action())
        except BaseException as error:  # noqa: BLE001  the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(60)
