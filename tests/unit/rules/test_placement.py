from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.resources.selectors import (
    LabelSelector,
    SelectorExpression,
    SelectorOperator,
)
from weddingbackup.rules.placement import Candidate, Health, Wish, matches, place

candidates = st.lists(
    st.builds(
        Candidate,
        name=st.text("abcdefgh", min_size=1, max_size=3),
        provider=st.sampled_from(["S3", "R2", "GCS", "Azure"]),
        region=st.sampled_from(["eu", "us", "ap", "sa"]),
        country=st.sampled_from(["GB", "DE", None]),
        health=st.sampled_from(Health),
    ),
    max_size=9,
    unique_by=lambda candidate: candidate.name,
)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    copies = draw(st.integers(2, 6))
    return Wish(
        copies=copies,
        min_providers=draw(st.integers(1, min(copies, 4))),
        min_regions=draw(st.integers(1, min(copies, 4))),
        jurisdictions=draw(st.sampled_from([(), ("GB",), ("GB", "DE")])),
        exclude=draw(st.sampled_from([(), ("a",)])),
        seed=draw(st.text(max_size=3)),
    )


def is_allowed(candidate: Candidate, wish: Wish) -> bool:
    return (
        candidate.health is not Health.UNFIT
        and candidate.name not in wish.exclude
        and (not wish.jurisdictions or candidate.country in wish.jurisdictions)
    )


def is_diverse(chosen: tuple[Candidate, ...], wish: Wish) -> bool:
    return (
        len({each.provider for each in chosen}) >= wish.min_providers
        and len({each.region for each in chosen}) >= wish.min_regions
    )


@given(candidates, wishes())
def test_what_is_possible_is_found_and_what_is_not_is_said(
    there: list[Candidate], wish: Wish
) -> None:
    placement = place(there, wish)
    allowed = [each for each in there if is_allowed(each, wish)]
    feasible = any(is_diverse(each, wish) for each in combinations(allowed, wish.copies))
    assert (placement.problem == "") == feasible
    assert len(placement.chosen) == min(wish.copies, len(allowed))
    assert {each.name for each in allowed} >= set(placement.chosen)
    if feasible:
        chosen = tuple(each for each in there if each.name in placement.chosen)
        assert is_diverse(chosen, wish)


@given(candidates, wishes())
def test_every_location_is_chosen_or_rejected_with_a_reason(
    there: list[Candidate], wish: Wish
) -> None:
    placement = place(there, wish)
    assert {*placement.chosen, *placement.rejected} == {each.name for each in there}
    assert not set(placement.chosen) & set(placement.rejected)
    assert all(placement.rejected.values())


@given(candidates, wishes(), st.randoms())
def test_the_order_of_the_locations_does_not_matter(
    there: list[Candidate], wish: Wish, chance: st.DataObject
) -> None:
    shuffled = list(there)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert place(there, wish) == place(shuffled, wish)


@given(candidates, wishes())
def test_what_is_placed_stays_through_an_outage(there: list[Candidate], wish: Wish) -> None:
    there = [each for each in there if each.health is not Health.UNFIT]
    first = place(there, wish)
    if first.problem:
        return
    settled = Wish(
        copies=wish.copies,
        min_providers=wish.min_providers,
        min_regions=wish.min_regions,
        jurisdictions=wish.jurisdictions,
        exclude=wish.exclude,
        current=first.chosen,
        seed=wish.seed,
    )
    down = [
        Candidate(each.name, each.provider, each.region, each.country, health=Health.DOWN)
        for each in there
    ]
    assert set(place(down, settled).chosen) == set(first.chosen)


def test_copies_are_spread_before_they_are_stacked() -> None:
    there = [
        Candidate("a", "S3", "eu"),
        Candidate("b", "S3", "eu"),
        Candidate("c", "GCS", "us"),
        Candidate("d", "Azure", "ap"),
    ]
    chosen = place(there, Wish(copies=3)).chosen
    assert {"c", "d"} < set(chosen)


def test_a_location_that_is_down_is_only_taken_where_there_are_not_enough_others() -> None:
    there = [
        Candidate("down", "GCS", "us", health=Health.DOWN),
        *(Candidate(name, "S3", "eu") for name in "abc"),
    ]
    assert "down" not in place(there, Wish(copies=3)).chosen
    assert "down" in place(there, Wish(copies=4)).chosen


def test_what_is_missing_is_said_with_what_would_help() -> None:
    there = [
        Candidate("a", "S3", "eu"),
        Candidate("b", "S3", "eu", health=Health.UNFIT, problem="it is Refused"),
    ]
    problem = place(there, Wish(copies=2, min_providers=2)).problem
    assert "2 copies need as many locations, and 1 fit" in problem
    assert "minProviders 2" in problem
    assert "b: it is Refused" in problem
    assert "Register more BackupLocations" in problem


def test_labels_are_matched_as_everywhere_in_kubernetes() -> None:
    labels = {"tier": "gold", "zone": "eu"}

    def holds(operator: SelectorOperator, key: str, *values: str) -> bool:
        expression = SelectorExpression(key=key, operator=operator, values=list(values))
        return matches(LabelSelector(match_expressions=[expression]), labels)

    assert matches(LabelSelector(match_labels={"tier": "gold"}), labels)
    assert not matches(LabelSelector(match_labels={"tier": "iron"}), labels)
    assert holds(SelectorOperator.IN, "zone", "eu", "us")
    assert not holds(SelectorOperator.IN, "other", "eu")
    assert holds(SelectorOperator.NOT_IN, "other", "eu")
    assert not holds(SelectorOperator.NOT_IN, "zone", "eu")
    assert holds(SelectorOperator.EXISTS, "zone")
    assert holds(SelectorOperator.DOES_NOT_EXIST, "other")
