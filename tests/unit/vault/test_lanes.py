"""Who is asked for what, and when a second one is asked: decided by numbers alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.vault.lanes import (
    FIRST_SECONDS,
    FREE,
    LEAST_SECONDS,
    SHARE,
    SILENT_SECONDS,
    STILL_SECONDS,
    Fleet,
    Lane,
    Step,
)

MIB = 1 << 20


def fleet(lanes: int) -> Fleet:
    return Fleet([Lane() for _ in range(lanes)])


def measured(*speeds: float) -> Fleet:
    """Lanes that sent 16 MiB each at these speeds; the last answer came at 0."""
    made = fleet(len(speeds))
    for number, speed in enumerate(speeds):
        seconds = 16 * MIB / speed
        made.arrived(made.begin(number, 16 * MIB, -seconds), 0.0)
    return made


def test_nobody_stands_idle_before_somebody_is_asked_twice() -> None:
    made = fleet(7)
    order = []
    for _ in range(10):
        chosen = made.choose("packs/a", MIB, (), 0.0)
        assert chosen is not None
        made.begin(chosen, MIB, 0.0)
        order.append(chosen)
    assert sorted(order[:7]) == list(range(7))
    assert len(set(order[7:])) == 3


def test_ranges_go_where_they_are_done_soonest() -> None:
    made = measured(16 * MIB, 4 * MIB, 0.16 * MIB)
    counts = [0, 0, 0]
    for _ in range(10):
        chosen = made.choose("packs/a", MIB, (), 0.0)
        assert chosen is not None
        made.begin(chosen, MIB, 0.0)
        counts[chosen] += 1
    assert counts == [8, 2, 0]


def test_a_lane_with_two_requests_is_not_taken_for_half_as_fast() -> None:
    made = fleet(1)
    for turn in range(40):
        first, second = (made.begin(0, MIB, turn * 2.0) for _ in range(2))
        made.arrived(first, turn * 2.0 + 2.0)
        made.arrived(second, turn * 2.0 + 2.0)
    speed = made.lanes[0].speed
    assert speed is not None
    assert 0.95 * MIB < speed < 1.4 * MIB


def test_who_sends_damage_is_asked_less_and_less_and_then_trusted_again() -> None:
    made = measured(MIB, MIB)
    made.judged(0, good=False)
    assert made.choose("packs/a", MIB, (), 0.0) == 1
    for _ in range(10):
        made.judged(0, good=False)
    for _ in range(10):
        made.begin(1, MIB, 0.0)
    assert made.choose("packs/a", MIB, (), 0.0) == 1
    for _ in range(20):
        made.judged(0, good=True)
    assert made.choose("packs/a", MIB, (), 0.0) == 0


def test_who_did_not_answer_is_asked_last_for_a_while() -> None:
    made = measured(16 * MIB, MIB)
    made.failed(made.begin(0, MIB, 1.0), 1.0, silent=True)
    assert made.choose("packs/a", MIB, (), 1.0) == 1
    assert made.choose("packs/a", MIB, (1,), 1.0) == 0
    assert made.choose("packs/a", MIB, (), 1.0 + SILENT_SECONDS) == 0
    assert made.choose("packs/a", MIB, (0, 1), 1.0) is None


def test_who_is_late_gets_nothing_more_before_it_answers() -> None:
    made = measured(16 * MIB, MIB)
    made.lanes[0].late += 1
    assert made.choose("packs/a", MIB, (), 0.0) == 1


def test_nobody_is_asked_beside_another_who_would_not_help() -> None:
    for change in (
        lambda lane: setattr(lane, "late", 1),
        lambda lane: setattr(lane, "silent_until", 5.0),
        lambda lane: setattr(lane, "archived", True),
        lambda lane: setattr(lane, "holder", False),
        lambda lane: lane.bad.add("packs/a"),
    ):
        made = measured(MIB, MIB)
        assert made.choose_second("packs/a", MIB, (0,), 0.0) == 1
        change(made.lanes[1])
        assert made.choose_second("packs/a", MIB, (0,), 0.0) is None


def test_late_is_what_takes_longer_than_was_expected_of_its_lane() -> None:
    made = measured(MIB, 16 * MIB)
    slow, fast = made.begin(0, MIB, 0.0), made.begin(1, MIB, 0.0)
    assert slow.late_at == 1.5
    assert fast.late_at == LEAST_SECONDS
    assert made.begin(1, 15 * MIB, 0.0).late_at == 1.5  # behind the one before
    assert fleet(2).begin(0, MIB, 0.0).late_at == FIRST_SECONDS


def test_where_requests_often_take_twice_as_long_that_is_not_late() -> None:
    made = measured(MIB, MIB)
    for turn in range(100):
        asked = made.begin(0, MIB, 10.0 * turn)
        made.arrived(asked, asked.begun + 2 * asked.expected)
    asked = made.begin(1, MIB, 2000.0)
    assert asked.late_at - asked.begun > 1.9 * asked.expected


def test_what_is_late_is_asked_twice_while_the_budget_lasts() -> None:
    made = measured(MIB, MIB)
    asked = made.begin(0, MIB, 1.0)
    assert made.step(asked, 1.1) == (Step.WAIT, asked.late_at - 1.1)
    assert made.step(asked, asked.late_at)[0] is Step.HEDGE
    made.extra = FREE
    assert made.step(asked, asked.late_at)[0] is Step.WAIT
    made.delivered = int((FREE + MIB) / SHARE) + 1
    assert made.step(asked, asked.late_at)[0] is Step.HEDGE


def test_who_stands_still_while_others_go_on_holds_nothing_though_the_budget_is_spent() -> None:
    made = measured(MIB, MIB)
    made.extra = FREE
    asked = made.begin(0, MIB, 1.0)
    still_at = asked.begun + 4 * (asked.late_at - asked.begun)
    assert still_at > asked.begun + STILL_SECONDS
    assert made.step(asked, still_at)[0] is Step.WAIT  # perhaps it is our own line
    made.arrived(made.begin(1, MIB, 2.0), 3.0)
    assert made.step(asked, still_at - 0.1)[0] is Step.WAIT
    assert made.step(asked, still_at)[0] is Step.MOVE


@given(
    speeds=st.lists(st.floats(1e5, 1e9), min_size=2, max_size=7),
    sizes=st.lists(st.integers(1, 4 * MIB), min_size=1, max_size=60),
    stalls=st.sets(st.integers(0, 59)),
)
def test_hedges_stay_under_their_share(
    speeds: list[float], sizes: list[int], stalls: set[int]
) -> None:
    """Whatever stalls; and every lane ends with nothing under way."""
    made = fleet(len(speeds))
    now = 0.0
    for number, size in enumerate(sizes):
        chosen = made.choose("packs/a", size, (), now)
        assert chosen is not None
        asked = made.begin(chosen, size, now)
        if number in stalls and made.step(asked, asked.late_at)[0] is Step.HEDGE:
            made.extra += size
            assert made.extra <= max(FREE, SHARE * made.delivered)
            now = asked.late_at
        now += size / speeds[chosen]
        made.arrived(asked, now)
        assert all(lane.speed is None or lane.speed > 0 for lane in made.lanes)
    assert [lane.outstanding for lane in made.lanes] == [0] * len(speeds)
