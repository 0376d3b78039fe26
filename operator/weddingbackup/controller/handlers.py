"""What Kopf calls, and when: every road to one object leads through `Reconciler.settle`.

A change, the operator's start, a timer and a worker's Job all ask for the same thing: look at the object
as it is now, and bring it on. So nothing depends on having seen every event.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import kopf
import structlog

from weddingbackup.controller import backups, databases, erasure, locations, policies, recoveries
from weddingbackup.controller.context import Context
from weddingbackup.controller.locations import Watch
from weddingbackup.kube import jobs
from weddingbackup.kube.client import (
    BACKUPS,
    DATABASES,
    JOBS,
    LOCATIONS,
    POLICIES,
    REQUESTS,
    ApiError,
    Object,
    Resource,
)
from weddingbackup.kube.jobs import Work
from weddingbackup.resources import names
from weddingbackup.resources.backup_database import Status as DatabaseStatus
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.backup_job import Status as BackupStatus
from weddingbackup.resources.kind import KindStatus
from weddingbackup.resources.recovery_request import Phase as RecoveryPhase
from weddingbackup.resources.recovery_request import Status as RequestStatus
from weddingbackup.resources.wedding_backup_policy import Status as PolicyStatus
from weddingbackup.rules import backup as backup_rules
from weddingbackup.rules.conditions import stalled

_log = structlog.get_logger()

_STEPS = 5
"""At most so many steps at once; a timer goes on from there."""

_LOCATION_SECONDS = 5.0
_POLICY_SECONDS = 30.0
_RUNNING_SECONDS = 2.0
_WAITING_SECONDS = 30.0
_RECOVERY_SECONDS = 1.0
_ERASURE_SECONDS = 3.0
_DATABASE_SECONDS = 60.0

Reconcile = Callable[[Context, Object], Awaitable[bool]]

_RECONCILES: Mapping[Resource, Reconcile] = {
    POLICIES: policies.reconcile,
    BACKUPS: backups.reconcile,
    REQUESTS: recoveries.reconcile,
    DATABASES: databases.reconcile,
}


_STATUSES: Mapping[Resource, type[KindStatus]] = {
    POLICIES: PolicyStatus,
    BACKUPS: BackupStatus,
    REQUESTS: RequestStatus,
    DATABASES: DatabaseStatus,
}


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Settles objects, one decision on each at a time."""

    context: Context

    async def settle(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Bring an object as far as it goes now. Failures are told on it, and the timer comes again."""
        try:
            async with self.context.lock(resource, namespace, name):
                changed = await self._steps(resource, namespace, name)
            if changed is not None and namespace is not None:
                await self._tell_related(resource, namespace, changed)
        except Exception as error:  # noqa: BLE001  one object's failure never holds up another
            _log.exception("reconcile failed", kind=resource.kind, namespace=namespace, name=name)
            if not _passes(error):
                await self._tell_failure(resource, namespace, name, error)

    async def probe(self, name: str, generation: int, watch: Watch) -> None:
        """Probe a location if it is time to; when it comes or goes, those who wait for that are told."""
        try:
            async with self.context.lock(LOCATIONS, None, name):
                if not watch.is_due(generation, self.context.now()):
                    return
                body = await self.context.cluster.get(LOCATIONS, name)
                if body is None or not await locations.reconcile(self.context, body, watch):
                    return
            await self._tell_waiting()
        except Exception:  # noqa: BLE001  likewise
            _log.exception("probe failed", name=name)

    async def _tell_failure(
        self, resource: Resource, namespace: str | None, name: str, error: Exception
    ) -> None:
        """Who looks at the object alone must not take it for one that gets on."""
        try:
            body = await self.context.cluster.get(resource, name, namespace)
            if body is None:
                return
            status = stalled(
                _STATUSES[resource].model_validate(body.get("status") or {}),
                "ReconcileFailed",
                f"The operator cannot bring it on and goes on trying; its log says more. "
                f"{type(error).__name__}: {error}",
                generation=body["metadata"]["generation"],
                now=self.context.now(),
            )
            await self.context.publish(resource, body, status)
        except Exception:  # noqa: BLE001  the log has said it
            _log.exception("failure not told", kind=resource.kind, namespace=namespace, name=name)

    async def _steps(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The object if it moved to another phase, or took note of an edit."""
        first: Object | None = None
        for _ in range(_STEPS):
            body = await self.context.cluster.get(resource, name, namespace)
            if body is None:
                return None
            first = first or body
            if not await _RECONCILES[resource](self.context, body):
                return None if _stage(body) == _stage(first) else body
        return body

    async def _tell_related(self, resource: Resource, namespace: str, changed: Object) -> None:
        """A backup's new phase is its policy's business; both are that of the orders that wait."""
        if resource not in {POLICIES, BACKUPS}:
            return
        policy = _policy_of(changed)
        if resource is BACKUPS:
            await self.settle(POLICIES, namespace, policy)
        for backup in await backups.of_policy(self.context, namespace, policy):
            if backup.status.phase is BackupPhase.PENDING:
                await self.settle(BACKUPS, namespace, backup.metadata.name)
        mine = {"spec.policyRef.name": policy}
        for body in await self.context.cluster.list(REQUESTS, namespace, fields=mine):
            if _is_planning(body.get("status") or {}):
                await self.settle(REQUESTS, namespace, body["metadata"]["name"])

    async def _tell_waiting(self) -> None:
        waiting = ((POLICIES, _is_unplaced), (BACKUPS, _is_behind), (REQUESTS, _is_planning))
        for resource, waits in waiting:
            for body in await self.context.cluster.list(resource):
                if waits(body.get("status") or {}):
                    metadata = body["metadata"]
                    await self.settle(resource, metadata["namespace"], metadata["name"])

    async def job_moved(self, job: Object) -> None:
        """A worker's Job tells at once what a timer would find later.

        Kubernetes removes Jobs with their owner where both are in one namespace; elsewhere we do.
        """
        owner = jobs.owner_of(job, self.context.home)
        if owner is None:
            return
        there = await self.context.cluster.get(owner.resource, owner.name, owner.namespace)
        if there is not None and there["metadata"]["uid"] == owner.uid:
            erases = job["metadata"]["labels"].get(names.LABEL_TASK) == Work.ERASE
            if owner.resource in _RECONCILES and not erases:
                await self.settle(owner.resource, owner.namespace, owner.name)
        elif not job["metadata"].get("deletionTimestamp"):
            await self._remove(job)

    async def gone(self, uid: str) -> None:
        """Remove the Jobs in the operator's namespace that worked for an object that is gone."""
        context, mine = self.context, {names.LABEL_OWNER: uid}
        for job in await context.cluster.list(JOBS, context.home, labels=mine):
            await self._remove(job)

    async def _remove(self, job: Object) -> None:
        metadata = job["metadata"]
        await self.context.cluster.delete(
            JOBS, metadata["name"], metadata["namespace"], uid=metadata["uid"]
        )


def _passes(error: Exception) -> bool:
    """An API server that is away or busy for a moment is no news about the object."""
    return isinstance(error, ApiError) and (
        error.status in _MOMENTARY or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )


_MOMENTARY = frozenset(
    {0, HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
)


def register(reconciler: Reconciler) -> kopf.OperatorRegistry:
    """All handlers, in a registry of their own."""
    registry = kopf.OperatorRegistry()
    _register_locations(registry, reconciler)
    for resource in _RECONCILES:
        _on_change(registry, resource, _settler(reconciler, resource))
    _every(registry, POLICIES, _settler(reconciler, POLICIES), _POLICY_SECONDS, _always)
    _every(registry, BACKUPS, _settler(reconciler, BACKUPS), _RUNNING_SECONDS, _is_running)
    _every(registry, BACKUPS, _settler(reconciler, BACKUPS), _WAITING_SECONDS, _is_waiting)
    _every(registry, REQUESTS, _settler(reconciler, REQUESTS), _RECOVERY_SECONDS, _is_recovering)
    _every(registry, REQUESTS, _settler(reconciler, REQUESTS), _WAITING_SECONDS, _is_planning)
    _every(registry, DATABASES, _settler(reconciler, DATABASES), _DATABASE_SECONDS, _always)
    _register_erasure(registry, reconciler)
    _register_workers(registry, reconciler)
    return registry


def _settler(reconciler: Reconciler, resource: Resource) -> Callable[..., Awaitable[None]]:
    async def settle(*, namespace: str | None, name: str, **_: Any) -> None:
        await reconciler.settle(resource, namespace, name)

    return settle


def _register_locations(registry: kopf.OperatorRegistry, reconciler: Reconciler) -> None:
    async def probe(*, name: str, meta: Mapping[str, Any], memo: kopf.Memo, **_: Any) -> None:
        await reconciler.probe(name, meta["generation"], memo.setdefault("watch", Watch()))

    _on_change(registry, LOCATIONS, probe)
    _every(registry, LOCATIONS, probe, _LOCATION_SECONDS, _always)


def _register_erasure(registry: kopf.OperatorRegistry, reconciler: Reconciler) -> None:
    async def erase(*, body: Mapping[str, Any], **_: Any) -> None:
        context, metadata = reconciler.context, body["metadata"]
        async with context.lock(POLICIES, metadata["namespace"], metadata["name"]):
            waiting = await erasure.erase(context, dict(body))
        if waiting:
            raise kopf.TemporaryError(waiting, delay=_ERASURE_SECONDS)

    kopf.on.delete(*_address(POLICIES), registry=registry, id="erase", when=_erases)(erase)


def _register_workers(registry: kopf.OperatorRegistry, reconciler: Reconciler) -> None:
    async def worker(*, type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002  Kopf's word
        try:
            if type != "DELETED" or "ownerReferences" in body["metadata"]:
                await reconciler.job_moved(dict(body))
        except ApiError as error:
            _log.warning("a Job's owner was not looked for", error=str(error))

    kopf.on.event(
        *_address(JOBS), registry=registry, id="worker", labels={names.LABEL_TASK: kopf.PRESENT}
    )(worker)

    async def gone(*, type: str | None, uid: str, **_: Any) -> None:  # noqa: A002  likewise
        if type == "DELETED":
            try:
                await reconciler.gone(uid)
            except ApiError as error:
                # Found again when the operator starts, or by its Job's next event.
                _log.warning("Jobs were not removed", error=str(error))

    for resource in (POLICIES, BACKUPS):
        kopf.on.event(*_address(resource), registry=registry, id="gone")(gone)


def _on_change(
    registry: kopf.OperatorRegistry, resource: Resource, handler: Callable[..., Awaitable[None]]
) -> None:
    for on in (kopf.on.create, kopf.on.update, kopf.on.resume):
        on(*_address(resource), registry=registry, id="reconcile")(handler)


def _every(
    registry: kopf.OperatorRegistry,
    resource: Resource,
    handler: Callable[..., Awaitable[None]],
    seconds: float,
    when: Callable[..., bool],
) -> None:
    def place_in_turn(*, uid: str, **_: Any) -> float:
        """After a restart a fleet's timers must not all fire at once."""
        return seconds * int.from_bytes(hashlib.sha256(uid.encode()).digest()[:2]) / 2**16

    kopf.timer(
        *_address(resource),
        registry=registry,
        id=f"every-{seconds:g}-seconds",
        interval=seconds,
        sharp=True,
        initial_delay=place_in_turn,
        when=when,
    )(handler)


def _address(resource: Resource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.plural


def _always(**_: Any) -> bool:
    return True


def _is_running(*, status: Mapping[str, Any], **_: Any) -> bool:
    return status.get("phase") == BackupPhase.RUNNING


def _is_waiting(*, status: Mapping[str, Any], **_: Any) -> bool:
    return status.get("phase", BackupPhase.PENDING) == BackupPhase.PENDING or (
        _is_behind(status)
        and _condition(status, "Replicated", "reason") != backup_rules.LOCATION_GONE
    )


def _is_recovering(*, status: Mapping[str, Any], **_: Any) -> bool:
    return status.get("phase") == RecoveryPhase.RECOVERING


def _is_planning(status: Mapping[str, Any], **_: Any) -> bool:
    """Whether a recovery has no point yet: each look lists at every provider."""
    return status.get("phase", RecoveryPhase.PENDING) in {
        RecoveryPhase.PENDING,
        RecoveryPhase.PLANNING,
    }


def _is_behind(status: Mapping[str, Any]) -> bool:
    """Whether a backup waits to start, or to be copied to a location that missed it."""
    phase = BackupPhase(status.get("phase", BackupPhase.PENDING))
    if phase is BackupPhase.COMPLETED:
        return _condition(status, "Replicated") == "False"
    return phase not in backup_rules.ENDED


def _is_unplaced(status: Mapping[str, Any]) -> bool:
    return _condition(status, "Placed") != "True"


def _erases(*, spec: Mapping[str, Any], **_: Any) -> bool:
    return bool((spec.get("retention") or {}).get("deletionPolicy") == "Erase")


def _condition(status: Mapping[str, Any], kind: str, field: str = "status") -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == kind:
            found: str = condition[field]
            return found
    return None


def _policy_of(body: Object) -> str:
    reference = body["spec"].get("policyRef") or body["metadata"]
    policy: str = reference["name"]
    return policy


def _stage(body: Object) -> tuple[str | None, int | None]:
    """What others wait for: the phase, and which edit the status speaks of."""
    status = body.get("status") or {}
    return status.get("phase"), status.get("observedGeneration")
