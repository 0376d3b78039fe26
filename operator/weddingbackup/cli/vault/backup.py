"""`weddingbackup vault backup`: one recovery point, from this machine."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.resources.words import DataClass, LocationPhase
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.vault import write
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import BackupResult


@click.command()
@vault_options
@click.option(
    "--quorum",
    type=click.IntRange(min=1),
    help="Locations that have to hold it all.  [default: more than half]",
)
@click.option(
    "--source",
    "volumes",
    multiple=True,
    metavar="NAME=PATH[:CLASS]",
    help="Files below a directory.",
)
@click.option(
    "--postgres",
    "databases",
    multiple=True,
    metavar="NAME=@FILE|URI",
    help="Rows of a database, whose URI the FILE holds; needs --tables.",
)
@click.option(
    "--postgres-class",
    type=click.Choice([*DataClass]),
    default=DataClass.TIMELINE,
    show_default=True,
    help="The data class of --postgres.",
)
@click.option(
    "--tables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Which rows, as YAML: the list `tables` of a policy.",
)
@click.option(
    "--paranoid",
    is_flag=True,
    help="Read every file, also those whose size, times and inode are unchanged.",
)
def backup(
    *,
    places: Places,
    quorum: int | None,
    volumes: Sequence[str],
    databases: Sequence[str],
    postgres_class: str,
    tables: Path | None,
    paranoid: bool,
) -> None:
    """Make one recovery point of some sources.

    It is committed once a quorum of the locations holds every byte. CLASS is Timeline, Guests,
    Contracts, Messages, Portfolio or Other, which is the default; each has keys of its own.

    \b
    weddingbackup vault backup --kit kit.json --directory a --directory b \\
        --source portfolio=/photos:Portfolio

    Write a database's URI into a file if it holds a password: others on this machine see a
    command's arguments.
    """  # noqa: D301  \b is click's mark for lines that stay as they are
    if not volumes and not databases:
        raise click.UsageError("what is to be backed up? Give --source or --postgres")
    if bool(databases) != (tables is not None):
        raise click.UsageError("--postgres and --tables go together")
    quorum = quorum or len(places.locations) // 2 + 1
    now = datetime.now(UTC)
    job = write.JobFacts(
        uid=str(uuid4()),
        namespace=socket.gethostname(),
        name=f"manual-{now:%Y%m%d-%H%M%S}",
        scheduled_at=now,
    )
    progress = Progress()
    with ExitStack() as opened:
        sources = [_volume(volume) for volume in volumes]
        sources += [
            _database(database, DataClass(postgres_class), tables, opened)
            for database in databases
            if tables
        ]
        vault = places.open(write.patience(quorum))
        with text.shown(progress):
            result = write.backup(
                vault, job, sources, quorum=quorum, progress=progress, paranoid=paranoid
            )
        facts = {source.name: source.source.facts() for source in sources}
    _tell(result, facts)


def _volume(option: str) -> write.SourceInput:
    """NAME=PATH[:CLASS]. A path may hold a colon: only a class's name behind one counts."""
    name, equals, path = option.partition("=")
    if not name or not equals or not path:
        raise click.UsageError(f"--source {option}: write NAME=PATH or NAME=PATH:CLASS")
    data_class = DataClass.OTHER
    head, _, tail = path.rpartition(":")
    if head and tail in {*DataClass}:
        path, data_class = head, DataClass(tail)
    return write.SourceInput(name, data_class, VolumeSource(Path(path)))


def _database(
    option: str, data_class: DataClass, tables: Path, opened: ExitStack
) -> write.SourceInput:
    name, equals, uri = option.partition("=")
    if not name or not equals or not uri:
        # Without the option: it may hold a password.
        raise click.UsageError("--postgres: write NAME=@FILE or NAME=URI")
    # Here and not above: the driver takes longer to import than all of ours, and many need none.
    from weddingbackup.cli.vault.file import read_tables  # noqa: PLC0415  see above
    from weddingbackup.cli.vault.uri import connection_string  # noqa: PLC0415  see above
    from weddingbackup.sources.postgres import PostgresSource  # noqa: PLC0415  see above

    source = PostgresSource(connection_string(uri), read_tables(tables))
    return write.SourceInput(name, data_class, opened.enter_context(source))


def _tell(result: BackupResult, facts: Mapping[str, Mapping[str, Any]]) -> None:
    click.echo(f"point {result.sha256[:12]} of {text.moment(result.point_time)}")
    for source in result.sources:
        click.echo(
            f"  {source.name}: {source.files} files, {text.size(source.bytes)},"
            f" {text.size(source.new_bytes)} new"
        )
        told = facts[source.name].get("warnings", ())
        for warning in dict.fromkeys([*source.warnings, *told]):
            click.echo(f"warning: {source.name}: {warning}", err=True)
    for location in result.locations:
        click.echo(
            f"  {location.name}: {location.phase}, {text.size(location.bytes)} sent"
            + (f" ({location.message})" if location.message else "")
        )
    behind = [row.name for row in result.locations if row.phase is not LocationPhase.COMMITTED]
    if behind:
        click.echo(
            f"warning: {', '.join(behind)} did not get all of it",
            err=True,
        )
