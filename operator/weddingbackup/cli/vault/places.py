"""Which vault, and where: the options that all commands of `vault` share.

Locations are directories, or entries of a YAML file (see docs/disaster-recovery.md).
"""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import click
import yaml
from pydantic import BaseModel, Field, ValidationError

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import DirectoryStore, open_keeper, open_store
from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import DeniedError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.rotate import Remover
from weddingbackup.vault.vault import Vault
from weddingbackup.worker.access import open_all


class _Directory(BaseModel, extra="forbid"):
    """A directory of this machine, or one that is mounted here."""

    directory: Path
    name: str = ""

    @property
    def location(self) -> str:
        return self.name or str(self.directory)

    def open(self, prefix: str) -> Store:
        return DirectoryStore(self.directory, location=self.location, prefix=prefix)

    def keeper(self, prefix: str) -> Remover:
        return DirectoryStore(self.directory, location=self.location, prefix=prefix)


class _Bucket(LocationAccess, extra="forbid"):
    """A bucket, with the credentials that its Secret in the cluster holds."""

    credentials: Annotated[dict[str, str], Field(repr=False)]

    @property
    def location(self) -> str:
        return self.name

    def open(self, prefix: str) -> Store:
        if missing := [key for key, value in self.credentials.items() if not value]:
            message = f"location {self.name}: fill in {', '.join(missing)} among its credentials"
            raise DeniedError(message, location=self.name)
        return open_store(self, self.credentials, prefix=prefix)

    def keeper(self, prefix: str) -> Remover:
        return open_keeper(self, self.credentials, prefix=prefix)


Location = _Directory | _Bucket


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

    def stores(self, kit: Kit) -> list[Store]:
        """The vault at each location."""
        return open_stores(self.locations, kit)

    def open(self) -> Vault:
        """Open the vault."""
        kit = self.kit()
        return Vault.open(kit.keyring(), kit.objects, self.stores(kit))


def open_stores(locations: Sequence[Location], kit: Kit) -> list[Store]:
    """A kit's vault at each location; see `open_all`."""
    return open_all({place.location: partial(place.open, kit.prefix) for place in locations})


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
        locations: list[Location] = [_Directory(directory=d) for d in directories]
        locations += _read(file) if file else []
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


def read_yaml(file: Path) -> list[Any]:
    """A YAML file that holds a list.

    Raises:
        click.ClickException: it does not.
    """
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{file} is no YAML: {error}") from None
    if not isinstance(found, list):
        raise click.ClickException(f"{file} should hold a list: lines that begin with a hyphen")
    return found


def problems(error: ValidationError) -> str:
    """What is wrong with an entry, without its values: some are secret."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    )


def _read(file: Path) -> list[Location]:
    locations: list[Location] = []
    for number, entry in enumerate(read_yaml(file), start=1):
        kind = _Directory if isinstance(entry, dict) and "directory" in entry else _Bucket
        try:
            location = kind.model_validate(entry)
        except ValidationError as error:
            raise click.ClickException(f"{file}, entry {number}: {problems(error)}") from None
        if isinstance(location, _Bucket) and location.ca_file:
            # The file lies beside the one that names it, wherever the two are carried.
            beside = {"ca_file": str(file.parent / location.ca_file)}
            location = location.model_copy(update=beside)
        locations.append(location)
    return locations
