"""Object stores: where sealed bytes live, in several clouds.

`open_keeper` gives what holds a location's credentials, `open_store` what a vault writes to and
reads from; `probe.probe` finds out what a location can do. Everything else here is behind these
three. What speaks HTTP is imported where it is opened: a vault in directories starts without it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from weddingbackup.resources.words import Provider
from weddingbackup.stores.directory import DirectoryStore
from weddingbackup.stores.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weddingbackup.resources.tasks import LocationAccess
    from weddingbackup.stores.api import Keeper
    from weddingbackup.stores.retry import Retry
    from weddingbackup.stores.wire import Wire
    from weddingbackup.stores.wirestore import WireStore

__all__ = ["DirectoryStore", "open_keeper", "open_store", "open_wire"]

# At their debug levels these write out signed URLs, access tokens or what is signed; at warning,
# urllib3 tells of each retry of an SDK, which our own errors do better.
for _name in ("azure", "boto3", "botocore", "google", "msal", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# Each vendor's SDK takes a good part of a second to import: only those in use are.
_KEEPERS = {
    Provider.S3: ("weddingbackup.stores.s3", "S3Keeper"),
    Provider.R2: ("weddingbackup.stores.s3", "S3Keeper"),
    Provider.GCS: ("weddingbackup.stores.gcs", "GCSKeeper"),
    Provider.AZURE: ("weddingbackup.stores.azure", "AzureKeeper"),
}


def open_keeper(
    access: LocationAccess, credentials: Mapping[str, str], *, prefix: str = ""
) -> Keeper:
    """What may do everything below `prefix`, itself below the location's own prefix.

    The credentials are those of the location's Secret: see the provider's keeper.

    Raises:
        UnsupportedError: a credential is missing or makes no sense.
    """
    module, name = _KEEPERS[access.provider]
    kind: Callable[..., Keeper] = getattr(import_module(module), name)
    try:
        return kind(access, credentials, prefix=prefix)
    except KeyError as error:
        message = f"the credentials of location {access.name} lack {error}"
        raise UnsupportedError(message, location=access.name) from None
    except ValueError as error:
        message = f"the access to location {access.name} makes no sense: {error}"
        raise UnsupportedError(message, location=access.name) from None


def open_wire(
    access: LocationAccess, address: str, *, connections: int = 8, read_seconds: float = 20
) -> Wire:
    """What carries out the requests that somebody signed for a location: see `Wire`."""
    from weddingbackup.stores.wire import Wire  # noqa: PLC0415  see the module's docstring

    return Wire(
        location=access.name,
        address=address,
        ca_file=access.ca_file,
        connections=connections,
        limits=access.limits,
        read_seconds=read_seconds,
    )


def open_store(
    access: LocationAccess,
    credentials: Mapping[str, str],
    *,
    prefix: str,
    connections: int = 8,
    retry: Retry | None = None,
) -> WireStore:
    """A vault's store at one location, its requests signed in this process.

    The prefix is the vault's; `connections` is how many requests run at once, unless the location
    has a limit of its own.
    """
    from weddingbackup.stores.wirestore import WireStore  # noqa: PLC0415  see the module's docstring

    keeper = open_keeper(access, credentials, prefix=prefix)
    return WireStore(
        keeper, open_wire(access, keeper.address, connections=connections), retry=retry
    )
