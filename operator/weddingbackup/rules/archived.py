"""Why a recovery waits whose data is archived, and what a person can do meanwhile."""

from collections.abc import Collection, Sequence

from weddingbackup.rules.choice import RecoveryPoint
from weddingbackup.rules.tiers import Away, about
from weddingbackup.rules.workload import Problem


def archived(point: RecoveryPoint, away: Sequence[Away], sources: Collection[str]) -> Problem:
    """What to tell of a recovery of these sources, of which some are at hand at no location."""
    gone = {each.source for each in away}
    words = [
        f"Archived at every location that answers: {'; '.join(map(_line, away))}.",
        "The recovery goes on by itself once all of it is at hand.",
    ]
    if not all(each.asked for each in away):
        words.append(f"Ask for it: weddingbackup vault tier --return {point.sha256[:12]}.")
    if at_hand := [name for name in sources if name not in gone]:
        words.append(
            f"At hand now: {', '.join(at_hand)}; a request that names only these in spec.sources "
            "brings them back at once."
        )
    return Problem("Archived", " ".join(words))


def _line(away: Away) -> str:
    size = f"{away.packs} packs, {away.bytes / 2**30:.1f} GiB"
    where = ", ".join(away.locations)
    time = about(away.seconds)
    state = (
        f"asked back, at hand at {where} within {time}"
        if away.asked
        else f"{time} away at {where} once it is asked for"
    )
    return f"{away.source} ({size}) is {state}"
