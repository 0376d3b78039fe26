"""When the broker's certificate and the authority behind it are renewed, step by step.

A worker is told at its start which authorities to believe, and may run for a week. So a new authority
is announced for longer than that before it vouches for anything, and only then takes over. Each step
is one write to one Secret, and the next is decided from what is there: a process that is killed
between two steps, or a Secret that somebody has edited, is mended by deciding again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

LONGEST_JOB = timedelta(hours=168)
OVERLAP = LONGEST_JOB + timedelta(hours=24)
"""For how long an authority is believed before it is used, and after: longer than any Job runs."""

AUTHORITY_LIFE = timedelta(days=365)
AUTHORITY_REPLACED_AFTER = timedelta(days=120)
SERVING_LIFE = timedelta(days=60)
SERVING_RENEWED_AFTER = timedelta(days=20)
"""An operator that is away for a month still leaves a broker that workers believe."""
LAST_MOMENT = timedelta(hours=1)
"""What is valid for less than this is as good as expired."""


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority whose key is there.

    Attributes:
        id: its fingerprint.
    """

    id: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Serving:
    """The broker's certificate, its key there.

    Attributes:
        issuer: fingerprint of the believed authority that signed it; "" if none of them did.
        names: the host names and addresses that it is for.
    """

    issuer: str
    names: frozenset[str]
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """What the two Secrets hold; whatever cannot be read is not there.

    Attributes:
        current: signs.
        successor: will sign.
        believed: fingerprints of the authorities that workers are told, with key or without.
        since: when those, or the one of them that signs, changed last.
    """

    current: Authority | None = None
    successor: Authority | None = None
    believed: frozenset[str] = frozenset()
    serving: Serving | None = None
    since: datetime | None = None


class Step(StrEnum):
    """What to write next; the first three into the authority's Secret, the others beside the broker."""

    FOUND = "make an authority that signs at once"
    SUCCEED = "make its successor"
    PROMOTE = "let the successor be the authority"
    ANNOUNCE = "have all known authorities believed"
    ISSUE = "sign a certificate"
    SWITCH = "sign a certificate by the successor"
    DROP = "have former authorities believed no more"


def decide(  # noqa: PLR0911  one return a step
    found: Found, names: frozenset[str], now: datetime
) -> Step | None:
    """The next step; None where all is as it should be."""
    current, successor = _usable(found.current, now), _usable(found.successor, now)
    serving = found.serving if _serves(found, names, now) else None
    settled = found.since is not None and now - found.since >= OVERLAP
    if successor is not None and serving is not None and serving.issuer == successor.id:
        return Step.PROMOTE
    if current is None and serving is None:
        return Step.PROMOTE if successor is not None else Step.FOUND
    # Whoever has lost the authority's key has the certificate's life to put another one in its place.
    if successor is None and (current is None or _aged(current, now)):
        return Step.SUCCEED
    known = {authority.id for authority in (current, successor) if authority is not None}
    if not known <= found.believed or found.since is None or found.since > now:
        return Step.ANNOUNCE
    if successor is not None and settled:
        return Step.SWITCH
    if current is not None and _is_due(serving, current, now, settled=settled):
        return Step.ISSUE
    former = found.believed - known
    if former and settled and serving is not None and serving.issuer not in former:
        return Step.DROP
    return None


def _is_due(serving: Serving | None, current: Authority, now: datetime, *, settled: bool) -> bool:
    if serving is None:
        return True
    if serving.issuer != current.id:
        return settled
    return now >= serving.not_before + SERVING_RENEWED_AFTER


def _usable(authority: Authority | None, now: datetime) -> Authority | None:
    if authority is None or not _is_valid(authority, now):
        return None
    return authority


def _aged(authority: Authority, now: datetime) -> bool:
    return now >= authority.not_before + AUTHORITY_REPLACED_AFTER


def _serves(found: Found, names: frozenset[str], now: datetime) -> bool:
    serving = found.serving
    return (
        serving is not None
        and serving.issuer in found.believed
        and serving.names == names
        and _is_valid(serving, now)
    )


def _is_valid(certificate: Authority | Serving, now: datetime) -> bool:
    return certificate.not_before <= now < certificate.not_after - LAST_MOMENT
