"""Copies to one location what it lacks of some recovery points, as it is: sealed, without any key."""

import time

from weddingbackup.resources.reports import CopyReport
from weddingbackup.resources.tasks import CopyTask
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.progress import Progress
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment
from weddingbackup.worker.errors import RefusedError


def copy(task: CopyTask, environment: Environment, progress: Progress) -> CopyReport:
    """Do one copy.

    Raises:
        RefusedError: the target is none of the task's locations.
        StoreError: the target does not take it.
        VaultError: no location has good bytes of an object.
    """
    begun = time.monotonic()
    stores = access.stores(environment, task.locations, task.vault)
    target = next((store for store in stores if store.location == task.target), None)
    if target is None:
        raise RefusedError("BadTask", f"the target {task.target} is none of the task's locations")
    others = [store for store in stores if store is not target]
    result = copy_points(others, target, task.manifests, verify=task.verify, progress=progress)
    return CopyReport(
        target=task.target,
        objects=result.objects,
        bytes=result.bytes,
        verified=result.verified,
        damaged=result.damaged,
        replaced=result.replaced,
        seconds=round(time.monotonic() - begun, 3),
    )
