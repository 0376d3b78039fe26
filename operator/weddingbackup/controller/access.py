"""How locations are reached, by workers (mounted files) and by the operator itself (in memory)."""

from collections.abc import Iterable, Mapping

from weddingbackup.controller.context import Context
from weddingbackup.kube import credentials
from weddingbackup.kube.client import LOCATIONS, SECRETS
from weddingbackup.kube.jobs import Mount, location_mount
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.tasks import LocationAccess, location_directory


async def registered(context: Context) -> dict[str, BackupLocation]:
    """All locations, by name."""
    found = [BackupLocation.model_validate(body) for body in await context.cluster.list(LOCATIONS)]
    return {location.metadata.name: location for location in found}


def for_worker(location: BackupLocation) -> LocationAccess:
    """What a worker's task says of a location."""
    own = location.spec.ca_secret_ref is not None
    ca_file = (
        f"{location_directory(location.metadata.name)}/{credentials.AUTHORITIES}" if own else None
    )
    return credentials.access(location, ca_file)


def mounts(locations: Iterable[BackupLocation]) -> list[Mount]:
    """What a worker's pod mounts of the locations that it works with."""
    return [
        location_mount(
            location.metadata.name,
            location.spec.credentials_secret_ref.name,
            location.spec.ca_secret_ref.name if location.spec.ca_secret_ref else None,
        )
        for location in locations
    ]


async def with_credentials(
    context: Context, locations: Iterable[BackupLocation]
) -> list[BackupLocation]:
    """Those whose Secrets are there: a pod that mounts one that is not never starts."""
    complete = []
    for location in locations:
        spec = location.spec
        references = [spec.credentials_secret_ref, *filter(None, [spec.ca_secret_ref])]
        found = [
            await context.cluster.get(SECRETS, reference.name, context.home)
            for reference in references
        ]
        if all(found):
            complete.append(location)
    return complete


async def for_operator(
    context: Context, location: BackupLocation
) -> tuple[LocationAccess, Mapping[str, str]]:
    """What the operator itself opens a location with: access and credentials.

    Raises:
        CredentialsError: a Secret that the location names is missing.
    """
    return await credentials.of_location(context.cluster, context.home, location)
