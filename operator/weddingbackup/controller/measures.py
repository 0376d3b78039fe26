"""How many bytes a vault takes: listed at all locations, and the largest counts (rules/measures.py).

It is listed anew after each backup, whatever became of it, and after each collection. What came of it is
written on the vault's Secret, for quotas count it for as long as the vault is there, with or without its
policy.

A listing takes as long as it takes: a reconcile waits for it a moment, and a later one finds it ended
(controller/listings.py).
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from functools import partial

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.bulkheads import HungError
from weddingbackup.controller.context import Context
from weddingbackup.controller.listings import UnfinishedError, Version
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

_PATIENCE = 3.0
"""Seconds that a reconcile waits for listings: whoever waits for the reconcile, waits for them."""
_SECONDS = 3600.0
"""For one location to list a vault: a thousand objects a request, some ten requests a second."""
_END_SECONDS = 60.0
"""More than a listing takes to see that its time is over."""


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
    measured, _ = await _look(context, locations, vault, state, began)
    return measured


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
    waiting = [
        name for name, row in rows.items() if not row.settled and not {*running} & {*row.began}
    ]
    seen = await asyncio.gather(*(_behind(context, name, rows[name]) for name in waiting))
    return {**rows, **dict(zip(waiting, seen, strict=True))}


async def _behind(context: Context, name: str, row: Row) -> Row:
    """An account's row, after a look where nobody else looks."""
    secret = await registry.secret(context.cluster, context.home, name)
    if secret is None or await _looked_after(context, secret):
        return row
    try:
        vault = registry.registered(secret)
    except VaultError:
        return row  # nobody knows where it is; it counts as it last did
    locations = await access.registered(context)
    seen, covered = await _look(context, locations, vault, vault.measured.state, row.began)
    return row.after(seen, covered)


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
) -> tuple[Measured, Collection[str]]:
    """What is known, and the BackupJobs all of whose bytes are in it."""
    known, now = vault.measured, context.now()
    asked = rules.due(known, state, locations, began=bool(began), now=now)
    if not asked:
        return known, ()
    found = await context.listings.look(
        vault.kit.prefix,
        vault.organisation,
        {name: partial(_ask, context, locations[name], vault) for name in asked},
        Version(state, frozenset(began)),
        patience=_PATIENCE,
    )
    measured = rules.seen(
        known,
        found.heard,
        locations,
        failed=found.failed,
        unfinished=found.unfinished,
        state=state,
        began=bool(began),
        now=now,
    )
    if measured != known or found.covered:
        await registry.measure(context.cluster, context.home, vault, measured, found.covered)
    return measured, found.covered


async def _ask(
    context: Context, location: BackupLocation, vault: Registered, slot: int
) -> int | None:
    """What one location tells; None where it does not answer.

    Raises:
        UnfinishedError: it takes too long.
    """
    if not is_readable(location):
        return None
    name = location.metadata.name

    def ask() -> int:
        # By itself: a thread cannot be stopped, and would keep the place from others.
        end = time.monotonic() + _SECONDS
        keeper = open_keeper(reach, credentials, prefix=vault.kit.prefix)
        size = 0
        try:
            for found in keeper.list(""):
                size += found.size
                if time.monotonic() > end:
                    raise UnfinishedError
        finally:
            keeper.close()
        return size

    try:
        reach, credentials = await access.for_operator(context, location)
        return await context.bulkheads.run(
            f"measure/{name}/{slot}", ask, seconds=_SECONDS + _END_SECONDS
        )
    except (UnfinishedError, HungError):
        _log.warning("a vault is too large to be listed", location=name, vault=vault.kit.prefix)
        raise UnfinishedError from None
    except Exception as error:  # noqa: BLE001  whatever an SDK throws, it has not told
        _log.warning("a location did not list a vault", location=name, error=str(error))
        return None
