"""How cheap each object should lie, and how long it is away when it lies cheapest.

Only packs of data move: manifests, indexes, keys and packs of trees have to open at once, or nobody
could even look what there is. What a recent point needs stays hot, and is warmed up where it is not;
all else goes to the tier that is wished for, and is never moved to one that is warmer but not hot,
which would cost and help nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from weddingbackup.resources.words import Provider, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

RECENT: Final = timedelta(days=30)
"""What points of so long need stays hot, unless somebody says otherwise."""

SMALLEST: Final = 128 * 1024
"""Bytes. Amazon charges what is smaller as if it had so many in its cooler classes: it stays."""

_ORDER = list(Tier)
_HOUR = 3600


class StorageClass(NamedTuple):
    """One of a provider's classes.

    Attributes:
        name: the provider's.
        tier: ours.
        return_seconds: how long an object is away that is asked back, at most; 0: it is read at once.
        minimum: what leaves sooner is paid for as long all the same.
    """

    name: str
    tier: Tier
    return_seconds: int = 0
    minimum: timedelta = timedelta(0)


def _days(number: int) -> timedelta:
    return timedelta(days=number)


CLASSES: Final[Mapping[Provider, tuple[StorageClass, ...]]] = {
    Provider.S3: (
        StorageClass("STANDARD", Tier.HOT),
        StorageClass("STANDARD_IA", Tier.COOL, 0, _days(30)),
        StorageClass("GLACIER_IR", Tier.COLD, 0, _days(90)),
        StorageClass("GLACIER", Tier.ARCHIVE, 5 * _HOUR, _days(90)),
        StorageClass("DEEP_ARCHIVE", Tier.DEEP_ARCHIVE, 12 * _HOUR, _days(180)),
    ),
    Provider.R2: (
        StorageClass("STANDARD", Tier.HOT),
        StorageClass("STANDARD_IA", Tier.COOL, 0, _days(30)),
    ),
    Provider.GCS: (
        StorageClass("STANDARD", Tier.HOT),
        StorageClass("NEARLINE", Tier.COOL, 0, _days(30)),
        StorageClass("COLDLINE", Tier.COLD, 0, _days(90)),
        StorageClass("ARCHIVE", Tier.ARCHIVE, 0, _days(365)),
    ),
    Provider.AZURE: (
        StorageClass("Hot", Tier.HOT),
        StorageClass("Cool", Tier.COOL, 0, _days(30)),
        StorageClass("Cold", Tier.COLD, 0, _days(90)),
        StorageClass("Archive", Tier.ARCHIVE, 15 * _HOUR, _days(180)),
    ),
}
"""The warmest first. Sources, for the ordinary priority: Amazon S3 User Guide, "Archive retrieval
options" (3 to 5 hours; within 12) and "Amazon S3 storage classes"; Cloudflare R2, "Storage classes";
Google Cloud Storage, "Storage classes" (all are read at once); Microsoft, "Blob rehydration from the
archive tier" (up to 15 hours) and "Access tiers for blob data". Azure returns 10 GiB an hour and
account: what is larger takes longer."""


def storage_class(provider: Provider, tier: Tier) -> StorageClass:
    """The coldest class of a provider that is not colder than this tier."""
    limit = _ORDER.index(tier)
    return [x for x in CLASSES[provider] if _ORDER.index(x.tier) <= limit][-1]


def tier_of(provider: Provider, name: str) -> Tier | None:
    """The tier that a provider's class is; None for one that we do not use."""
    return next((x.tier for x in CLASSES[provider] if x.name == name), None)


def return_seconds(provider: Provider, tier: Tier) -> int:
    """How long it takes at most until what lies in a tier can be read, once it is asked for."""
    return storage_class(provider, tier).return_seconds


def about(seconds: int) -> str:
    """A time to come back, for people: rounded up to hours."""
    return f"about {-(-seconds // _HOUR)} h"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for at one location.

    Attributes:
        tier: for data that only older points need.
        recent: a point of that last time keeps all that it needs hot.
        smallest: bytes; what has fewer is left where it is.
    """

    tier: Tier
    recent: timedelta = RECENT
    smallest: int = SMALLEST


@dataclass(frozen=True, slots=True)
class Lying:
    """A pack of data at one location, as it lies there.

    Attributes:
        needed: the time of the newest point that needs it; None: none that is known does.
        tier: None where it is unknown.
        since: from when on it lies so, where that is known.
    """

    size: int
    needed: datetime | None
    tier: Tier | None
    since: datetime | None = None
    at_hand: bool = True
    returning: bool = False


class Step(StrEnum):
    """What is to be done with an object."""

    MOVE = "Move"
    RETURN = "Return"
    """Ask it back; a later look moves it."""
    WAIT = "Wait"
    """It was asked back."""


class Decision(NamedTuple):
    """What to do, and the tier that it leads to."""

    step: Step
    tier: Tier


def decide(provider: Provider, lying: Lying, wish: Wish, *, now: datetime) -> Decision | None:
    """What becomes of one pack of data; None: it stays.

    What no point needs stays, too: a backup that is under way may have stored it just now, and if
    not, a collection removes it.
    """
    if lying.tier is None or lying.needed is None:
        return None
    is_recent = now - lying.needed < wish.recent
    wanted = Tier.HOT if is_recent else storage_class(provider, wish.tier).tier
    if wanted is Tier.HOT and lying.tier is not Tier.HOT:
        return _warm(lying)
    if _ORDER.index(wanted) <= _ORDER.index(lying.tier):
        return None
    if lying.size < wish.smallest or not lying.at_hand or not _paid_off(provider, lying, now):
        return None
    return Decision(Step.MOVE, wanted)


def _warm(lying: Lying) -> Decision:
    if lying.at_hand:
        return Decision(Step.MOVE, Tier.HOT)
    return Decision(Step.WAIT if lying.returning else Step.RETURN, Tier.HOT)


def _paid_off(provider: Provider, lying: Lying, now: datetime) -> bool:
    """Whether it has lain in its class as long as it is paid for."""
    assert lying.tier is not None
    minimum = storage_class(provider, lying.tier).minimum
    if not minimum:
        return True
    return lying.since is not None and now - lying.since >= minimum


@dataclass(frozen=True, slots=True)
class Away:
    """What of one source of a point is at hand nowhere, among the locations that answer.

    Attributes:
        seconds: until all of it can be read, at most, once it is asked back where that is quickest.
        locations: where it is to be asked for.
        asked: whether all of it was.
    """

    source: str
    packs: int
    bytes: int
    seconds: int
    locations: tuple[str, ...]
    asked: bool
