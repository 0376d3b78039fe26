"""`weddingbackup vault restore`: files into a directory, rows into a database."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from weddingbackup.cli.vault import away, text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.cli.vault.points import find, short_name
from weddingbackup.sources.volume import VolumeTarget
from weddingbackup.vault import read
from weddingbackup.vault.catalog import Point
from weddingbackup.vault.entries import shown
from weddingbackup.vault.errors import RestoreIncompleteError
from weddingbackup.vault.opened import OpenedSource
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import RestoreResult
from weddingbackup.vault.vault import Vault

_SHOWN_FAILURES = 20


@click.command()
@vault_options
@click.argument("point")
@click.argument("source")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--to-postgres",
    metavar="@FILE|URI",
    help="Put rows into this database, not into files; @FILE holds the URI.",
)
@click.option("--schema", help="Put all tables into this schema (with --to-postgres).")
@click.option("--include", multiple=True, metavar="PATH", help="Only this file or directory.")
def restore(
    *,
    places: Places,
    point: str,
    source: str,
    target: Path | None,
    to_postgres: str | None,
    schema: str | None,
    include: Sequence[str],
) -> None:
    """Bring a SOURCE of a POINT back into the directory TARGET, or into a database.

    POINT is `latest` or a name that `vault snapshots` shows. Every byte is verified before it is
    written, and files appear whole or not at all. Files that are there with the same bytes are
    kept; files that the point does not hold stay as they are. Owners are kept where this runs as root.

    A database source is put back with --to-postgres, in one transaction that leaves all other rows
    alone; with a TARGET its rows come as files, in PostgreSQL's COPY format. Write the database's
    URI into a file if it holds a password: others on this machine see a command's arguments.
    """
    if (target is None) == (to_postgres is None):
        raise click.UsageError("where to? Give TARGET, a directory, or --to-postgres")
    if to_postgres is None and schema is not None:
        raise click.UsageError("--schema goes with --to-postgres")
    if to_postgres is not None and include:
        raise click.UsageError("rows are put back all together: --include goes with a directory")
    vault = places.open()
    found = find(vault.stores, point)
    click.echo(f"{source} as it was at {text.moment(found.time)} (point {short_name(found)})")
    for each in away.look(places, places.kit(), vault.stores, briefly=True).of(found, [source]):
        click.echo(f"warning: {away.line(each, short_name(found))}", err=True)
    if target is not None:
        wanted = {os.fsencode(path.strip("/")): path for path in include}
        _refuse_unknown(vault, found, source, wanted)
        _bring(vault, found, source, target, list(wanted))
        return
    assert to_postgres is not None
    # Here and not above: the driver takes longer to import than all of ours, and many need none.
    from weddingbackup.cli.vault.uri import connection_string  # noqa: PLC0415  see above
    from weddingbackup.sources.postgres import apply  # noqa: PLC0415  see above

    uri = connection_string(to_postgres)
    if OpenedSource(vault, found, source).facts.get("kind") != "postgres":
        raise click.ClickException(
            f"{source} holds files, not rows: give TARGET, a directory, instead of --to-postgres"
        )
    # Rows rest here in the clear: not a moment longer than it takes.
    with TemporaryDirectory(prefix="rows-") as directory:
        _bring(vault, found, source, Path(directory), ())
        applied = apply(Path(directory), uri, schema=schema)
    for name, changes in applied.tables.items():
        click.echo(
            f"  {name}: {changes.inserted} inserted, {changes.updated} updated,"
            f" {changes.deleted} deleted, {changes.unchanged} unchanged"
        )
    for warning in applied.warnings:
        click.echo(f"warning: {warning}", err=True)


def _refuse_unknown(vault: Vault, point: Point, source: str, wanted: Mapping[bytes, str]) -> None:
    """Look whether all paths are there, before anything is written."""
    missing = dict(wanted)
    for path, _ in read.listing(vault, point, source) if wanted else ():
        missing.pop(path, None)
        if not missing:
            return
    if missing:
        raise click.ClickException(f"this point has no {', '.join(missing.values())} in {source}")


def _bring(
    vault: Vault, point: Point, source: str, directory: Path, include: Sequence[bytes]
) -> None:
    progress = Progress()
    progress.bytes_total = sum(found.bytes for found in point.sources if found.name == source)
    try:
        with (
            text.shown(progress),
            VolumeTarget(directory, privileged=os.geteuid() == 0) as target,
        ):
            result = read.restore(vault, point, source, target, progress=progress, include=include)
    except RestoreIncompleteError as error:
        _tell(error.result)
        for path, problem in error.result.failed[:_SHOWN_FAILURES]:
            click.echo(f"missing: {shown(path)}: {problem}", err=True)
        raise click.ClickException(
            f"{len(error.result.failed)} could not be brought back; all others were"
        ) from None
    _tell(result)


def _tell(result: RestoreResult) -> None:
    twice = f", {text.size(result.extra)} of it twice" if result.extra else ""
    origins = ", ".join(f"{name} {text.size(n)}" for name, n in sorted(result.locations.items()))
    kept = (
        f" ({result.kept_files} of them, {text.size(result.kept_bytes)}, were there and are kept)"
        if result.kept_files
        else ""
    )
    click.echo(
        f"{result.files} files, {text.size(result.bytes)}{kept}, from {origins or 'nowhere'}{twice}"
    )
    for location, name in result.damaged:
        click.echo(f"warning: {name} is damaged or missing at {location}", err=True)
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
