"""`weddingbackup vault init`: a new vault, at its locations, and the kit that opens it."""

import os

import click

from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.vault import Vault


@click.command()
@vault_options
def init(places: Places) -> None:
    """Found a vault and write its kit to the file that --kit names.

    The kit holds the keys, and is the only way to open the vault: keep copies of it, apart from
    the stores. An existing file is never overwritten.
    """
    kit = Kit.found()
    # The kit first: a vault without one is lost, a kit without a vault is a file.
    try:
        descriptor = os.open(places.kit_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(
            f"{places.kit_file} exists already, and may be all that opens a vault; it was left alone"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{places.kit_file}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(kit.to_json())
        file.flush()
        os.fsync(file.fileno())
    failures = Vault.open(kit.keyring(), kit.objects, places.stores(kit)).init()
    click.echo(f"vault {kit.vault_id}, its kit is {places.kit_file}")
    for location in places.locations:
        failure = failures.get(location.location)
        click.echo(f"  {location.location}: {failure or 'ready'}")
    if failures:
        raise click.ClickException(
            f"{len(failures)} of {len(places.locations)} locations could not be prepared; a backup"
            " will try again"
        )
