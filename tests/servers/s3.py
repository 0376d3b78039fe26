"""An S3 server: versitygw over a directory, with versions. Objects are plain files below `buckets/`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import urllib3
from botocore.config import Config

from tests.servers.certificate import Certificate
from tests.servers.process import free_port, running
from tests.tools import binary


@dataclass(frozen=True)
class S3:
    """Where it listens, and the one who may do everything.

    Attributes:
        buckets: its buckets as directories: a test damages an object by changing a file.
    """

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    buckets: Path
    ca_file: str | None = None

    @property
    def credentials(self) -> dict[str, str]:
        """As a location's Secret holds them."""
        return {"accessKeyId": self.access_key_id, "secretAccessKey": self.secret_access_key}

    def create_bucket(self, name: str, *, object_lock: bool = False) -> None:
        """Create a bucket; with object lock, and so with versions, where that is asked for."""
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            verify=self.ca_file,
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
        client.close()


@contextmanager
def s3(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    region: str = "eu-west-2",
    certificate: Certificate | None = None,
) -> Iterator[S3]:
    """Run an S3 server while the block runs, by TLS if it has a certificate.

    R2 is the same with the region `auto`.
    """
    port = port or free_port(host)
    buckets, versions = directory / "buckets", directory / "versions"
    buckets.mkdir(parents=True, exist_ok=True)
    versions.mkdir(exist_ok=True)
    scheme = "https" if certificate else "http"
    ca_file = str(certificate.path) if certificate else None
    server = S3(
        f"{scheme}://{host}:{port}", region, "wedding", "wedding-secret-key", buckets, ca_file
    )
    command = [str(binary("versitygw")), "--port", f"{host}:{port}", "--region", region]
    command += ["--access", server.access_key_id, "--secret", server.secret_access_key]
    command += ["--health", "/healthz", "--keep-alive", "--quiet"]
    if certificate:
        command += ["--cert", str(certificate.path), "--key", str(certificate.key)]
    command += ["posix", "--versioning-dir", str(versions), str(buckets)]

    def ready() -> bool:
        return is_ok(f"{server.endpoint}/healthz", ca_file)

    with running(command, log=directory / "versitygw.log", ready=ready):
        yield server


def is_ok(url: str, ca_file: str | None = None) -> bool:
    """Whether a GET is answered with 200."""
    pool = urllib3.PoolManager(ca_certs=ca_file, retries=False, timeout=2)
    try:
        return pool.request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False
