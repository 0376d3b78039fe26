"""How locations are reached, by workers (mounted files) and by the operator itself (in memory)."""

import asyncio
import base64
import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from weddingbackup.controller.context import Context
from weddingbackup.kube.client import LOCATIONS, SECRETS
from weddingbackup.kube.jobs import Mount, location_mount
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.tasks import LocationAccess, location_directory

_AUTHORITIES = "ca.crt"


class CredentialsError(Exception):
    """A location's Secret is missing; the message says which."""


async def registered(context: Context) -> dict[str, BackupLocation]:
    """All locations, by name."""
    found = [BackupLocation.model_validate(body) for body in await context.cluster.list(LOCATIONS)]
    return {location.metadata.name: location for location in found}


def for_worker(location: BackupLocation) -> LocationAccess:
    """What a worker's task says of a location."""
    own = location.spec.ca_secret_ref is not None
    ca_file = f"{location_directory(location.metadata.name)}/{_AUTHORITIES}" if own else None
    return _access(location, ca_file)


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
    credentials = await _secret(context, location.spec.credentials_secret_ref.name)
    ca_file = None
    if location.spec.ca_secret_ref is not None:
        authorities = await _secret(context, location.spec.ca_secret_ref.name)
        if _AUTHORITIES not in authorities:
            raise CredentialsError(
                f"Secret {location.spec.ca_secret_ref.name} has no key {_AUTHORITIES}; "
                "put the authorities' certificates (PEM) there."
            )
        ca_file = await asyncio.to_thread(_keep_file, authorities[_AUTHORITIES])
    return _access(location, ca_file), credentials


def _access(location: BackupLocation, ca_file: str | None) -> LocationAccess:
    spec = location.spec
    return LocationAccess(
        name=location.metadata.name,
        provider=spec.provider,
        bucket=spec.bucket,
        prefix=spec.prefix,
        endpoint=spec.endpoint,
        region=spec.region,
        ca_file=ca_file,
    )


async def _secret(context: Context, name: str) -> dict[str, str]:
    secret = await context.cluster.get(SECRETS, name, context.home)
    if secret is None:
        raise CredentialsError(
            f"There is no Secret {name} in namespace {context.home}, where locations' Secrets are kept."
        )
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _keep_file(text: str) -> str:
    """The SDKs take authorities from files alone; they are public, and one file serves all who share them."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"authorities-{digest}.pem"
    if not path.exists():
        path.write_text(text)
    return str(path)
