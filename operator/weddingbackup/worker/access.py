"""What workers in the operator's namespace are trusted with: the locations' credentials, in files.

They hold no keys. Backup and restore, which do, have no credentials: see brokered.py.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from weddingbackup.stores import open_keeper, open_store
from weddingbackup.stores.errors import DeniedError, StoreError
from weddingbackup.vault.entrance import Closed
from weddingbackup.vault.names import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from weddingbackup.resources.tasks import LocationAccess, VaultRef
    from weddingbackup.stores.api import Keeper, Store
    from weddingbackup.worker.environment import Environment


def stores(
    environment: Environment,
    locations: Sequence[LocationAccess],
    vault: VaultRef,
) -> list[Store]:
    """The vault at each of the locations, in their order; see `open_all`."""

    def opener(location: LocationAccess) -> Callable[[], Store]:
        def opened() -> Store:
            directory = environment.location_directory(location.name)
            credentials = _credentials(directory, location.name)
            return open_store(location, credentials, prefix=vault.prefix)

        return opened

    return open_all({location.name: opener(location) for location in locations})


def open_all(openers: Mapping[str, Callable[[], Store]]) -> list[Store]:
    """Open stores by their locations' names, and ask each for an answer.

    One that cannot be opened (bad credentials), or does not answer, is there too, and fails at once
    whatever it is asked: so it is told of, and holds up nobody by being waited for again and again.
    """

    def opened(location: str) -> Store:
        try:
            store = openers[location]()
            next(iter(store.list(FORMAT)), None)
        except StoreError as error:
            return unusable(error)
        return store

    if not openers:
        return []
    with ThreadPoolExecutor(len(openers), thread_name_prefix="open") as pool:
        return list(pool.map(opened, openers))


def lay_out(openers: Mapping[str, Callable[[], Store]]) -> list[Store]:
    """Stores by their locations' names, of which none is asked for anything: `Vault.open` does.

    One that cannot be opened (bad credentials) is there too, and fails at once.
    """

    def opened(opener: Callable[[], Store]) -> Store:
        try:
            return opener()
        except StoreError as error:
            return unusable(error)

    return [opened(opener) for opener in openers.values()]


def unusable(error: StoreError) -> Store:
    """A location that fails with this, whatever it is asked."""
    return Closed(error.location, error)


def keeper(environment: Environment, location: LocationAccess, vault: VaultRef) -> Keeper:
    """A location with the right to list and delete below the vault's prefix.

    Raises:
        StoreError: the credentials are missing or malformed.
    """
    credentials = _credentials(environment.location_directory(location.name), location.name)
    return open_keeper(location, credentials, prefix=vault.prefix)


class Keepers:
    """A keeper a location, opened when something is removed there first. For several threads."""

    def __init__(
        self,
        environment: Environment,
        vault: VaultRef,
        locations: Mapping[str, LocationAccess],
    ) -> None:
        self._environment = environment
        self._vault = vault
        self._locations = locations
        self._open: dict[str, Keeper] = {}
        self._lock = threading.Lock()

    def at(self, location: str) -> Keeper:
        """A location's keeper.

        Raises:
            StoreError: its credentials are missing or malformed.
        """
        with self._lock:
            if location not in self._open:
                access = self._locations[location]
                self._open[location] = keeper(self._environment, access, self._vault)
            return self._open[location]

    def close(self) -> None:
        """Close those that were opened."""
        with self._lock:
            for keeper in self._open.values():
                keeper.close()


def _credentials(directory: Path, location: str) -> dict[str, str]:
    """The Secret's keys and values. `..data` and its kin are the kubelet's own."""
    try:
        files = [file for file in directory.iterdir() if not file.name.startswith(".")]
        return {file.name: file.read_text().strip() for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise DeniedError(
            f"location {location}: its credentials cannot be read from {directory} ({error}); check"
            " the Secret that its credentialsSecretRef names",
            location=location,
        ) from None
