"""Asks Kubernetes whose token it is, and takes the job's bounds from what only the operator writes.

What was found out is remembered for a few seconds: so long does a worker go on at most after its
job has ended, and so seldom is the API server asked about a token that is none. The token itself is
remembered by its hash only.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from weddingbackup.broker.remembered import Remembered
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.kube import organisations, registry
from weddingbackup.kube.client import (
    BACKUPS,
    JOBS,
    LOCATIONS,
    PODS,
    POLICIES,
    REQUESTS,
    TOKEN_REVIEWS,
    ApiError,
    Cluster,
    Object,
)
from weddingbackup.kube.organisations import Organisation
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_job import Status as BackupStatus
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import AUDIENCE, RefusalCode
from weddingbackup.resources.common import DataClass, VaultStatus
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.resources.recovery_request import Status as RequestStatus
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import identity, stages
from weddingbackup.rules.access import allowed_namespaces, may_recover
from weddingbackup.rules.identity import Reference, UnknownError
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.kit import Kit

_log = structlog.get_logger()

REMEMBERED_SECONDS = 5.0
_LONGEST_TOKEN = 16 << 10


@dataclass(frozen=True, slots=True)
class _Bearer:
    """Who shows a token: a pod of a Job, for an object, in an organisation's namespace."""

    pod: Reference
    job: Reference
    owner: Reference
    organisation: Organisation


class KubernetesAuthority:
    """An `Authority` that goes by the cluster."""

    def __init__(
        self, cluster: Cluster, home: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._home = home
        # Apart: however many tokens strangers make up, none of a worker's is forgotten for them.
        self._known = Remembered[bytes, Scope](REMEMBERED_SECONDS, clock)
        self._refused = Remembered[bytes, RefusedError](REMEMBERED_SECONDS, clock)
        self._asking: dict[bytes, asyncio.Task[Scope | RefusedError]] = {}

    async def scope(self, token: str) -> Scope:
        """See `Authority.scope`."""
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "this is no token")
        key = hashlib.sha256(token.encode()).digest()
        found = self._known.get(key) or self._refused.get(key) or await self._ask(key, token)
        if isinstance(found, RefusedError):
            raise RefusedError(found.refusal.code, found.refusal.message)
        return found

    async def _ask(self, key: bytes, token: str) -> Scope | RefusedError:
        """Find out, once for all who ask at the same time."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._find(key, token))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _find(self, key: bytes, token: str) -> Scope | RefusedError:
        found: Scope | RefusedError
        try:
            found = await self._identify(token)
        except UnknownError as error:
            _log.info("unknown worker", message=str(error))
            found = RefusedError(RefusalCode.UNKNOWN_WORKER, str(error))
        except RefusedError as error:
            found = error
        except VaultError:
            found = RefusedError(RefusalCode.TRANSIENT, "the vault's keys cannot be read")
        except ApiError as error:
            # Not remembered: it passes.
            _log.warning("the API server does not answer", error=str(error))
            raise RefusedError(
                RefusalCode.TRANSIENT, "the API server does not answer the broker", retry_after=2
            ) from None
        if isinstance(found, RefusedError):
            self._refused.put(key, found)
        else:
            self._known.put(key, found)
        return found

    async def _identify(self, token: str) -> Scope:
        review = await self._cluster.create(
            TOKEN_REVIEWS,
            {
                "apiVersion": TOKEN_REVIEWS.api_version,
                "kind": TOKEN_REVIEWS.kind,
                "metadata": {},
                "spec": {"token": token, "audiences": [AUDIENCE]},
            },
        )
        pod = identity.bearer(review)
        job = identity.job_of(pod, await self._cluster.get(PODS, pod.name, pod.namespace))
        owner = identity.owner_of(job, await self._cluster.get(JOBS, job.name, job.namespace))
        if owner.kind == BACKUPS.kind:
            return await self._backup(pod, job, owner)
        return await self._recovery(pod, job, owner)

    async def _backup(self, pod: Reference, job: Reference, owner: Reference) -> Scope:
        body = await self._cluster.get(BACKUPS, owner.name, owner.namespace)
        backup = BackupJob.model_validate(_there(body))
        identity.backup_under_way(owner, job, backup)
        organisation = await organisations.read(self._cluster, owner.namespace)
        scope = await self._scope(
            _Bearer(pod, job, owner, organisation),
            organisation,
            backup.spec.policy_ref.name,
            backup.status,
            purpose=Purpose.BACKUP,
            quorum=backup.status.quorum or 0,
            sources={row.name: row.data_class for row in backup.status.sources},
        )
        return replace(
            scope,
            started_at=backup.status.started_at or scope.started_at,
            quota=backup.status.quota,
            lacks={row.name: row.lacks for row in backup.status.locations},
        )

    async def _recovery(self, pod: Reference, job: Reference, owner: Reference) -> Scope:
        body = await self._cluster.get(REQUESTS, owner.name, owner.namespace)
        request = RecoveryRequest.model_validate(_there(body))
        row = identity.recovery_under_way(owner, job, request)
        policy = request.spec.policy_ref
        here = origin = await organisations.read(self._cluster, owner.namespace)
        if policy.namespace not in {None, owner.namespace}:
            await self._granted(policy.namespace, policy.name, here)
            origin = await organisations.read(self._cluster, policy.namespace)
        return await self._scope(
            _Bearer(pod, job, owner, here),
            origin,
            policy.name,
            request.status,
            purpose=Purpose.RESTORE,
            quorum=0,
            sources={row.name: row.data_class},
            waits_for=stages.waits_for(request.status, row.data_class),
        )

    async def _scope(
        self,
        bearer: _Bearer,
        origin: Organisation,
        policy: str,
        status: BackupStatus | RequestStatus,
        *,
        purpose: Purpose,
        quorum: int,
        sources: Mapping[str, DataClass],
        waits_for: DataClass | None = None,
    ) -> Scope:
        """What the bearer may do with the vault of a policy of the organisation `origin`."""
        if status.vault is None:
            raise UnknownError("the status names no vault")
        planned = frozenset(row.name for row in status.locations)
        locations = await self._locations(origin)
        return Scope(
            purpose=purpose,
            namespace=bearer.organisation.namespace,
            labels=bearer.organisation.labels,
            pod=bearer.pod.name,
            pod_uid=bearer.pod.uid,
            owner=_reference(bearer.owner),
            job_uid=bearer.job.uid,
            policy=policy,
            vault=VaultRef(id=status.vault.id, prefix=status.vault.prefix),
            kit=await self._kit(origin, policy, status.vault),
            classes=frozenset(sources.values()),
            planned=planned,
            locations={name: x for name, x in locations.items() if name in planned},
            quorum=quorum,
            sources=sources,
            waits_for=waits_for,
        )

    async def _granted(self, namespace: str, policy: str, asking: Organisation) -> None:
        body = await self._cluster.get(POLICIES, policy, namespace)
        found = WeddingBackupPolicy.model_validate(body) if body else None
        if found is None or not may_recover(found, asking.namespace, asking.uid):
            raise UnknownError("the policy no longer lets this namespace recover from it")

    async def _locations(self, organisation: Organisation) -> dict[str, BackupLocation]:
        """Those that an organisation's vaults may be at."""
        bodies = await self._cluster.list(LOCATIONS)
        found = [BackupLocation.model_validate(body) for body in bodies]
        return {
            location.metadata.name: location
            for location in found
            if allowed_namespaces(location, organisation.labels)
        }

    async def _kit(self, organisation: Organisation, policy: str, vault: VaultStatus) -> Kit:
        found = await registry.find(
            self._cluster,
            self._home,
            namespace=organisation.namespace,
            policy=policy,
            uid=organisation.uid,
        )
        if found is None or (found.kit.vault_id, found.kit.prefix) != (vault.id, vault.prefix):
            raise UnknownError("the vault of this job is gone")
        return found.kit


def _there(body: Object | None) -> Object:
    if body is None:
        raise UnknownError("what the Job is for is gone")
    return body


def _reference(owner: Reference) -> ObjectRef:
    return ObjectRef(namespace=owner.namespace, name=owner.name, uid=owner.uid)
