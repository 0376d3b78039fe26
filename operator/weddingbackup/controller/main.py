"""The operator's process: settings, login, liveness, and Kopf's main loop."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
import structlog

from weddingbackup import log
from weddingbackup.controller import certificates
from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.context import Context
from weddingbackup.controller.handlers import Reconciler, register
from weddingbackup.kube.client import NAMESPACES, ApiError, Cluster, connect
from weddingbackup.kube.jobs import Platform
from weddingbackup.resources import names
from weddingbackup.resources.quantity import quantity
from weddingbackup.rules.quotas import Quotas

LIVENESS = "http://0.0.0.0:8080/healthz"
_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT_AGE_SECONDS = 60.0
_TOKEN_LIFE = timedelta(minutes=5)
"""How long Kopf uses a service account's token before it reads the file again; kubelets rotate it."""

_SERVER_SECONDS, _CLIENT_SECONDS = 300, 330
"""Watches end by themselves and begin anew: one that has silently died is not believed for longer."""


def platform(variables: Mapping[str, str]) -> Platform:
    """What this operator is told by its environment.

    Raises:
        SystemExit: something is missing; the message says what.
    """
    try:
        return Platform(
            namespace=variables["WEDDINGBACKUP_NAMESPACE"],
            image=variables["WEDDINGBACKUP_IMAGE"],
            service_account=variables["WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT"],
            log_level=variables.get("WEDDINGBACKUP_LOG_LEVEL", "INFO"),
            broker_url=variables["WEDDINGBACKUP_BROKER_URL"],
            broker_secret=variables["WEDDINGBACKUP_BROKER_TLS_SECRET"],
            broker_authority=variables["WEDDINGBACKUP_BROKER_CA_SECRET"],
            network_policies=variables.get("WEDDINGBACKUP_NETWORK_POLICIES") == "true",
            quotas=Quotas(
                jobs=_limit(variables, "WEDDINGBACKUP_QUOTA_JOBS"),
                bytes=_limit(variables, "WEDDINGBACKUP_QUOTA_BYTES"),
                locations=_limit(variables, "WEDDINGBACKUP_QUOTA_LOCATIONS"),
            ),
        )
    except KeyError as error:
        raise SystemExit(
            f"The environment variable {error} is not set; the chart sets it."
        ) from None


def _limit(variables: Mapping[str, str], name: str) -> int | None:
    """A limit of all organisations whose namespaces say nothing else; none where it is empty."""
    if not variables.get(name):
        return None
    try:
        return quantity(variables[name])
    except ValueError:
        raise SystemExit(
            f"The environment variable {name} says {variables[name]!r}: write a number or a quantity "
            "like 500Gi, or nothing."
        ) from None


def settings() -> kopf.OperatorSettings:
    """Kopf's settings, with what was learnt about it."""
    chosen = kopf.OperatorSettings()
    # Kopf's own state is in annotations below our prefix: a strict schema would prune it from status.
    chosen.persistence.finalizer = names.FINALIZER
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(
        prefix=names.ANNOTATION_PREFIX, v1=False
    )
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
        prefix=names.ANNOTATION_PREFIX, v1=False
    )
    # Events for people come from our own recorder, once each.
    chosen.posting.enabled = False
    chosen.watching.server_timeout = _SERVER_SECONDS
    chosen.watching.client_timeout = _CLIENT_SECONDS
    chosen.watching.connect_timeout = 10
    # Of all the cluster's Jobs, only workers' are sent to us.
    chosen.watching.label_selectors["batch", "v1", "jobs"] = names.LABEL_TASK
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    return chosen


@dataclass(slots=True)
class Heartbeat:
    """Shows that the event loop turns and the API client comes back with an answer, be it an error."""

    last: float = 0.0

    async def beat(self, cluster: Cluster, home: str) -> None:
        """Beat for ever."""
        while True:
            try:
                await cluster.get(NAMESPACES, home)
            except ApiError as error:
                # Whoever cannot reach the API server does not get better by a restart.
                structlog.get_logger().warning("the API server does not answer", error=str(error))
            self.last = asyncio.get_running_loop().time()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def probe(self, **_: Any) -> str:
        """For the kubelet.

        Raises:
            kopf.PermanentError: the heart has stopped; a restart is the cure.
        """
        age = asyncio.get_running_loop().time() - self.last
        if age > _HEARTBEAT_AGE_SECONDS:
            raise kopf.PermanentError(f"no heartbeat for {age:.0f} seconds")
        return f"{age:.1f} seconds ago"


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or what KUBECONFIG names; read again before it can expire."""
    info = kopf.login_with_service_account(**arguments)
    if info is None:
        return kopf.login_with_kubeconfig(**arguments)
    return kopf.ConnectionInfo(
        server=info.server,
        ca_path=info.ca_path,
        token=info.token,
        default_namespace=info.default_namespace,
        expiration=datetime.now(UTC) + _TOKEN_LIFE,
    )


async def operate(
    where: Platform, *, kubeconfig: str | None = None, liveness: str | None = LIVENESS
) -> None:
    """Run until told to stop.

    Args:
        where: what the environment says.
        kubeconfig: see `connect`.
        liveness: where the kubelet asks; None where there is none.
    """
    async with connect(kubeconfig) as cluster:
        context = Context(cluster, where, Bulkheads())
        registry = register(Reconciler(context))
        heartbeat = Heartbeat(asyncio.get_running_loop().time())
        kopf.on.login(registry=registry, id="login")(login)
        kopf.on.probe(registry=registry, id="heartbeat")(heartbeat.probe)
        beside = [
            asyncio.create_task(heartbeat.beat(cluster, where.namespace)),
            asyncio.create_task(certificates.keep(cluster, where)),
        ]
        try:
            await kopf.operator(
                registry=registry,
                settings=settings(),
                clusterwide=True,
                standalone=True,
                liveness_endpoint=liveness,
            )
        finally:
            for task in beside:
                task.cancel()
            context.bulkheads.close()


def run() -> None:
    """`weddingbackup operator`."""
    where = platform(os.environ)
    log.configure(where.log_level)
    structlog.get_logger().info("starting", namespace=where.namespace, image=where.image)
    asyncio.run(operate(where))
