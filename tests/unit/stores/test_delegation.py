"""A delegation key is fetched once, renewed long before its end, and outlives a login that is away."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import UserDelegationKey

from weddingbackup.stores.azure import DelegationKey
from weddingbackup.stores.errors import StoreError, TransientError

START = datetime(2026, 12, 5, 12, tzinfo=UTC)


class Login:
    """Gives keys, or fails; and a clock."""

    def __init__(self) -> None:
        self.now = START
        self.periods: list[tuple[datetime, datetime]] = []
        self.error: StoreError | None = None
        self.key = DelegationKey(self.fetch, now=lambda: self.now)

    def fetch(self, start: datetime, expiry: datetime) -> UserDelegationKey:
        self.periods.append((start, expiry))
        if self.error:
            raise self.error
        return UserDelegationKey()  # type: ignore[no-untyped-call]


def away() -> TransientError:
    return TransientError("away", location="dublin")


def test_sixteen_threads_fetch_one_key() -> None:
    login = Login()
    with ThreadPoolExecutor(16) as threads:
        keys = list(threads.map(lambda _: login.key(), range(64)))
    assert len(login.periods) == 1
    assert len({id(key) for key in keys}) == 1


def test_a_key_holds_for_clocks_that_are_late_and_for_all_that_it_signs() -> None:
    login = Login()
    login.key()
    [(start, expiry)] = login.periods
    assert start <= START - timedelta(minutes=5)
    assert timedelta(hours=1) <= expiry - START <= timedelta(days=7)


def test_it_is_renewed_long_before_its_end() -> None:
    login = Login()
    first = login.key()
    [(_, expiry)] = login.periods
    login.now = expiry - timedelta(hours=1)
    assert login.key() is not first
    assert len(login.periods) == 2


def test_while_it_cannot_be_renewed_the_old_one_serves_and_is_not_asked_for_each_time() -> None:
    login = Login()
    first = login.key()
    [(_, expiry)] = login.periods
    login.error = away()
    login.now = expiry - timedelta(minutes=30)
    assert [login.key() for _ in range(5)] == [first] * 5
    assert len(login.periods) == 2
    login.now += timedelta(minutes=2)
    login.error = None
    assert login.key() is not first


def test_what_it_would_sign_beyond_its_own_end_it_does_not_sign() -> None:
    login = Login()
    login.key()
    [(_, expiry)] = login.periods
    login.error = away()
    login.now = expiry - timedelta(minutes=9)
    with pytest.raises(TransientError):
        login.key()


def test_without_any_key_the_failure_is_told_each_time() -> None:
    login = Login()
    login.error = away()
    for _ in range(2):
        with pytest.raises(TransientError):
            login.key()
    login.error = None
    login.key()
