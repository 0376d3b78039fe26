"""A limited line: how much goes over it in any time, and who waits for whom."""

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.stores.line import Line


class Time:
    """A clock that only sleep moves, and now and then oversleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.late = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


def test_a_body_in_slices_takes_as_long_as_the_rate_says() -> None:
    time = Time()
    line = Line(4 << 20, clock=time.clock, sleep=time.sleep)
    assert line.slice == 512 << 10
    for _ in range(64):  # 32 MiB
        line.take(line.slice)
    assert time.now - 1000 == 8 - 1 / 8  # the last slice is on its way


def test_sleep_that_ends_late_makes_the_line_no_slower() -> None:
    time = Time()
    time.late = 0.01  # ten slices' time
    line = Line(1 << 30, clock=time.clock, sleep=time.sleep)
    for _ in range(10 << 10):
        line.take(line.slice)
    assert time.now - 1000 < 10.1


def test_a_quiet_hour_lets_no_pack_through_at_once() -> None:
    time = Time()
    line = Line(1 << 20, clock=time.clock, sleep=time.sleep)
    time.now += 3600
    began = time.now
    for _ in range(160):  # 20 MiB
        line.take(line.slice)
    assert time.now - began >= 20 - 0.25 - 1 / 8


def test_who_comes_second_waits_for_the_first_ones_bytes() -> None:
    waits: list[float] = []
    line = Line(1 << 20, clock=lambda: 5.0, sleep=waits.append)
    assert [line.take(1 << 18) for _ in range(4)] == [0, 0.25, 0.5, 0.75]
    assert waits == [0.25, 0.5, 0.75]


@given(
    rate=st.integers(64 << 10, 1 << 40),
    steps=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_over_any_time_the_rate_is_kept(rate: int, steps: list[tuple[float, float]]) -> None:
    time = Time()
    line = Line(rate, clock=time.clock, sleep=time.sleep)
    sent: list[tuple[float, int]] = []
    for idle, share in steps:
        time.now += idle
        size = int(line.slice * share)
        line.take(size)
        sent.append((time.now, size))
    for first, (began, _) in enumerate(sent):
        total = 0
        for ended, size in sent[first:]:
            total += size
            assert total <= (ended - began + 0.25) * rate * (1 + 1e-6) + line.slice
