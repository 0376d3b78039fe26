"""Whose turn it is to have a Job in the operator's namespace: all organisations share few places there.

Two bounds: so many Jobs at once of all organisations, and so many of each. A place that comes free
goes to the organisation that waits longest. One that has got a place waits anew, behind the others; one that
is at its own bound does not wait in the line. So it is round-robin by organisation, and however many objects
a greedy one has, each other comes before its next Job. Where places may be lent, one that is at its own bound gets
more while nobody waits in the line, but never the last that is free.

The line lives in the operator's memory alone: when that starts anew, all begin to wait anew.
"""

from collections import Counter
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

FORGOTTEN: Final = timedelta(minutes=10)
"""Who has not asked again for so long waits no more. Whatever waits asks every 30 seconds."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many Jobs may be under way.

    Attributes:
        all: of all organisations.
        each: of each, whoever waits.
        lent: one that has so many gets more while nobody else waits, as long as a place is left for others.
        apart: what a Job says of itself that counts here, apart from others of its work; "" for those that
            say nothing.
    """

    all: int
    each: int
    lent: bool = False
    apart: str = ""


MAINTENANCE: Final = Bounds(all=4, each=1, lent=True)
"""Checks and collections together: after a long silence a fleet's are due at once."""

COPIES: Final = Bounds(all=16, each=4)
"""Copies to locations that lack a backup: one that was away lags behind many."""

VERIFICATIONS: Final = Bounds(all=16, each=4, apart="verification")
"""Verifications that a backup's commit waits for, a day at most: copies, which last hours, never come before."""


Line = MutableMapping[str, datetime]
"""Those who wait, by namespace, in the order in which they came; and when each asked last."""


def ask(
    line: Line, organisation: str, under_way: Sequence[str], bounds: Bounds, *, now: datetime
) -> str | None:
    """Why an organisation's next Job has to wait; None where it may be made.

    Args:
        line: who waits so far; it is brought up to date. Whoever makes its Job leaves it: `leave`.
        organisation: the namespace that asks.
        under_way: the namespace of each Job that has not ended.
        bounds: that hold here.
        now: the moment to decide for.
    """
    for name in [name for name, asked in line.items() if now - asked > FORGOTTEN]:
        leave(line, name)
    running = Counter(under_way)
    if running[organisation] >= bounds.each:
        leave(line, organisation)
        others_wait = any(running[name] < bounds.each for name in line)
        if bounds.lent and not others_wait and len(under_way) < bounds.all - 1:
            return None
        more = ", and more while others leave places idle" if bounds.lent else ""
        return (
            f"Waits for another one of this namespace to end: {bounds.each} may run at once{more}."
        )
    line[organisation] = now  # one that is in the line keeps its place
    # Places that are free are kept for those before, until they ask.
    before = sum(
        running[name] < bounds.each for name in takewhile(lambda name: name != organisation, line)
    )
    if before < bounds.all - len(under_way):
        return None
    return f"Waits for its turn: {bounds.all} of all namespaces may run at once."


def leave(line: Line, organisation: str) -> None:
    """Its Job is made, or not to be made: for its next one it waits anew."""
    line.pop(organisation, None)
