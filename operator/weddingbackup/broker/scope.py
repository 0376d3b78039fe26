"""What one worker's one job may do: everything that the broker allows follows from this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from weddingbackup.resources.backup_job import QuotaStatus
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import Refusal, RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.vault.kit import Kit


class Purpose(StrEnum):
    """What a job does with its vault."""

    BACKUP = "backup"
    RESTORE = "restore"


_OF_OLD = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """One job, as its object's status and the vault registry tell it; nothing here comes from a tenant.

    Attributes:
        namespace: where the worker runs: the organisation's.
        labels: of that namespace.
        pod: name of the worker's pod, for the log.
        pod_uid: tells it from a later one of the same name.
        owner: the BackupJob or RecoveryRequest that the job is for.
        policy: name of the policy, in the vault's namespace.
        classes: the data classes whose keys the job needs.
        job_uid: of the Kubernetes Job that the pod belongs to.
        planned: names of the locations that the job was planned for, registered still or not.
        locations: those of them that it may work with now, by name.
        quorum: of a backup.
        sources: those that the job reads or writes, with their class.
        waits_for: the stage that the job waited for when it was looked up; see `turns`.
        started_at: when the job was admitted.
        quota: what its organisation may still store; None where there is no limit.
        lacks: bytes by location of the vault that the location has still to get; see `spending`.
    """

    purpose: Purpose
    namespace: str
    labels: Mapping[str, str]
    pod: str
    pod_uid: str
    owner: ObjectRef
    job_uid: str
    policy: str
    vault: VaultRef
    kit: Kit = field(repr=False)
    classes: frozenset[DataClass]
    planned: frozenset[str]
    locations: Mapping[str, BackupLocation]
    quorum: int
    sources: Mapping[str, DataClass]
    waits_for: DataClass | None = None
    started_at: datetime = _OF_OLD
    quota: QuotaStatus | None = None
    lacks: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.owner.name}"


class RefusedError(Exception):
    """The broker does not do this; the refusal says why, in words fit for whoever asked.

    Attributes:
        detail: what else the log is to say.
    """

    def __init__(
        self,
        code: RefusalCode,
        message: str,
        *,
        retry_after: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.detail = detail
        self.refusal = Refusal(code=code, message=message, retry_after_seconds=retry_after)


class Authority(Protocol):
    """Tells what the bearer of a token may do."""

    async def scope(self, token: str) -> Scope:
        """The job of the worker that shows this token, as it is now.

        Raises:
            RefusedError: it is no token of a worker whose job is under way.
        """
