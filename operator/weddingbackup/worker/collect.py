"""Removes what no kept recovery point of a vault needs. It has credentials and no keys: names are enough."""

import time
from datetime import timedelta

import structlog

from weddingbackup.resources.reports import CollectReport
from weddingbackup.resources.tasks import CollectTask
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault import collect as collecting
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment
from weddingbackup.worker.errors import RefusedError


def collect(task: CollectTask, environment: Environment) -> CollectReport:
    """Do one collection: sweep what was marked a grace ago, then mark anew.

    Raises:
        RefusedError: the task names no vault.
        VaultError: too few locations answer, a point's needs cannot be told, or another collection
            has begun.
        StoreError: no location was swept to its end. One alone is logged, and swept by a later run.
    """
    if not task.vault.prefix:
        # Without it the names of every other vault would be in sight too.
        raise RefusedError("BadTask", "the task gives no vault prefix; nothing was removed")
    begun = time.monotonic()
    keepers = access.Keepers(environment, task.vault, {x.name: x for x in task.locations})
    try:
        result = collecting.collect(
            access.stores(environment, task.locations, task.vault),
            lambda location, name: keepers.at(location).delete(name),
            collecting.Wish(
                kept=task.keep,
                quorum=task.quorum,
                grace=timedelta(seconds=task.grace_seconds),
                pins=frozenset(task.pins),
                lossy=frozenset(task.lossy),
            ),
            dry_run=task.dry_run,
        )
    finally:
        keepers.close()
    report = CollectReport(
        points=result.points,
        objects=result.objects,
        bytes=result.bytes,
        marked=result.marked,
        locked=result.locked,
        kept=result.kept,
        seconds=round(time.monotonic() - begun, 3),
    )
    for location, why in result.failed.items():
        structlog.get_logger().warning("not swept to its end", location=location, why=why)
    if len(result.failed) == len(task.locations):
        location, why = next(iter(result.failed.items()))
        raise TransientError(f"no location was swept to its end; {why}", location=location)
    return report
