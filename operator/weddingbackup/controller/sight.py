"""What a vault's locations hold, as the operator itself sees it: with credentials, and without keys."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.context import Context
from weddingbackup.kube.registry import Registered
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.rules.locations import is_readable
from weddingbackup.rules.tiers import Away
from weddingbackup.stores import open_store
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wirestore import WireStore
from weddingbackup.vault import catalog
from weddingbackup.vault.archived import Archived, is_archiving
from weddingbackup.vault.catalog import Catalog, Plains, Point

_log = structlog.get_logger()
_T = TypeVar("_T")

_LISTING_SECONDS = 10.0
"""For one location to tell its points; those that take longer are left out."""

_ARCHIVED_SECONDS = 120.0
"""For all locations together to list all packs of a vault of which some are archived."""


class Seen(NamedTuple):
    """What was found.

    Attributes:
        silent: names of the locations that did not tell.
        archiving: whether any seems to have packs that are not at hand.
    """

    catalog: Catalog
    silent: list[str]
    archiving: bool


async def look(
    context: Context, known: Iterable[BackupLocation], vault: Registered, *, prefix: str
) -> Seen:
    """The points at these locations whose manifests' names begin so."""
    locations = list(known)
    brief: Plains = {}
    answers = await asyncio.gather(
        *(_ask(context, location, vault, prefix, brief) for location in locations)
    )
    silent = [
        location.metadata.name
        for location, answer in zip(locations, answers, strict=True)
        if answer is None
    ]
    told = [answer for answer in answers if answer is not None]
    return Seen(
        catalog.merge([points for points, _ in told]),
        silent,
        any(archiving for _, archiving in told),
    )


async def away(
    context: Context,
    known: Iterable[BackupLocation],
    vault: Registered,
    point: Point,
    sources: Collection[str],
) -> list[Away]:
    """What of these sources is archived at all these locations. Empty where it takes too long to tell.

    Then a recovery begins all the same, and its workers say what they could not read.
    """
    locations = [location for location in known if is_readable(location)]
    providers = {location.metadata.name: location.spec.provider for location in locations}

    def ask(stores: Sequence[WireStore]) -> list[Away]:
        return Archived(stores, providers).of(point, sources)

    compartment = f"archived/{vault.kit.vault_id}"
    try:
        return await _at(context, locations, vault, compartment, ask, _ARCHIVED_SECONDS)
    except Exception as error:  # noqa: BLE001  as below
        _log.warning(
            "what is archived could not be told", vault=vault.kit.vault_id, error=str(error)
        )
        return []


async def _ask(
    context: Context, location: BackupLocation, vault: Registered, prefix: str, brief: Plains
) -> tuple[Catalog, bool] | None:
    """What one location holds, and whether some of it seems archived; None where it does not answer."""
    if not is_readable(location):
        return None
    name = location.metadata.name

    def ask(stores: Sequence[WireStore]) -> tuple[Catalog, bool]:
        return catalog.catalog(stores, prefix, brief=brief), is_archiving(stores[0])

    try:
        found = await _at(context, [location], vault, f"points/{name}", ask, _LISTING_SECONDS)
    except Exception as error:  # noqa: BLE001  whatever an SDK throws, one location never holds up another
        _log.warning("a location did not tell its points", location=name, error=str(error))
        return None
    return None if name in found[0].unanswered else found


async def _at(  # noqa: PLR0917  what is asked of whom, and for how long
    context: Context,
    locations: Sequence[BackupLocation],
    vault: Registered,
    compartment: str,
    ask: Callable[[Sequence[WireStore]], _T],
    seconds: float,
) -> _T:
    """Ask the vault at some locations, in a thread that holds up no other compartment."""
    reached = [await access.for_operator(context, location) for location in locations]

    def run() -> _T:
        with ExitStack() as stack:
            stores = []
            for reach, credentials in reached:
                # One try: whoever does not answer at once is left out, and asked again if nobody else
                # can tell.
                store = open_store(
                    reach, credentials, prefix=vault.kit.prefix, retry=Retry(deadline_seconds=1)
                )
                stack.callback(store.close)
                stores.append(store)
            return ask(stores)

    return await context.bulkheads.run(compartment, run, seconds=seconds)
