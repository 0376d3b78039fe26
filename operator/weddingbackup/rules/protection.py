"""`Protected`, as a formula: what a policy's wedding can rely on, and never more than was checked.

True needs all of these; the first that does not hold is the reason:

1. there is a committed point, younger than twice the schedule's period;
2. it holds every source that the policy names now;
3. as many copies of it as asked for are committed, diverse as asked, at locations that are registered and
   could be read when they were probed last;
4. none of these copies was found damaged and left so, and nothing that the point needs was found good nowhere;
5. every byte of these copies was verified within the last week: by a check that read it, or as it arrived, by the
   provider, which compares it with the checksum that our workers send along (or by a read right afterwards,
   where a provider compares none). Where nobody looked for longer, the answer is Unknown.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from weddingbackup.rules.conditions import Verdict

CHECK_PERIOD = timedelta(days=7)

_TYPE = "Protected"


@dataclass(frozen=True, slots=True)
class Copy:
    """One committed copy of the newest point."""

    provider: str
    region: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the formula is fed.

    Attributes:
        newest: moment of the newest committed point; None where there is none.
        period: from one backup to the next.
        left_out: names of the policy's sources that it does not hold.
        held: its committed copies that can be read now, and are sound; None where nobody knows.
        unreachable: names of the locations whose committed copies cannot, or are not.
        copies: how many are asked for; likewise the minima.
        lost: whether something that it needs was found good nowhere.
        verified_since: all bytes that arrived before were read since.
    """

    newest: datetime | None
    period: timedelta
    left_out: Collection[str]
    held: Collection[Copy] | None
    unreachable: Collection[str]
    copies: int
    min_providers: int
    min_regions: int
    lost: bool
    verified_since: datetime


def protected(facts: Facts, *, now: datetime) -> Verdict:
    """Apply the formula."""
    if facts.newest is None:
        return Verdict(_TYPE, False, "NoRecoveryPoint", "No backup has completed yet.")
    if now - facts.newest > 2 * facts.period:
        return Verdict(
            _TYPE,
            False,
            "PointTooOld",
            f"The newest recovery point is older than twice the schedule's {facts.period}.",
        )
    if facts.left_out:
        return Verdict(
            _TYPE,
            False,
            "SourcesNotInPoint",
            "The newest recovery point was made before the policy named these sources: "
            f"{', '.join(facts.left_out)}. The next backup takes them in.",
        )
    if facts.held is None:
        return Verdict(
            _TYPE,
            None,
            "CopiesUnknown",
            "The BackupJob of the newest point is gone, and with it the word on its copies; "
            "the next backup tells.",
        )
    if facts.lost:
        return Verdict(
            _TYPE,
            False,
            "DataLost",
            "Something that the newest recovery point needs is good at no location; see status.loss. "
            "A backup that stores it anew has been ordered.",
        )
    return (
        _lacking(facts, facts.held)
        or _unchecked(facts, now)
        or Verdict(
            _TYPE,
            True,
            "AllConditionsMet",
            f"{len(facts.held)} copies of a recent point are committed and verified.",
        )
    )


def _lacking(facts: Facts, held: Collection[Copy]) -> Verdict | None:
    providers = {copy.provider for copy in held}
    regions = {copy.region for copy in held}
    if len(held) < facts.copies:
        reason, what = "TooFewCopies", f"{len(held)} of {facts.copies} copies can be read"
    elif len(providers) < facts.min_providers:
        reason, what = (
            "TooFewProviders",
            f"its copies lie with {', '.join(sorted(providers))} alone",
        )
    elif len(regions) < facts.min_regions:
        reason, what = "TooFewRegions", f"its copies lie in {', '.join(sorted(regions))} alone"
    else:
        return None
    lost = f"; out of reach or damaged: {', '.join(facts.unreachable)}" if facts.unreachable else ""
    return Verdict(_TYPE, False, reason, f"Of the newest recovery point, {what}{lost}.")


def _unchecked(facts: Facts, now: datetime) -> Verdict | None:
    if now - facts.verified_since > CHECK_PERIOD:
        return Verdict(
            _TYPE,
            None,
            "ChecksDue",
            "Some bytes of the copies have not been read for more than a week; status.lastCheck and "
            "status.checked tell why.",
        )
    return None
