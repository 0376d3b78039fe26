"""How many bytes a vault takes: listed at one of the locations that hold it, as every copy takes as much.

It is listed anew after each point and each collection. What came of it is written on the vault's Secret,
for quotas count it for as long as the vault is there, with or without its policy.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.context import Context
from weddingbackup.kube import registry
from weddingbackup.kube.registry import Measured, Registered
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import Status
from weddingbackup.rules.locations import is_readable
from weddingbackup.rules.times import rfc3339
from weddingbackup.stores import open_keeper

_log = structlog.get_logger()

_SECONDS = 30.0
"""For one location to list a vault: a thousand objects a request, 16 MiB and more an object."""

_AGAIN = timedelta(minutes=10)
"""From a look that told nothing to the next one."""


async def stored(
    context: Context,
    locations: Mapping[str, BackupLocation],
    vault: Registered,
    holders: Collection[str],
    status: Status,
) -> int | None:
    """The bytes that a vault takes at one location, as far as they are known.

    Args:
        context: the operator's.
        locations: all, by name.
        vault: with what was last measured.
        holders: names of those that hold the newest point, where that is known.
        status: its policy's. Another point, or another collection, asks for another look.
    """
    if status.newest_point is None and not vault.imported:
        return None
    newest, collection = status.newest_point, status.last_collection
    state = f"{newest.manifest if newest else ''} {rfc3339(collection.time) if collection else ''}"
    known, now = vault.measured, context.now()
    if known.bytes is not None and known.state == state:
        return known.bytes
    if known.failed_at is not None and now - known.failed_at < _AGAIN:
        return known.bytes
    found = await _first(context, locations, vault, holders)
    if found is None and not holders:
        found = await _largest(context, locations, vault)
    measured = (
        known.model_copy(update={"failed_at": now})
        if found is None
        else Measured(bytes=found, state=state)
    )
    await registry.measure(context.cluster, context.home, vault, measured)
    return measured.bytes


async def _first(
    context: Context,
    locations: Mapping[str, BackupLocation],
    vault: Registered,
    holders: Collection[str],
) -> int | None:
    """What the first of them that answers tells."""
    for name in holders:
        if name in locations and (found := await _ask(context, locations[name], vault)) is not None:
            return found
    return None


async def _largest(
    context: Context, locations: Mapping[str, BackupLocation], vault: Registered
) -> int | None:
    """Nobody knows who holds it: the most that any location tells."""
    told = await asyncio.gather(*(_ask(context, each, vault) for each in locations.values()))
    return max((found for found in told if found is not None), default=None)


async def _ask(context: Context, location: BackupLocation, vault: Registered) -> int | None:
    """What one location tells; None where it does not answer."""
    if not is_readable(location):
        return None
    name = location.metadata.name

    def ask() -> int:
        keeper = open_keeper(reach, credentials, prefix=vault.kit.prefix)
        try:
            return sum(found.size for found in keeper.list(""))
        finally:
            keeper.close()

    try:
        reach, credentials = await access.for_operator(context, location)
        return await context.bulkheads.run(f"measure/{name}", ask, seconds=_SECONDS)
    except Exception as error:  # noqa: BLE001  whatever an SDK throws, the next one is asked
        _log.warning("a location did not list a vault", location=name, error=str(error))
        return None
