"""What a location is opened with, from the Secrets of the operator's namespace."""

import asyncio
import base64
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from weddingbackup.kube.client import SECRETS, Cluster
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.tasks import LocationAccess

AUTHORITIES = "ca.crt"


class CredentialsError(Exception):
    """A location's Secret is missing; the message says which."""


async def of_location(
    cluster: Cluster, home: str, location: BackupLocation
) -> tuple[LocationAccess, Mapping[str, str]]:
    """How a location is reached, and its credentials.

    Raises:
        CredentialsError: a Secret that the location names is missing in `home`.
    """
    credentials = await _secret(cluster, home, location.spec.credentials_secret_ref.name)
    ca_file = None
    if location.spec.ca_secret_ref is not None:
        authorities = await _secret(cluster, home, location.spec.ca_secret_ref.name)
        if AUTHORITIES not in authorities:
            raise CredentialsError(
                f"Secret {location.spec.ca_secret_ref.name} has no key {AUTHORITIES}; "
                "put the authorities' certificates (PEM) there."
            )
        ca_file = await asyncio.to_thread(_keep_file, authorities[AUTHORITIES])
    return access(location, ca_file), credentials


def access(location: BackupLocation, ca_file: str | None) -> LocationAccess:
    """How a location is reached, with the authorities to trust in this file."""
    spec = location.spec
    return LocationAccess(
        name=location.metadata.name,
        provider=spec.provider,
        bucket=spec.bucket,
        prefix=spec.prefix,
        endpoint=spec.endpoint,
        region=spec.region,
        ca_file=ca_file,
        limits=spec.limits,
    )


async def _secret(cluster: Cluster, home: str, name: str) -> dict[str, str]:
    secret = await cluster.get(SECRETS, name, home)
    if secret is None:
        raise CredentialsError(
            f"There is no Secret {name} in namespace {home}, where locations' Secrets are kept."
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
