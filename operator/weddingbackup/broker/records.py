"""What the broker writes into status: the manifest that a backup announced, and how far a job is.

These two fields are the broker's alone; all others are the operator's.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from weddingbackup.broker.remembered import Remembered
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.kube.client import BACKUPS, JOBS, REQUESTS, Cluster, ConflictError
from weddingbackup.resources.backup_job import Announced, BackupJob
from weddingbackup.resources.broker import Progress, RefusalCode
from weddingbackup.resources.common import Reported
from weddingbackup.rules.identity import Reference, UnknownError, backup_under_way

_EVERY_SECONDS = 2.0


class KubernetesRecords:
    """`Announcements` and `Reports` that go into the status of the jobs' objects."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._now = now
        self._told = Remembered[str, bool](_EVERY_SECONDS, clock)

    async def read(self, scope: Scope) -> Announced | None:
        """See `Announcements.read`; always the newest, by whichever broker."""
        return (await self._backup(scope))[0]

    async def replace(self, scope: Scope, old: Announced | None, new: Announced) -> bool:
        """See `Announcements.replace`: the object's version decides between two brokers."""
        there, version = await self._backup(scope)
        if there != old:
            return False
        try:
            written = await self._cluster.patch(
                BACKUPS,
                scope.owner.name,
                scope.namespace,
                {"metadata": {"resourceVersion": version}, "status": {"announced": new.dump()}},
                subresource="status",
            )
        except ConflictError:
            return False
        return written is not None  # else it was deleted since

    async def report(self, scope: Scope, progress: Progress) -> None:
        """See `Reports.report`."""
        if self._told.get(scope.pod_uid):
            return
        self._told.put(scope.pod_uid, True)
        said = Reported(at=self._now().replace(microsecond=0), **progress.model_dump()).dump()
        restoring = scope.purpose is Purpose.RESTORE
        reported = dict.fromkeys(scope.sources, said) if restoring else said
        kind = REQUESTS if restoring else BACKUPS
        body = await self._cluster.get(kind, scope.owner.name, scope.namespace)
        # A later object of the same name is another job's; a uid in the patch would not keep it out.
        if body is None or body["metadata"]["uid"] != scope.owner.uid:
            return
        version = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}}
        with suppress(ConflictError):  # somebody else was faster: there is more to tell soon
            await self._cluster.patch(
                kind,
                scope.owner.name,
                scope.namespace,
                {**version, "status": {"reported": reported}},
                subresource="status",
            )

    async def _backup(self, scope: Scope) -> tuple[Announced | None, str]:
        body = await self._cluster.get(BACKUPS, scope.owner.name, scope.namespace)
        if body is None:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "the BackupJob is gone")
        backup = BackupJob.model_validate(body)
        where = scope.namespace
        owner = Reference(BACKUPS.kind, where, scope.owner.name, scope.owner.uid)
        job = Reference(JOBS.kind, where, "", scope.job_uid)
        try:
            # Again, by the very version that is about to be changed: its job may have ended meanwhile.
            backup_under_way(owner, job, backup)
        except UnknownError as error:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, str(error)) from None
        version: str = body["metadata"]["resourceVersion"]
        return backup.status.announced, version
