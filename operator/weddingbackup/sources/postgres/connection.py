"""How we speak with a PostgreSQL: connecting, the session's settings, and its errors in plain words.

A password never leaves this module in a message, and neither do a server's DETAIL and CONTEXT, which
quote rows: they are somebody's guests.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from weddingbackup.sources.errors import SourceError, SourceUnavailableError

Connection = psycopg.Connection[tuple[Any, ...]]

_OLDEST_SERVER: Final = 130000

_CONNECTION: Final = {
    "connect_timeout": "10",
    # A peer that vanished without a word is noticed within a minute or so.
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_IDENTITY: Final = {"application_name": "weddingbackup", "client_encoding": "UTF8"}

_SETTINGS: Final = {
    # One value, one text, whatever the database's, the role's or the server's own settings are.
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    # Nothing is found by name but the system's own things: nobody's `=` operator can slip in.
    "search_path": "",
    # An error beats rows that are silently missing.
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}

_SHARED_STATEMENT: Final = "15min"
_CANCEL_SECONDS: Final = 5.0

_PASSING_CLASSES: Final = ("08", "40", "53", "57", "58")
_PASSING_STATES: Final = ("55P03", "55006", "25P03", "25P04")

_HOPELESS: Final = (
    "invalid ",  # an option's value, as in sslmode
    "Servname not supported",
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied for database",
    "is not permitted to log in",
    "does not support SSL",
    "certificate verify failed",
)
"""libpq gives no SQLSTATE for a failed connection; these are those that trying again cannot mend."""


def connect(uri: str) -> Connection:
    """Connect, in autocommit mode, to what a libpq connection string names.

    Raises:
        SourceError: the string is none, or the server refuses this user.
        SourceUnavailableError: nobody answers.
    """
    try:
        given = conninfo_to_dict(uri)
    except psycopg.ProgrammingError:
        # libpq's own message quotes the string, password and all.
        raise SourceError(
            "the connection string cannot be read (it is not shown, as it may hold a password); "
            "write it as postgresql://user:password@host:5432/database, with special characters "
            "in the password percent-encoded"
        ) from None
    secrets = [str(given[key]) for key in ("password", "sslpassword") if given.get(key)]
    where = f"{given.get('host', 'the local socket')}:{given.get('port', 5432)}"
    try:
        connection = psycopg.connect(
            **{**_CONNECTION, **given, **_IDENTITY},  # type: ignore[arg-type]
            autocommit=True,
            prepare_threshold=None,  # a pooler may give each transaction another server
        )
    except psycopg.Error as error:
        message = _without(str(error).strip(), secrets)
        if any(sign in message for sign in _HOPELESS):
            raise SourceError(f"PostgreSQL at {where} refuses the connection: {message}") from None
        raise SourceUnavailableError(f"PostgreSQL at {where} does not answer: {message}") from None
    if connection.info.server_version < _OLDEST_SERVER:
        version = connection.info.server_version // 10000
        connection.close()
        raise SourceError(f"PostgreSQL at {where} is version {version}; 13 or later is needed")
    return connection


def cancel(connection: Connection) -> None:
    """Break off what a connection asks of its server, from another thread; it fails at once."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_SECONDS)


def configure(connection: Connection, *, shared: bool = False) -> None:
    """Give the current transaction our settings; they end with it, also behind a pooler.

    In a database that organisations share, none of them keeps a statement going for long.
    """
    settings = _SETTINGS | ({"statement_timeout": _SHARED_STATEMENT} if shared else {})
    connection.execute(
        "SELECT pg_catalog.set_config(s.name, w.value, true) FROM pg_catalog.pg_settings s"
        " JOIN unnest(%s::text[], %s::text[]) AS w(name, value)"
        " ON w.name OPERATOR(pg_catalog.=) pg_catalog.lower(s.name)",
        [list(settings), list(settings.values())],
    )


@contextmanager
def plain_errors(doing: str) -> Iterator[None]:
    """Turn psycopg's errors into ours.

    Args:
        doing: completes "while …", for example "reading table public.guests".
    """
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, doing) from None


def translate(error: psycopg.Error, doing: str) -> SourceError | SourceUnavailableError:
    """Say in our words what went wrong; the type says whether another try can help."""
    reason = error.diag.message_primary or "the connection broke"
    message = f"while {doing}: {reason}"
    if error.sqlstate is not None:
        message += f" (SQLSTATE {error.sqlstate})"
    if passes(error):
        return SourceUnavailableError(message)
    return SourceError(message)


def passes(error: psycopg.Error) -> bool:
    """Whether the same attempt may succeed a little later."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in _PASSING_CLASSES or error.sqlstate in _PASSING_STATES


def _without(message: str, secrets: list[str]) -> str:
    for secret in secrets:
        message = message.replace(secret, "***")
    return message
