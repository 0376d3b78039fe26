"""The broker's process: its certificate, the API server, and the HTTP server around the application."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from weddingbackup import log
from weddingbackup.broker.app import create_app
from weddingbackup.broker.authority import KubernetesAuthority
from weddingbackup.broker.connections import Connection
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.records import KubernetesRecords
from weddingbackup.broker.rows import KubernetesDatabases
from weddingbackup.broker.scope import RefusedError
from weddingbackup.broker.turns import KubernetesTurns
from weddingbackup.kube import credentials
from weddingbackup.kube.client import Cluster, connect
from weddingbackup.kube.credentials import CredentialsError
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import RefusalCode
from weddingbackup.resources.tasks import LocationAccess

_TLS = "/etc/weddingbackup/broker-tls"
_ADDRESS = "0.0.0.0:8443"
_RELOAD_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 20
_BACKLOG = 1024
_CONNECTIONS = 2048


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        namespace: the operator's, with all Secrets.
        tls: directory of `tls.crt` and `tls.key`, which may change at any time.
    """

    namespace: str
    tls: Path
    host: str
    port: int
    log_level: str

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Settings":
        """Read them.

        Raises:
            SystemExit: something is missing or makes no sense; the message says what.
        """
        namespace = variables.get("WEDDINGBACKUP_NAMESPACE")
        host, _, port = variables.get("WEDDINGBACKUP_BROKER_ADDRESS", _ADDRESS).rpartition(":")
        if not namespace:
            raise SystemExit("WEDDINGBACKUP_NAMESPACE is not set; the chart sets it.")
        if not port.isdigit():
            raise SystemExit("WEDDINGBACKUP_BROKER_ADDRESS is no HOST:PORT.")
        return cls(
            namespace,
            Path(variables.get("WEDDINGBACKUP_BROKER_TLS", _TLS)),
            host,
            int(port),
            variables.get("WEDDINGBACKUP_LOG_LEVEL", "INFO"),
        )


async def serve(settings: Settings, *, kubeconfig: str | None = None) -> None:
    """Serve until told to stop."""
    async with connect(kubeconfig) as cluster:
        records = KubernetesRecords(cluster)
        app = create_app(
            KubernetesAuthority(cluster, settings.namespace),
            Keeping(_Credentials(cluster, settings.namespace).of),
            records,
            records,
            KubernetesTurns(cluster),
            databases=KubernetesDatabases(cluster, settings.namespace),
        )
        certificate, key = settings.tls / "tls.crt", settings.tls / "tls.key"
        await _there(certificate, key)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        config.load()
        assert config.ssl is not None
        renewing = asyncio.create_task(_renew(config.ssl, certificate, key))
        structlog.get_logger().info("serving", address=f"{settings.host}:{settings.port}")
        try:
            await uvicorn.Server(config).serve()
        finally:
            renewing.cancel()


@dataclass(frozen=True, slots=True)
class _Credentials:
    cluster: Cluster
    home: str

    async def of(self, location: BackupLocation) -> tuple[LocationAccess, Mapping[str, str]]:
        try:
            return await credentials.of_location(self.cluster, self.home, location)
        except CredentialsError:
            name = location.metadata.name
            raise RefusedError(
                RefusalCode.DENIED,
                f"the credentials of location {name} are missing; its status says more",
            ) from None


async def _there(*files: Path) -> None:
    """Wait for what the operator makes: in a new installation the two start together."""
    said = False
    while missing := [str(file) for file in files if not file.exists()]:
        if not said:
            structlog.get_logger().info("waiting for the certificate", missing=missing)
            said = True
        await asyncio.sleep(_LOOK_SECONDS)


async def _renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Use a new certificate for new connections as soon as the kubelet has put it there."""
    last = certificate.read_bytes()  # noqa: ASYNC240  a small local file
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        try:
            now = certificate.read_bytes()  # noqa: ASYNC240  likewise
            if now != last:
                context.load_cert_chain(certificate, key)
                last = now
                structlog.get_logger().info("certificate renewed")
        except (OSError, ssl.SSLError) as error:
            # Half of a pair, seen between two writes: the next look finds the whole.
            structlog.get_logger().warning("certificate not renewed", error=str(error))


def run() -> None:
    """`weddingbackup broker`."""
    settings = Settings.read(os.environ)
    log.configure(settings.log_level)
    asyncio.run(serve(settings))
