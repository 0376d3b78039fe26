"""What the command line reads from YAML files: locations with their credentials, and lists of tables."""

from pathlib import Path
from typing import Annotated, Any

import click
import yaml
from pydantic import BaseModel, Field, ValidationError

from weddingbackup.cli.vault.location import Directory, Location
from weddingbackup.resources.common import Table
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import DeniedError
from weddingbackup.vault.rotate import Remover
from weddingbackup.vault.tier import Shelf


class _Directory(BaseModel, extra="forbid"):
    """A directory of this machine, or one that is mounted here."""

    directory: Path
    name: str = ""


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

    def shelf(self, prefix: str) -> Shelf:
        return Shelf(self.provider, lambda: open_keeper(self, self.credentials, prefix=prefix))


def read_locations(file: Path) -> list[Location]:
    """Directories and buckets, as docs/disaster-recovery.md shows them.

    Raises:
        click.ClickException: an entry is neither, or it is no YAML.
    """
    locations: list[Location] = []
    for number, entry in enumerate(_read_yaml(file), start=1):
        try:
            if isinstance(entry, dict) and "directory" in entry:
                found = _Directory.model_validate(entry)
                locations.append(Directory(found.directory, found.name))
                continue
            bucket = _Bucket.model_validate(entry)
        except ValidationError as error:
            raise click.ClickException(f"{file}, entry {number}: {_problems(error)}") from None
        if bucket.ca_file:
            # The file lies beside the one that names it, wherever the two are carried.
            bucket = bucket.model_copy(update={"ca_file": str(file.parent / bucket.ca_file)})
        locations.append(bucket)
    return locations


def read_tables(file: Path) -> list[Table]:
    """The list `tables` of a policy.

    Raises:
        click.ClickException: an entry is no table, or it is no YAML.
    """
    found = []
    for number, entry in enumerate(_read_yaml(file), start=1):
        try:
            found.append(Table.model_validate(entry))
        except ValidationError as error:
            raise click.ClickException(f"{file}, entry {number}: {_problems(error)}") from None
    return found


def _read_yaml(file: Path) -> list[Any]:
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{file} is no YAML: {error}") from None
    if not isinstance(found, list):
        raise click.ClickException(f"{file} should hold a list: lines that begin with a hyphen")
    return found


def _problems(error: ValidationError) -> str:
    """What is wrong with an entry, without its values: some are secret."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    )
