"""Which locations hold a policy's copies.

Deterministic and stable: what is placed stays where it is while the rules allow it, so a location's
outage moves nothing (its copy is caught up later). Among equals, copies are spread over providers and
regions. A location that is down is only taken when there are not enough others: the backup runs with
those that answer, and the missing copy follows.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import combinations

from weddingbackup.resources.selectors import (
    LabelSelector,
    SelectorExpression,
    SelectorOperator,
)

_SEARCH = 200_000
"""Combinations to try before a placement that only just exists is given up."""


class Health(IntEnum):
    """How far a location can be relied on, best first."""

    GOOD = 0
    DOWN = 1
    """Unreachable, or refusing our credentials: it may come back."""
    UNFIT = 2
    """Not yet probed, read-only, or unable to keep what is stored there from being overwritten."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One registered location, as placement sees it."""

    name: str
    provider: str
    region: str
    country: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    health: Health = Health.GOOD
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a policy asks of its placement.

    Attributes:
        seed: spreads policies that ask for the same over equal locations.
        current: names of the locations placed so far.
    """

    copies: int
    min_providers: int = 1
    min_regions: int = 1
    selector: LabelSelector | None = None
    exclude: Collection[str] = ()
    jurisdictions: Collection[str] = ()
    current: Collection[str] = ()
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """A decision.

    Attributes:
        chosen: names, in the order of preference; may be fewer than asked for.
        rejected: why each other location is not among them.
        problem: which rule is not satisfied, and what would satisfy it; "" where all are.
    """

    chosen: tuple[str, ...]
    rejected: Mapping[str, str]
    problem: str = ""


def place(candidates: Sequence[Candidate], wish: Wish) -> Placement:
    """Choose the locations of a policy's copies."""
    rejected = {
        candidate.name: reason
        for candidate in candidates
        if (reason := _rejection(candidate, wish))
    }
    fit = [candidate for candidate in candidates if candidate.name not in rejected]
    ordered = _spread(fit, wish)
    chosen = _most_preferred(ordered, wish)
    names = tuple(candidate.name for candidate in chosen)
    rejected |= {
        candidate.name: "there are enough better ones"
        for candidate in fit
        if candidate.name not in names
    }
    return Placement(names, rejected, _problem(chosen, wish, rejected))


def _rejection(candidate: Candidate, wish: Wish) -> str:
    if candidate.name in wish.exclude:
        return "spec.placement.exclude names it"
    if wish.selector is not None and not matches(wish.selector, candidate.labels):
        return "its labels do not match spec.placement.locationSelector"
    if wish.jurisdictions and candidate.country not in wish.jurisdictions:
        where = candidate.country or "a country that it does not name"
        return f"it is in {where}, outside spec.placement.jurisdictions"
    if candidate.health is Health.UNFIT:
        return candidate.problem or "it has not been probed yet"
    return ""


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is chosen, as everywhere in Kubernetes."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(expression, labels) for expression in selector.match_expressions
    )


def _holds(expression: SelectorExpression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case SelectorOperator.IN:
            return value in expression.values
        case SelectorOperator.NOT_IN:
            return value not in expression.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None


def _spread(fit: Sequence[Candidate], wish: Wish) -> list[Candidate]:
    """Best first, where 'best' counts what the ones before already cover."""
    rest, ordered = list(fit), list[Candidate]()
    while rest:
        providers = {candidate.provider for candidate in ordered}
        regions = {candidate.region for candidate in ordered}
        best = min(
            rest,
            key=lambda candidate: (
                candidate.name not in wish.current,
                candidate.health,
                candidate.provider in providers,
                candidate.region in regions,
                hashlib.sha256(f"{wish.seed}/{candidate.name}".encode()).digest(),
            ),
        )
        rest.remove(best)
        ordered.append(best)
    return ordered


def _most_preferred(ordered: Sequence[Candidate], wish: Wish) -> tuple[Candidate, ...]:
    """The first combination, in order of preference, that is diverse enough; else the best few."""
    for tried, combination in enumerate(combinations(ordered, wish.copies)):
        if _is_diverse(combination, wish):
            return combination
        if tried == _SEARCH:
            break
    return tuple(ordered[: wish.copies])


def _is_diverse(chosen: Sequence[Candidate], wish: Wish) -> bool:
    return (
        len({candidate.provider for candidate in chosen}) >= wish.min_providers
        and len({candidate.region for candidate in chosen}) >= wish.min_regions
    )


def _problem(chosen: Sequence[Candidate], wish: Wish, rejected: Mapping[str, str]) -> str:
    providers = {candidate.provider for candidate in chosen}
    regions = {candidate.region for candidate in chosen}
    missing = []
    if len(chosen) < wish.copies:
        missing.append(f"{wish.copies} copies need as many locations, and {len(chosen)} fit")
    if chosen and len(providers) < wish.min_providers:
        missing.append(
            f"minProviders {wish.min_providers} is asked for, and there are only "
            f"{', '.join(sorted(providers))}"
        )
    if chosen and len(regions) < wish.min_regions:
        missing.append(
            f"minRegions {wish.min_regions} is asked for, and there are only "
            f"{', '.join(sorted(regions))}"
        )
    if not missing:
        return ""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(rejected.items()))
    return (
        f"{'; '.join(missing)}. Register more BackupLocations that fit, or ask for less in "
        f"spec.redundancy or spec.placement." + (f" Not taken: {reasons}." if reasons else "")
    )
