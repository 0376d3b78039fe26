"""How much the backups of an organisation are granted, so that they store no more than its quota leaves.

What is left is measured when a backup is admitted, and written into its status with the jobs that the
measure does not count. Those, and all that begin later, share it: many that are under way at once have no
more than one. Copies count once, as in the measure: a job is charged for the location that it sends the most
to, beside what that one lacked of the vault to begin with.

It is kept in memory, by each broker for itself, and only so much of it: of N brokers, or of one that was
started N times meanwhile, or had to forget, each grants what was left. What that can come to says
docs/decisions/0017.
"""

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.backup_job import MOST_BESIDE
from weddingbackup.resources.broker import Put, RefusalCode
from weddingbackup.rules import quotas

K = TypeVar("K")
V = TypeVar("V")

_JOBS, _JOBS_IN_ALL = 2 * MOST_BESIDE, 65_536
"""Of one organisation, and of all: 2 KiB each with 32 locations, 140 MiB together."""
_GRANTS, _GRANTS_IN_ALL = 8_192, 131_072
"""So many are remembered of one organisation, and of all, so that who asks again for the same is not charged
again: 60 MiB together. Apart from jobs: they are cheap to ask for, and push out no job's charges."""


class _Kept(Generic[K, V]):
    """What is kept of organisations: so much of each, and so much of all.

    Each forgets the oldest of its own first. Where that is too much together, the organisation that was
    idle longest forgets, so one alone can push out little of the others'.
    """

    def __init__(self, each: int, in_all: int) -> None:
        self._each = each
        self._in_all = in_all
        self._count = 0
        self._found = OrderedDict[str, OrderedDict[K, V]]()

    def __len__(self) -> int:
        return self._count

    def of(self, organisation: str) -> Mapping[K, V]:
        """What is kept of one."""
        return self._found.get(organisation) or {}

    def put(self, organisation: str, key: K, value: V) -> None:
        """Keep it as its newest."""
        found = self._found.setdefault(organisation, OrderedDict())
        self._found.move_to_end(organisation)
        self._count += key not in found
        found[key] = value
        found.move_to_end(key)
        if len(found) > self._each:
            self._forget(organisation)
        if self._count > self._in_all:
            self._forget(next(iter(self._found)))

    def _forget(self, organisation: str) -> None:
        found = self._found[organisation]
        found.popitem(last=False)
        self._count -= 1
        if not found:
            del self._found[organisation]


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
        self._jobs = _Kept[str, _Job](_JOBS, _JOBS_IN_ALL)
        self._granted = _Kept[tuple[str, str, str, int], None](_GRANTS, _GRANTS_IN_ALL)

    def charge(self, scope: Scope, put: Put) -> None:
        """Count an object that a job is granted, unless it was.

        Raises:
            RefusedError: the organisation would store more than it may; nothing was counted.
        """
        quota, organisation, uid = scope.quota, scope.namespace, scope.owner.uid
        if quota is None:
            return
        location = sys.intern(
            put.location
        )  # of all jobs one text: else names are most of what is kept
        grant = (uid, location, put.name, put.size)
        with self._lock:
            if grant in self._granted.of(organisation):
                return
            jobs = self._jobs.of(organisation)
            job = jobs.get(uid) or _Job(scope.started_at)
            sent = job.sent[location] + put.size
            new = max(job.new, sent - scope.lacks.get(location, 0))
            others = sum(
                other.new
                for name, other in jobs.items()
                if other is not job and (other.started_at >= job.started_at or name in quota.beside)
            )
            if others + new > quota.left:
                told = quotas.exhausted(quota)
                raise RefusedError(RefusalCode.QUOTA_EXCEEDED, told.message)
            job.sent[location], job.new = sent, new
            self._jobs.put(organisation, uid, job)
            self._granted.put(organisation, grant, None)
