"""How many bytes a vault takes: listed at one of the locations that hold it, as every copy takes as much."""

from collections.abc import Iterable, Mapping

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.context import Context
from weddingbackup.kube.registry import Registered
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.rules.locations import is_readable
from weddingbackup.stores import open_keeper

_log = structlog.get_logger()

_SECONDS = 30.0
"""For one location to list a vault: a thousand objects a request, 16 MiB and more an object."""


async def stored(
    context: Context,
    locations: Mapping[str, BackupLocation],
    vault: Registered,
    holders: Iterable[str],
) -> int | None:
    """The bytes at the first of the holders that tells; None where none does."""
    for name in holders:
        if name not in locations or not is_readable(locations[name]):
            continue
        try:
            return await _ask(context, locations[name], vault.kit.prefix)
        except Exception as error:  # noqa: BLE001  whatever an SDK throws, the next one is asked
            _log.warning("a location did not list a vault", location=name, error=str(error))
    return None


async def _ask(context: Context, location: BackupLocation, prefix: str) -> int:
    reach, credentials = await access.for_operator(context, location)

    def ask() -> int:
        keeper = open_keeper(reach, credentials, prefix=prefix)
        try:
            return sum(found.size for found in keeper.list(""))
        finally:
            keeper.close()

    name = f"measure/{location.metadata.name}"
    return await context.bulkheads.run(name, ask, seconds=_SECONDS)
