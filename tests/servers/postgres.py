"""A PostgreSQL of our own: Debian's package, a fresh cluster in a folder, passwords by SCRAM.

It writes a logical WAL and stamps commits, as a database that is protected has to.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from tests.servers import packages
from tests.servers.process import ServerError, free_port, running

_SETTINGS = {
    "fsync": "off",  # the data is thrown away with the folder
    "wal_level": "logical",
    "track_commit_timestamp": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_directories": "",
}


@dataclass(frozen=True)
class Postgres:
    """Where it listens, and its superuser."""

    host: str
    port: int
    user: str
    password: str

    def uri(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """A connection URI; as the superuser unless `user` and `password` say otherwise."""
        name, secret = (self.user, self.password) if user is None else (user, password or "")
        return (
            f"postgresql://{quote(name)}:{quote(secret)}@{self.host}:{self.port}/{quote(database)}"
        )

    def create_database(self, name: str) -> str:
        """Create an empty database, in place of one that has the name, and give its URI."""
        with psycopg.connect(self.uri(), autocommit=True) as connection:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.uri(name)


@contextmanager
def postgres(
    directory: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Postgres]:
    """Run a fresh PostgreSQL while the block runs.

    Args:
        directory: kept afterwards; where it is None, a temporary one. As root, the server runs as
            the user `postgres`, who must be able to reach it.
        host: the address to listen on; connections from everywhere are let in by password.
        settings: more of postgresql.conf.
    """
    _ensure_installed()
    if directory is None:
        with scratch() as path, postgres(path, host=host, port=port, settings=settings) as server:
            yield server
        return
    server = Postgres(host, port or free_port(host), "postgres", secrets.token_urlsafe(18))
    user = "postgres" if os.geteuid() == 0 else None
    data = _initialise(directory, server, user)
    options = {**_SETTINGS, "listen_addresses": host, "port": str(server.port), **(settings or {})}
    command = [_program("postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]

    def ready() -> bool:
        try:
            psycopg.connect(server.uri(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    log = directory / "postgres.log"
    # SIGINT: end now, without waiting for clients to leave.
    with running(command, log=log, ready=ready, user=user, stop_signal=signal.SIGINT):
        yield server


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory that the user `postgres` can reach, as pytest's are not for root."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def _initialise(directory: Path, server: Postgres, user: str | None) -> Path:
    data = directory / "postgres"
    data.mkdir(parents=True, mode=0o700)
    password = directory / "postgres.password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    if user:
        shutil.chown(data, user, user)
        shutil.chown(password, user, user)
    command = [_program("initdb"), "-D", str(data), "-U", server.user, "--pwfile", str(password)]
    command += ["-A", "scram-sha-256", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
    become = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
    done = subprocess.run([*become, *command], capture_output=True, text=True, check=False, cwd="/")
    password.unlink()
    if done.returncode:
        raise ServerError(f"initdb in {data} failed:\n{done.stdout}{done.stderr}")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all,replication all 0.0.0.0/0 scram-sha-256\n")
        rules.write("host all,replication all ::/0 scram-sha-256\n")
    return data


def _ensure_installed() -> None:
    if _folder() is None:
        # Without this, Debian's package starts a server of its own at once.
        packages.configure(
            "/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n"
        )
        packages.ensure("postgresql")


def _folder() -> Path | None:
    """The programs of the newest PostgreSQL that is installed; Debian keeps them off the path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    return found[-1] if found else None


def _program(name: str) -> str:
    folder = _folder()
    if folder is None:
        raise ServerError("PostgreSQL is not installed")
    return str(folder / name)
