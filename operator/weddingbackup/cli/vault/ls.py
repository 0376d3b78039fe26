"""`weddingbackup vault ls`: what is in a point, without bringing it back."""

import os

import click

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.cli.vault.points import find
from weddingbackup.vault.read import listing


@click.command()
@vault_options
@click.argument("point")
@click.argument("source")
@click.argument("path", default="")
def ls(places: Places, point: str, source: str, path: str) -> None:
    """List the files of a SOURCE at a POINT: all, or those below PATH.

    POINT is `latest` or a name that `vault snapshots` shows. Each line has mode, owner, group,
    bytes, time and name.
    """
    wanted = os.fsencode(path.strip("/"))
    vault = places.open()
    seen = False
    for name, entry in listing(vault, find(vault.stores, point), source):
        if not wanted or name == wanted or name.startswith(wanted + b"/"):
            seen = True
            click.echo(text.long_line(name, entry))
    if wanted and not seen:
        raise click.ClickException(f"this point has no {path} in {source}")
