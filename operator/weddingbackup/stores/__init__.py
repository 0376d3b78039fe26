"""Object stores: where sealed bytes live, in several clouds.

`open_keeper` gives what holds a location's credentials, `open_store` what a vault writes to and
reads from; `probe` finds out what a location can do. Everything else here is behind these three.
"""

import logging
from collections.abc import Mapping

from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores.api import Keeper
from weddingbackup.stores.azure import AzureKeeper
from weddingbackup.stores.directory import DirectoryStore
from weddingbackup.stores.errors import UnsupportedError
from weddingbackup.stores.gcs import GCSKeeper
from weddingbackup.stores.probe import probe
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.s3 import S3Keeper
from weddingbackup.stores.wire import Wire
from weddingbackup.stores.wirestore import WireStore

__all__ = ["DirectoryStore", "open_keeper", "open_store", "open_wire", "probe"]

# At their debug levels these write out signed URLs, access tokens or what is signed.
for _name in ("azure", "boto3", "botocore", "google", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_KEEPERS: dict[Provider, type[S3Keeper | GCSKeeper | AzureKeeper]] = {
    Provider.S3: S3Keeper,
    Provider.R2: S3Keeper,
    Provider.GCS: GCSKeeper,
    Provider.AZURE: AzureKeeper,
}


def open_keeper(
    access: LocationAccess, credentials: Mapping[str, str], *, prefix: str = ""
) -> Keeper:
    """What may do everything below `prefix`, itself below the location's own prefix.

    Args:
        credentials: as in the location's Secret: see the keeper of the provider.

    Raises:
        UnsupportedError: a credential is missing or makes no sense.
    """
    try:
        return _KEEPERS[access.provider](access, credentials, prefix=prefix)
    except KeyError as error:
        message = f"the credentials of location {access.name} lack {error}"
        raise UnsupportedError(message, location=access.name) from None
    except ValueError as error:
        message = f"the access to location {access.name} makes no sense: {error}"
        raise UnsupportedError(message, location=access.name) from None


def open_wire(access: LocationAccess, address: str, *, connections: int = 8) -> Wire:
    """What carries out the requests that somebody signed for a location."""
    return Wire(
        location=access.name, address=address, ca_file=access.ca_file, connections=connections
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

    Args:
        prefix: the vault's.
        connections: how many requests run at once.
    """
    keeper = open_keeper(access, credentials, prefix=prefix)
    return WireStore(
        keeper, open_wire(access, keeper.address, connections=connections), retry=retry
    )
