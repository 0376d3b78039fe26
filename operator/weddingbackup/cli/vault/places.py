"""Which vault, and where: the options that all commands of `vault` share.

Locations are directories, or entries of a YAML file (see docs/disaster-recovery.md), which is read
by a module of its own: directories need neither YAML nor models.
"""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from weddingbackup.cli.vault.location import Directory, Location
from weddingbackup.stores.api import Store
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.parallel import Patience, choosing
from weddingbackup.vault.tier import Shelf
from weddingbackup.vault.vault import Vault
from weddingbackup.worker.access import lay_out, open_all


@dataclass(frozen=True, slots=True)
class Places:
    """The kit's file and the vault's locations, as they were given."""

    kit_file: Path
    locations: Sequence[Location]

    def kit(self) -> Kit:
        """Read the kit.

        Raises:
            click.ClickException: it is missing, or no kit.
            VaultError: it is damaged.
        """
        try:
            data = self.kit_file.read_bytes()
        except OSError as error:
            raise click.ClickException(
                f"the kit {self.kit_file} cannot be read ({error.strerror}): it is the file that"
                " `recovery-kit export` or `vault init` wrote"
            ) from None
        if stat.S_IMODE(self.kit_file.stat().st_mode) & 0o077:
            click.echo(
                f"warning: others may read {self.kit_file}, which opens the whole vault: chmod 600",
                err=True,
            )
        return Kit.from_json(data)

    def shelves(self, kit: Kit) -> dict[str, Shelf]:
        """What moves the vault's objects, by location; without those that have no tiers."""
        found = {place.location: place.shelf(kit.prefix) for place in self.locations}
        return {location: shelf for location, shelf in found.items() if shelf is not None}

    def stores(self, kit: Kit) -> list[Store]:
        """The vault at each location."""
        return open_stores(self.locations, kit)

    def open(self, patience: Patience | None = None) -> Vault:
        """Open the vault; None: with the patience of who chooses a point."""
        kit = self.kit()
        stores = lay_out(_openers(self.locations, kit))
        patience = patience or choosing(len(stores))
        return Vault.open(kit.keyring(), kit.objects, stores, patience=patience)


def open_stores(locations: Sequence[Location], kit: Kit) -> list[Store]:
    """A kit's vault at each location; see `open_all`."""
    return open_all(_openers(locations, kit))


def _openers(locations: Sequence[Location], kit: Kit) -> dict[str, Callable[[], Store]]:
    return {place.location: partial(place.open, kit.prefix) for place in locations}


def location_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where vaults lie; it gets them as its argument `locations`."""

    @click.option(
        "--directory",
        "directories",
        multiple=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="A directory as a location; may be given several times.",
    )
    @click.option(
        "--locations",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Locations with their credentials, as YAML.",
    )
    @wraps(command)
    def wrapped(directories: Sequence[Path], file: Path | None, **rest: Any) -> None:
        locations: list[Location] = [Directory(directory) for directory in directories]
        if file:
            # Here and not above: see the module's docstring.
            from weddingbackup.cli.vault.file import read_locations  # noqa: PLC0415  see above

            locations += read_locations(file)
        names = [location.location for location in locations]
        if len(set(names)) != len(names):
            raise click.UsageError(f"each location needs a name of its own: {', '.join(names)}")
        command(locations=locations, **rest)

    return wrapped


def vault_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it gets them as its argument `places`."""

    @click.option(
        "--kit",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The vault's kit, a file.",
    )
    @location_options
    @wraps(command)
    def wrapped(kit: Path, locations: Sequence[Location], **rest: Any) -> None:
        if not locations:
            raise click.UsageError("where is the vault? Give --directory or --locations")
        command(places=Places(kit, locations), **rest)

    return wrapped
