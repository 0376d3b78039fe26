"""Whether a recovery point counts, from what can be seen of its copies right now."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far clocks of honest machines may lie apart."""


def is_ahead(time: datetime, now: datetime) -> bool:
    """Whether a point claims to be of the future.

    The broker stores none. One that is there all the same, from a hostile worker or of a clock gone wrong,
    would be the newest for years: it counts for nothing, save to whoever names it.
    """
    return time > now + CLOCK_SKEW


class Standing(StrEnum):
    """What is known of a point's commit: a manifest that W of its N locations hold."""

    COMMITTED = "Committed"
    POSSIBLE = "Possible"
    """It cannot be told: too much of what was committed may be out of sight."""
    UNCOMMITTED = "Uncommitted"


def standing(*, quorum: int, held: int, unsure: int) -> Standing:
    """Judge a point of which at least one intact copy was found.

    A manifest is placed nowhere before a quorum holds all that it needs, and every byte is verified
    on its way back: bringing back a point that is only possible is safe.

    Args:
        quorum: W.
        held: how many of its N locations hold an intact copy.
        unsure: how many of the others may hold one, or held one: they do not answer, are not known
            here, or hold a damaged copy.
    """
    if held >= quorum:
        return Standing.COMMITTED
    return Standing.POSSIBLE if held + unsure >= quorum else Standing.UNCOMMITTED
