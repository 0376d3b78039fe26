"""How much the backups of an organisation are granted, so that they store no more than its quota leaves.

What is left is measured when a backup is admitted, and written into its status with the jobs that the
measure does not count. Those, and all that begin later, share it: many that are under way at once have no
more than one. Copies count once, as in the measure: a job is charged for the location that it sends the most
to, beside what that one lacked of the vault to begin with.

It is kept in memory, by each broker for itself: of N brokers, or of one that was started N times meanwhile,
each grants what was left. What that can come to says docs/decisions/0017.
"""

import threading
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.backup_job import MOST_BESIDE
from weddingbackup.resources.broker import Put, RefusalCode
from weddingbackup.rules import quotas

_JOBS = 2 * MOST_BESIDE
"""Of one organisation, the newest to ask."""
_GRANTS = 65_536
"""So many are remembered, so that who asks again for the same is not charged again."""


@dataclass(slots=True)
class _Job:
    """What one job was granted.

    Attributes:
        sent: bytes, by location.
        new: those of them that count, copies once.
    """

    started_at: datetime
    sent: Counter[str] = field(default_factory=Counter)
    new: int = 0


class Spending:
    """Adds up grants. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._organisations = defaultdict[str, OrderedDict[str, _Job]](OrderedDict)
        self._granted = OrderedDict[tuple[str, str, str, int], None]()

    def charge(self, scope: Scope, put: Put) -> None:
        """Count an object that a job is granted, unless it was.

        Raises:
            RefusedError: the organisation would store more than it may; nothing was counted.
        """
        quota, uid = scope.quota, scope.owner.uid
        if quota is None:
            return
        grant = (uid, put.location, put.name, put.size)
        with self._lock:
            if grant in self._granted:
                return
            jobs = self._organisations[scope.namespace]
            job = _job(jobs, scope)
            sent = job.sent[put.location] + put.size
            new = max(job.new, sent - scope.lacks.get(put.location, 0))
            others = sum(
                other.new
                for name, other in jobs.items()
                if other is not job and (other.started_at >= job.started_at or name in quota.beside)
            )
            if others + new > quota.left:
                told = quotas.exhausted(quota)
                raise RefusedError(RefusalCode.QUOTA_EXCEEDED, told.message)
            job.sent[put.location], job.new = sent, new
            self._granted[grant] = None
            if len(self._granted) > _GRANTS:
                self._granted.popitem(last=False)


def _job(jobs: OrderedDict[str, _Job], scope: Scope) -> _Job:
    uid = scope.owner.uid
    job = jobs.setdefault(uid, _Job(scope.started_at))
    jobs.move_to_end(uid)
    if len(jobs) > _JOBS:
        jobs.popitem(last=False)
    return job
