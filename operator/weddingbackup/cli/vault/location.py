"""One place where a vault lies: a directory here, or a bucket, which file.py reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weddingbackup.stores import DirectoryStore
from weddingbackup.stores.api import Store
from weddingbackup.vault.rotate import Remover
from weddingbackup.vault.tier import Shelf


class Location(Protocol):
    """Where a vault lies."""

    @property
    def location(self) -> str:
        """Its name."""

    def open(self, prefix: str) -> Store:
        """The vault of this prefix there.

        Raises:
            StoreError: a credential is missing or makes no sense.
        """

    def keeper(self, prefix: str) -> Remover:
        """Who may remove that vault's objects there.

        Raises:
            StoreError: as for `open`.
        """

    def shelf(self, prefix: str) -> Shelf | None:
        """What moves that vault's objects there; None where there are no tiers."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of this machine, or one that is mounted here."""

    directory: Path
    name: str = ""

    @property
    def location(self) -> str:
        """Its name."""
        return self.name or str(self.directory)

    def open(self, prefix: str) -> DirectoryStore:
        """The vault of this prefix there."""
        return DirectoryStore(self.directory, location=self.location, prefix=prefix)

    def keeper(self, prefix: str) -> DirectoryStore:
        """The same, which may remove objects, too."""
        return self.open(prefix)

    def shelf(self, prefix: str) -> None:
        """A directory has no tiers."""
