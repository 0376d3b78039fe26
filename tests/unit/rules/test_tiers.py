"""Which pack lies in which tier: examples, and what holds for all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules import tiers
from weddingbackup.rules.tiers import Decision, Lying, Step, Wish, decide

NOW = datetime(2026, 12, 5, 18, 0, tzinfo=UTC)
OLD = NOW - timedelta(days=200)
NEW = NOW - timedelta(days=3)
ORDER = list(Tier)
MIB = 1 << 20


@pytest.mark.parametrize(
    ("provider", "tier", "name"),
    [
        (Provider.S3, Tier.COLD, "GLACIER_IR"),
        (Provider.S3, Tier.DEEP_ARCHIVE, "DEEP_ARCHIVE"),
        (Provider.R2, Tier.ARCHIVE, "STANDARD_IA"),
        (Provider.GCS, Tier.DEEP_ARCHIVE, "ARCHIVE"),
        (Provider.AZURE, Tier.DEEP_ARCHIVE, "Archive"),
        (Provider.AZURE, Tier.HOT, "Hot"),
    ],
)
def test_a_provider_without_a_tier_gives_the_next_warmer(
    provider: Provider, tier: Tier, name: str
) -> None:
    assert tiers.storage_class(provider, tier).name == name


def test_archives_are_away_for_hours_and_all_else_is_not() -> None:
    assert tiers.return_seconds(Provider.S3, Tier.ARCHIVE) == 5 * 3600
    assert tiers.return_seconds(Provider.AZURE, Tier.ARCHIVE) == 15 * 3600
    assert tiers.return_seconds(Provider.GCS, Tier.ARCHIVE) == 0
    assert tiers.return_seconds(Provider.S3, Tier.COLD) == 0
    assert tiers.tier_of(Provider.S3, "INTELLIGENT_TIERING") is None


@pytest.mark.parametrize(
    ("lying", "wish", "expected"),
    [
        # What only old points need goes where it is wished for.
        (Lying(MIB, OLD, Tier.HOT), Wish(Tier.COLD), Decision(Step.MOVE, Tier.COLD)),
        # What a recent point needs stays, and comes back where it is cold.
        (Lying(MIB, NEW, Tier.HOT), Wish(Tier.COLD), None),
        (Lying(MIB, NEW, Tier.COLD), Wish(Tier.COLD), Decision(Step.MOVE, Tier.HOT)),
        (
            Lying(MIB, NEW, Tier.ARCHIVE, at_hand=False),
            Wish(Tier.COLD),
            Decision(Step.RETURN, Tier.HOT),
        ),
        (
            Lying(MIB, NEW, Tier.ARCHIVE, at_hand=False, returning=True),
            Wish(Tier.COLD),
            Decision(Step.WAIT, Tier.HOT),
        ),
        (Lying(MIB, NEW, Tier.ARCHIVE), Wish(Tier.COLD), Decision(Step.MOVE, Tier.HOT)),
        # What nobody is known to need may be a running backup's.
        (Lying(MIB, None, Tier.HOT), Wish(Tier.COLD), None),
        # Unknown classes are somebody else's choice.
        (Lying(MIB, OLD, None), Wish(Tier.COLD), None),
        # To something warmer, but not hot: pays for nothing.
        (Lying(MIB, OLD, Tier.COLD, OLD), Wish(Tier.COOL), None),
        (Lying(MIB, OLD, Tier.COLD, OLD), Wish(Tier.HOT), Decision(Step.MOVE, Tier.HOT)),
        # Not before what it lies in is paid for.
        (Lying(MIB, OLD, Tier.COOL, NEW), Wish(Tier.COLD), None),
        (Lying(MIB, OLD, Tier.COOL, OLD), Wish(Tier.COLD), Decision(Step.MOVE, Tier.COLD)),
        (Lying(MIB, OLD, Tier.COOL), Wish(Tier.COLD), None),
        # Small ones are charged as large ones.
        (Lying(1000, OLD, Tier.HOT), Wish(Tier.COLD), None),
        (Lying(1000, NEW, Tier.COLD), Wish(Tier.COLD), Decision(Step.MOVE, Tier.HOT)),
        # An archived one would have to come back first, to lie colder.
        (Lying(MIB, OLD, Tier.ARCHIVE, OLD, at_hand=False), Wish(Tier.DEEP_ARCHIVE), None),
    ],
)
def test_what_becomes_of_a_pack(lying: Lying, wish: Wish, expected: Decision | None) -> None:
    assert decide(Provider.S3, lying, wish, now=NOW) == expected


def test_a_point_is_recent_until_the_very_moment() -> None:
    wish = Wish(Tier.COLD, recent=timedelta(days=30))
    at_the_end = Lying(MIB, NOW - timedelta(days=30), Tier.HOT)
    before = Lying(MIB, NOW - timedelta(days=30) + timedelta(seconds=1), Tier.HOT)
    assert decide(Provider.S3, before, wish, now=NOW) is None
    assert decide(Provider.S3, at_the_end, wish, now=NOW) == Decision(Step.MOVE, Tier.COLD)


_moments = st.integers(0, 800).map(lambda days: NOW - timedelta(days=days))
_lying = st.builds(
    Lying,
    size=st.integers(0, 4 * MIB),
    needed=st.none() | _moments,
    tier=st.none() | st.sampled_from(Tier),
    since=st.none() | _moments,
    at_hand=st.booleans(),
    returning=st.booleans(),
)
_wishes = st.builds(
    Wish, st.sampled_from(Tier), st.integers(0, 400).map(lambda days: timedelta(days=days))
)


@given(st.sampled_from(Provider), _lying, _wishes)
def test_nothing_recent_gets_colder_and_nothing_old_warmer_than_wished(
    provider: Provider, lying: Lying, wish: Wish
) -> None:
    # A location lists only classes that its provider has.
    if lying.tier is not None and lying.tier not in {x.tier for x in tiers.CLASSES[provider]}:
        return
    found = decide(provider, lying, wish, now=NOW)
    if found is None:
        return
    assert lying.tier is not None
    assert lying.needed is not None
    assert found.tier is not lying.tier
    if ORDER.index(found.tier) < ORDER.index(lying.tier):
        assert found.tier is Tier.HOT
    else:
        assert found.step is Step.MOVE
        assert NOW - lying.needed >= wish.recent
        assert ORDER.index(found.tier) <= ORDER.index(wish.tier)
    if found.step is Step.MOVE:
        assert lying.at_hand


@given(st.sampled_from(Provider), _lying, _wishes)
def test_what_was_moved_stays_where_it_is(provider: Provider, lying: Lying, wish: Wish) -> None:
    found = decide(provider, lying, wish, now=NOW)
    if found is None or found.step is not Step.MOVE:
        return
    at_hand = not tiers.return_seconds(provider, found.tier)
    moved = Lying(lying.size, lying.needed, found.tier, NOW, at_hand)
    assert decide(provider, moved, wish, now=NOW) is None
