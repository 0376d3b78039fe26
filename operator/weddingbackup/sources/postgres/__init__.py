"""The rows of one wedding in a PostgreSQL that many weddings share: read them, put them back."""

from weddingbackup.sources.postgres.archive import pack, pack_directory, unpack
from weddingbackup.sources.postgres.difference import TableChanges
from weddingbackup.sources.postgres.export import PostgresSource
from weddingbackup.sources.postgres.fences import look
from weddingbackup.sources.postgres.recovery import Applied, apply

__all__ = [
    "Applied",
    "PostgresSource",
    "TableChanges",
    "apply",
    "look",
    "pack",
    "pack_directory",
    "unpack",
]
