"""Removes every object of a vault at each location. It needs no keys: names are enough.

Erasing what is erased already does nothing, so it can be told again after a crash.
"""

from concurrent.futures import ThreadPoolExecutor

from weddingbackup.resources.reports import EraseReport
from weddingbackup.resources.tasks import EraseTask
from weddingbackup.stores.api import Keeper
from weddingbackup.stores.errors import StoreError
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment
from weddingbackup.worker.errors import RefusedError

# Manifests go first, so that no reader ever sees a point whose bytes are half gone; what founded
# the vault goes last, so that an erasure that was cut short is seen for what it is.
_ORDER = ("snapshots/", "journal/", "index/", "packs/", "")
_CONNECTIONS = 8


def erase(task: EraseTask, environment: Environment) -> EraseReport:
    """Erase a vault at its locations.

    A location that fails holds up no other; it is told once all were tried.

    Raises:
        RefusedError: the task names no vault.
        StoreError: of the first location that failed.
    """
    if not task.vault.prefix:
        # Without it the whole of each location would go: every other vault too.
        raise RefusedError("BadTask", "the task gives no vault prefix; nothing was erased")
    removed = 0
    failures: list[StoreError] = []
    for location in task.locations:
        try:
            keeper = access.keeper(environment, location, task.vault)
            try:
                removed += _erase(keeper)
            finally:
                keeper.close()
        except StoreError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return EraseReport(objects=removed)


def _erase(keeper: Keeper) -> int:
    removed = 0
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for prefix in _ORDER:
            names = [found.name for found in keeper.list(prefix)]
            removed += sum(1 for _ in pool.map(keeper.delete, names))
    return removed
