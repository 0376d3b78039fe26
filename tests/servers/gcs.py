"""A Google Cloud Storage server: fake-gcs-server behind our own handler, which verifies who asks.

See tests/tools/fake-gcs for what that adds.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import storage

from tests.servers.process import free_port, running
from tests.servers.s3 import is_ok
from tests.tools import binary
from weddingbackup.stores.gcs import ForeignCredentials

ACCOUNT = "keeper@weddings.iam.gserviceaccount.com"
HMAC = {"hmacAccessId": "GOOG1EWEDDINGS", "hmacSecret": "a secret for tests/with+signs"}
"""The account's HMAC key, as a location's Secret holds it."""


@dataclass(frozen=True)
class GCS:
    """Where it listens, and its one service account."""

    endpoint: str
    key: str

    @property
    def credentials(self) -> dict[str, str]:
        """As a location's Secret holds them."""
        return {"serviceAccount.json": json.dumps(self.service_account())}

    def service_account(self) -> dict[str, str]:
        """The key file of the account, as Google's console would hand it out."""
        return {
            "type": "service_account",
            "project_id": "weddings",
            "private_key_id": "1",
            "private_key": self.key,
            "client_email": ACCOUNT,
            "token_uri": f"{self.endpoint}/token",
        }

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        credentials = ForeignCredentials.from_service_account_info(  # type: ignore[no-untyped-call]
            self.service_account()
        )
        client = storage.Client(
            "weddings", credentials, client_options={"api_endpoint": self.endpoint}
        )
        client.create_bucket(name)
        client.close()


@contextmanager
def gcs(
    directory: Path, *, host: str = "127.0.0.1", port: int | None = None, careless: bool = False
) -> Iterator[GCS]:
    """Run a Google Cloud Storage server while the block runs; a careless one lets objects be overwritten."""
    port = port or free_port(host)
    root = directory / "gcs"
    root.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    public = directory / "gcs.pem"
    public.write_bytes(_public_pem(key))
    server = GCS(f"http://{host}:{port}", private_pem(key))
    command = [str(binary("fake-gcs")), "-address", f"{host}:{port}", "-root", str(root)]
    command += ["-account", ACCOUNT, "-public-key", str(public)]
    command += ["-hmac-id", HMAC["hmacAccessId"], "-hmac-secret", HMAC["hmacSecret"]]
    command += ["-careless"] if careless else []

    def ready() -> bool:
        return is_ok(f"{server.endpoint}/_internal/healthcheck")

    with running(command, log=directory / "gcs.log", ready=ready):
        yield server


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """A private key as a service account's key file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
