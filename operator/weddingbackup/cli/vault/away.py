"""What the command line says of data that is archived, and so is away for hours."""

from collections.abc import Sequence

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places
from weddingbackup.rules.tiers import Away, about
from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.archived import Archived, is_archiving
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.parallel import ask_all


def look(places: Places, kit: Kit, stores: Sequence[Store], *, briefly: bool = False) -> Archived:
    """What is archived wherever it is. Directories have no archive, and are not listed for it.

    Briefly: one page of each listing decides whether there is a reason to read them all.
    """
    providers = {location: shelf.provider for location, shelf in places.shelves(kit).items()}
    if not providers or (briefly and not any(_yes(x) for x in ask_all(stores, is_archiving))):
        return Archived([], {})
    return Archived(stores, providers)


def _yes(answer: bool | StoreError) -> bool:
    return answer is True


def line(away: Away, point: str) -> str:
    """What is away, for how long, and what asks for it."""
    where = ", ".join(away.locations)
    packs = f"{away.packs} pack{'' if away.packs == 1 else 's'}"
    what = f"{packs} of {away.source} ({text.size(away.bytes)}) are archived wherever they are"
    time = about(away.seconds)
    if away.asked:
        return f"{what}: asked back, and at hand at {where} within {time} of that"
    return (
        f"{what}: at hand at {where} {time} after `weddingbackup vault tier --return {point}"
        f" --source {away.source}` has asked for them"
    )
