"""What every reconcile is handed: the cluster, the clock, and what this operator is told at its start."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.listings import Listings
from weddingbackup.kube import events
from weddingbackup.kube.client import Cluster, ConflictError, Object, Resource
from weddingbackup.kube.jobs import Platform
from weddingbackup.kube.status import write_status
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.kind import KindStatus
from weddingbackup.rules.conditions import find
from weddingbackup.rules.turns import Line


@dataclass(frozen=True, slots=True)
class Context:
    """One running operator.

    Attributes:
        now: the clock, which a test may set.
        locks: one an object, so that a timer and an event never decide on it at the same time.
        lines: who waits for a Job in the operator's namespace, by what shares a bound there.
        listings: of vaults, that go on behind a reconcile.
    """

    cluster: Cluster
    platform: Platform
    bulkheads: Bulkheads
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    locks: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)
    lines: dict[str, Line] = field(default_factory=dict)
    listings: Listings = field(default_factory=Listings)

    @property
    def home(self) -> str:
        """The operator's own namespace: vaults and credentials are here, and workers that need those."""
        return self.platform.namespace

    def lock(self, resource: Resource, namespace: str | None, name: str) -> asyncio.Lock:
        """The object's lock."""
        key = f"{resource.plural}/{namespace or ''}/{name}"
        return self.locks.setdefault(key, asyncio.Lock())

    async def publish(self, resource: Resource, body: Object, status: KindStatus) -> bool:
        """Write a status where it says something new, and tell people when the object turned a corner.

        Returns:
            False if the object has changed since it was read: nothing was written, and whoever
            changed it calls for another reconcile.
        """
        before = _ready(type(status).model_validate(body.get("status") or {}))
        after = _ready(status)
        try:
            written = await self._write(resource, body, status.dump())
        except ConflictError:
            return False
        if written and after is not None and (before is None or before[1] != after[1]):
            await events.record(
                self.cluster,
                {"apiVersion": resource.api_version, "kind": resource.kind, **body},
                kind="Warning" if after[0] else "Normal",
                reason=after[1],
                message=after[2] or after[1],
                now=self.now(),
            )
        return True

    async def _write(self, resource: Resource, body: Object, status: Object) -> bool:
        """Write a status beside the broker, which says every other second how far a worker is.

        Its words are left as they are, and a decision is no older for a new one: it is written all the
        same, or whoever is slower than the broker would never come to write.

        Raises:
            ConflictError: something else has changed.
        """
        before = _ours(body)
        status = {**status, **_brokers(body)}
        for _ in range(_ATTEMPTS):
            try:
                return await write_status(self.cluster, resource, body, status)
            except ConflictError:
                metadata = body["metadata"]
                fresh = await self.cluster.get(
                    resource, metadata["name"], metadata.get("namespace")
                )
                if fresh is None or _ours(fresh) != before:
                    raise
                body = fresh
                status = {**status, **_brokers(fresh)}
        return False


_ATTEMPTS = 5
_PROGRESS = "reported"
_BROKERS = (_PROGRESS, "announced")
"""What the broker alone writes of a BackupJob's and a RecoveryRequest's status, progress again and again."""


def _brokers(body: Object) -> Object:
    status = body.get("status") or {}
    return {key: status[key] for key in _BROKERS if key in status}


def _ours(body: Object) -> Object:
    """What a decision rests on: all of an object but its worker's progress and the book-keeping."""
    status = {key: value for key, value in (body.get("status") or {}).items() if key != _PROGRESS}
    passing = {"resourceVersion", "managedFields"}
    metadata = {key: value for key, value in body["metadata"].items() if key not in passing}
    return {"metadata": metadata, "spec": body.get("spec"), "status": status}


def _ready(status: KindStatus) -> tuple[bool, str, str] | None:
    """Whether the object is stalled, and why it is as it is."""
    ready, stalled = find(status.conditions, "Ready"), find(status.conditions, "Stalled")
    if ready is None:
        return None
    bad = stalled is not None and stalled.status is ConditionStatus.TRUE
    return bad, ready.reason, ready.message
