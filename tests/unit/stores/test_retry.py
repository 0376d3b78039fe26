"""Only what may pass is tried again, with pauses that grow, and not for ever."""

from collections.abc import Callable

import pytest

from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.stores.retry import Retry


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def retry(self, deadline_seconds: float = 60, share: float = 1.0) -> Retry:
        return Retry(
            deadline_seconds=deadline_seconds,
            sleep=self.sleep,
            share=lambda: share,
            clock=lambda: self.now,
        )


def failing(times: int, error: StoreError) -> Callable[[], str]:
    left = [error] * times

    def operation() -> str:
        if left:
            raise left.pop()
        return "done"

    return operation


def transient(after: float | None = None) -> TransientError:
    return TransientError("away", location="london", retry_after_seconds=after)


def test_a_fault_that_passes_is_not_seen() -> None:
    time = Time()
    assert time.retry().call(failing(4, transient())) == "done"
    assert time.pauses == [0.2, 0.4, 0.8, 1.6]


def test_pauses_are_a_random_share_of_the_backoff() -> None:
    time = Time()
    time.retry(share=0.25).call(failing(3, transient()))
    assert time.pauses == pytest.approx([0.05, 0.1, 0.2])


def test_pauses_grow_to_a_bound() -> None:
    time = Time()
    time.retry(deadline_seconds=1000).call(failing(20, transient()))
    assert max(time.pauses) == 10


def test_it_gives_up_before_the_deadline_with_the_last_error() -> None:
    time = Time()
    with pytest.raises(TransientError, match="away"):
        time.retry(deadline_seconds=5).call(failing(1000, transient()))
    assert time.now <= 5
    assert len(time.pauses) == 4


def test_a_provider_that_asks_for_time_gets_it() -> None:
    time = Time()
    time.retry().call(failing(1, transient(after=30)))
    assert time.pauses == [30]
    with pytest.raises(TransientError):
        time.retry(deadline_seconds=20).call(failing(1, transient(after=30)))


@pytest.mark.parametrize(
    "kind", [CorruptError, DeniedError, ExistsError, MissingError, UnsupportedError, StoreError]
)
def test_what_will_not_pass_is_said_at_once(kind: type[StoreError]) -> None:
    time = Time()
    with pytest.raises(kind):
        time.retry().call(failing(1, kind("no", location="london")))
    assert time.pauses == []
