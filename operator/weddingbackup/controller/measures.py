"""How many bytes a vault takes: listed at all locations, and the largest counts (rules/measures.py).

It is listed anew after each backup, whatever became of it, and after each collection. What came of it is
written on the vault's Secret, for quotas count it for as long as the vault is there, with or without its
policy.

A listing takes as long as it takes. A reconcile waits for it a while, and the next look finds it ended.
"""

import asyncio
from collections.abc import Collection, Mapping

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.context import Context
from weddingbackup.kube import registry
from weddingbackup.kube.client import POLICIES, Object
from weddingbackup.kube.registry import Registered, Row
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import Status
from weddingbackup.rules import measures as rules
from weddingbackup.rules.locations import is_readable
from weddingbackup.rules.measures import Measured
from weddingbackup.rules.times import rfc3339
from weddingbackup.stores import open_keeper
from weddingbackup.vault.errors import VaultError

_log = structlog.get_logger()

_PATIENCE = 30.0
"""Seconds that a reconcile waits for listings."""
_SECONDS = 3600.0
"""For one location to list a vault: a thousand objects a request, some ten requests a second."""


async def stored(
    context: Context,
    locations: Mapping[str, BackupLocation],
    vault: Registered,
    status: Status,
    began: Collection[str],
    *,
    under_way: bool,
) -> Measured:
    """What a vault takes, as far as it is known.

    Args:
        context: the operator's.
        locations: all, by name.
        vault: with what was last measured.
        status: its policy's. Another point, or another collection, asks for another look.
        began: UIDs of BackupJobs since the last look, read before `under_way` was: else one that has just
            begun would pass for one that has ended.
        under_way: whether a backup stores in it. What that one adds is the broker's to count until it ends.
    """
    newest, collection = status.newest_point, status.last_collection
    untouched = newest is None and vault.measured.looked_at is None and not began
    if under_way or (untouched and not vault.imported):
        return vault.measured
    state = f"{newest.manifest if newest else ''} {rfc3339(collection.time) if collection else ''}"
    return await _look(context, locations, vault, state, began)


async def left_behind(
    context: Context, rows: Mapping[str, Row], running: Collection[str]
) -> dict[str, Row]:
    """Look at vaults that nobody else looks at: a backup stored in them, and then their policy was deleted.

    Args:
        context: the operator's.
        rows: an organisation's account.
        running: UIDs of its BackupJobs that are under way, read after the account was.

    Returns:
        the account with what was seen.
    """
    told = dict(rows)
    for name, row in rows.items():
        if row.settled or {*running} & {*row.began}:
            continue
        secret = await registry.secret(context.cluster, context.home, name)
        if secret is None or await _looked_after(context, secret):
            continue
        try:
            vault = registry.registered(secret)
        except VaultError:
            continue  # nobody knows where it is; it counts as it last did
        locations = await access.registered(context)
        seen = await _look(context, locations, vault, vault.measured.state, row.began)
        told[name] = Row(bytes=seen.bytes or row.bytes, settled=seen.settled)
    return told


async def _looked_after(context: Context, secret: Object) -> bool:
    """Whether there is a policy whose reconcile looks at its vault."""
    namespace, name = registry.owner(secret)
    policy = await context.cluster.get(POLICIES, name, namespace)
    return policy is not None and not policy["metadata"].get("deletionTimestamp")


async def _look(
    context: Context,
    locations: Mapping[str, BackupLocation],
    vault: Registered,
    state: str,
    began: Collection[str],
) -> Measured:
    known, now = vault.measured, context.now()
    asked = rules.due(known, state, locations, began=bool(began), now=now)
    if not asked:
        return known
    version = f"{state} {','.join(sorted(began))}"
    found = await _listed(context, [locations[name] for name in asked], vault, version)
    measured = rules.seen(known, found, locations, state=state, began=bool(began), now=now)
    await registry.measure(context.cluster, context.home, vault, measured, began)
    return measured


async def _listed(
    context: Context, locations: Collection[BackupLocation], vault: Registered, version: str
) -> dict[str, int | None]:
    """Bytes by location; None where it does not answer, or not yet."""
    asking = {}
    for location in locations:
        key = f"{location.metadata.name}/{vault.kit.prefix}"
        before, task = context.listings.get(key, ("", None))
        if task is None or before != version:  # what an older one tells may lack what came since
            task = asyncio.create_task(_ask(context, location, vault))
            context.listings[key] = (version, task)
        asking[key] = (location.metadata.name, task)
    await asyncio.wait([task for _, task in asking.values()], timeout=_PATIENCE)
    found: dict[str, int | None] = {}
    for key, (name, task) in asking.items():
        found[name] = task.result() if task.done() else None
        if task.done() and context.listings[key][1] is task:
            del context.listings[key]
    return found


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
    except Exception as error:  # noqa: BLE001  whatever an SDK throws, it has not told
        _log.warning("a location did not list a vault", location=name, error=str(error))
        return None
