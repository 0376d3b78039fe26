"""Bounds, and the order in which organisations that share them come."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON
from weddingbackup.rules.turns import COPIES, FORGOTTEN, MAINTENANCE, Bounds, Line, ask, leave

SECOND = timedelta(seconds=1)
TWO = Bounds(all=2, each=1)


class Platform:
    """Jobs under way and the line, with a clock that goes on by a second a question."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.line: Line = {}
        self.under_way: list[str] = []
        self.now = NOON

    def ask(self, organisation: str) -> str | None:
        """What an organisation that asks is told; its Job is made where it may be."""
        self.now += SECOND
        told = ask(self.line, organisation, self.under_way, self.bounds, now=self.now)
        if told is None:
            leave(self.line, organisation)
            self.under_way.append(organisation)
        return told

    def get(self, organisation: str) -> bool:
        return self.ask(organisation) is None


def test_an_organisation_at_its_own_bound_waits_for_itself_and_keeps_no_place() -> None:
    platform = Platform(TWO)
    assert platform.get("greedy")
    assert "of this namespace" in (platform.ask("greedy") or "")
    assert platform.line == {}
    assert platform.get("other")


def test_one_that_got_its_place_while_another_of_it_asked_waits_no_more() -> None:
    platform = Platform(TWO)
    platform.line = {"a": NOON, "b": NOON}
    platform.under_way = ["a"]
    assert platform.get("b")  # no place is kept for who cannot take it
    assert "of this namespace" in (platform.ask("a") or "")
    assert platform.line == {}


def test_of_all_there_are_so_many_at_once() -> None:
    platform = Platform(COPIES)
    made = [name for name in "abcdef" for _ in range(5) if platform.get(name)]
    assert Counter(made) == dict.fromkeys("abcd", 4)
    assert "turn" in (platform.ask("e") or "")


def test_a_place_that_comes_free_goes_to_who_waits_longest() -> None:
    platform = Platform(TWO)
    assert [platform.get(name) for name in "abcda"] == [True, True, False, False, False]
    platform.under_way.remove("a")
    assert [platform.get(name) for name in "adca"] == [False, False, True, False]
    platform.under_way.remove("b")
    assert [platform.get(name) for name in "abd"] == [False, False, True]
    assert list(platform.line) == ["a", "b"]


def test_a_place_beyond_those_that_are_kept_is_given_at_once() -> None:
    platform = Platform(Bounds(all=3, each=1))
    assert [platform.get(name) for name in "abcdef"] == [True, True, True, False, False, False]
    del platform.under_way[:2]
    assert [platform.get(name) for name in "fed"] == [False, True, True]


def test_one_that_is_gone_keeps_its_place_from_others_for_a_while_only() -> None:
    platform = Platform(TWO)
    assert [platform.get(name) for name in "abcd"] == [True, True, False, False]  # c is deleted now
    platform.under_way.remove("a")
    assert not platform.get("d")
    platform.now += FORGOTTEN - 3 * SECOND
    assert not platform.get("d")
    assert platform.get("d")
    assert platform.line == {}


def test_one_that_asks_again_is_not_forgotten() -> None:
    platform = Platform(TWO)
    assert [platform.get(name) for name in "abcd"] == [True, True, False, False]
    for _ in range(3):
        platform.now += FORGOTTEN - 3 * SECOND
        assert [platform.get(name) for name in "dc"] == [False, False]
    assert list(platform.line) == ["c", "d"]


def test_the_line_starts_anew_with_the_operator_and_the_bounds_hold() -> None:
    platform = Platform(TWO)
    assert [platform.get(name) for name in "abc"] == [True, True, False]
    platform.line = {}
    assert [platform.get(name) for name in "abdc"] == [False, False, False, False]


def test_places_that_nobody_else_waits_for_are_lent_but_the_last() -> None:
    platform = Platform(MAINTENANCE)
    assert [platform.get("a") for _ in range(4)] == [True, True, True, False]
    assert "idle" in (platform.ask("a") or "")
    assert platform.get("b")


def test_the_last_place_is_for_one_that_has_none_whoever_has_the_others() -> None:
    platform = Platform(MAINTENANCE)
    assert [platform.get(name) for name in "abaab"] == [True, True, True, False, False]
    assert platform.get("c")


def test_nothing_is_lent_while_another_waits() -> None:
    platform = Platform(MAINTENANCE)
    assert [platform.get(name) for name in "aaabc"] == [True, True, True, True, False]
    del platform.under_way[1:3]  # two places are free, and c has not asked again
    assert not platform.get("a")
    assert platform.get("c")
    platform.under_way.remove("b")
    assert platform.get("a")


def test_places_are_lent_past_one_in_the_line_that_could_use_none() -> None:
    platform = Platform(MAINTENANCE)
    platform.line = {"b": NOON}
    platform.under_way = ["a", "b"]
    assert platform.get("a")


def test_one_that_is_gone_keeps_places_from_being_lent_for_a_while_only() -> None:
    platform = Platform(MAINTENANCE)
    assert [platform.get(name) for name in "aaabc"] == [True, True, True, True, False]
    del platform.under_way[1:3]
    platform.now += FORGOTTEN
    assert platform.get("a")


bounds = st.builds(
    lambda each, more, lent: Bounds(all=each + more, each=each, lent=lent),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
organisations = st.sampled_from("abcdefg")
events = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), organisations),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


@given(bounds, events)
def test_no_bound_is_ever_passed(limit: Bounds, happens: list[tuple[str, str | int]]) -> None:
    platform = Platform(limit)
    for kind, what in happens:
        if kind == "ask":
            others = [name for name in platform.line if name != what]
            has = platform.under_way.count(str(what))
            if platform.get(str(what)) and has >= limit.each:
                assert limit.lent
                assert all(platform.under_way.count(name) >= limit.each for name in others)
                assert len(platform.under_way) < limit.all  # one is left for others
        elif kind == "restart":
            platform.line = {}
        elif platform.under_way:
            platform.under_way.pop(int(what) % len(platform.under_way))
        assert len(platform.under_way) <= limit.all
        most = max(limit.each, limit.all - 1) if limit.lent else limit.each
        assert all(count <= most for count in Counter(platform.under_way).values())


@given(
    st.builds(
        Bounds,
        all=st.integers(1, 3),
        each=st.integers(1, 2),
        lent=st.booleans(),
    ),
    st.lists(st.one_of(st.sampled_from("abcd"), st.integers(0, 2)), min_size=12, max_size=60),
)
def test_who_is_told_to_wait_was_not_overtaken_twice_by_the_same_organisation(
    limit: Bounds, happens: list[str | int]
) -> None:
    """A number ends that Job; a name asks."""
    platform = Platform(limit)
    made_since: dict[str, Counter[str]] = {}  # of each that waits: whose Jobs were made meanwhile
    for what in happens:
        if isinstance(what, int):
            if platform.under_way:
                platform.under_way.pop(what % len(platform.under_way))
            continue
        got = platform.get(what)
        if got:
            for made in made_since.values():
                made[what] += 1
        if what not in platform.line:
            made_since.pop(what, None)
        else:
            since = made_since.setdefault(what, Counter())
            assert all(count <= 1 for count in since.values())


@given(bounds, st.lists(organisations, min_size=1, max_size=20), st.integers(1, 50))
def test_however_often_a_greedy_one_asks_each_other_comes_at_the_next_places(
    limit: Bounds, others: list[str], greed: int
) -> None:
    platform = Platform(limit)
    while platform.get("greedy"):
        pass
    waiting = [name for name in dict.fromkeys(others) if not platform.get(name)]
    for name in waiting:
        platform.under_way.pop(0)
        assert not any(platform.get("greedy") for _ in range(greed))
        assert platform.get(name)
