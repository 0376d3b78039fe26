"""What backups of one organisation are granted together is no more than its quota left for them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.test_allow import BACKUP, OWNER
from tests.unit.rules.facts import NOON
from weddingbackup.broker import spending
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.broker.spending import Spending
from weddingbackup.resources.backup_job import QuotaStatus
from weddingbackup.resources.broker import Put, RefusalCode

LIMIT, STORED = 1000, 900
MINE = replace(BACKUP, quota=QuotaStatus(limit=LIMIT, stored=STORED))


def job(uid: str, scope: Scope = MINE, *, minute: int = 0, **lacks: int) -> Scope:
    """A job that was admitted in that minute."""
    owner = OWNER.model_copy(update={"uid": uid})
    return replace(scope, owner=owner, started_at=NOON + timedelta(minutes=minute), lacks=lacks)


def beside(scope: Scope, *uids: str) -> Scope:
    """With jobs that its measure does not count."""
    quota = QuotaStatus(limit=LIMIT, stored=STORED, beside=list(uids))
    return replace(scope, quota=quota)


def put(number: int, size: int, location: str = "london") -> Put:
    return Put(location=location, name=f"packs/{number:064x}", size=size, sha256=f"{number:064x}")


def grants(spent: Spending, scope: Scope, *puts: Put) -> list[bool]:
    """Which of them pass."""
    return [_passes(spent, scope, each) for each in puts]


def _passes(spent: Spending, scope: Scope, put: Put) -> bool:
    try:
        spent.charge(scope, put)
    except RefusedError:
        return False
    return True


def test_a_job_is_granted_what_the_quota_left_and_not_a_byte_more() -> None:
    spent = Spending()
    assert grants(spent, MINE, put(1, 60), put(2, 41), put(3, 40), put(4, 1)) == [
        True,
        False,
        True,
        False,
    ]


def test_the_refusal_says_what_is_used_what_the_limit_is_and_who_raises_it() -> None:
    with pytest.raises(RefusedError) as error:
        Spending().charge(MINE, put(1, 101))
    for word in ("900 bytes", "1000", "quota-bytes", "administrator"):
        assert word in error.value.refusal.message
    assert error.value.refusal.code is RefusalCode.QUOTA_EXCEEDED
    assert error.value.refusal.retry_after_seconds is None


def test_copies_count_once() -> None:
    spent = Spending()
    assert all(grants(spent, MINE, *(put(1, 100, where) for where in ("a", "b", "c"))))
    assert not any(grants(spent, MINE, *(put(2, 1, where) for where in ("a", "b", "c"))))


def test_different_jobs_at_different_locations_make_no_copies() -> None:
    """The measure takes each vault at the location where it is largest."""
    spent = Spending()
    assert grants(spent, job("one"), put(3, 100, "a")) == [True]
    assert grants(spent, job("two"), put(4, 1, "b")) == [False]


def test_many_jobs_at_once_have_no_more_than_one() -> None:
    spent = Spending()
    uids = [str(number) for number in range(50)]
    jobs = [beside(job(uid, minute=int(uid)), *uids[: int(uid)]) for uid in uids]
    granted = [grants(spent, each, put(1, 15), put(2, 15)) for each in jobs]
    assert sum(map(sum, granted)) == 6


def test_a_job_that_has_ended_counts_in_the_measure_and_not_again() -> None:
    spent = Spending()
    assert grants(spent, job("one"), put(1, 100)) == [True]
    assert grants(spent, job("two", minute=1), put(2, 100)) == [True]


def test_a_job_whose_bytes_were_not_measured_counts_whatever_became_of_it() -> None:
    spent = Spending()
    assert grants(spent, job("one"), put(1, 100)) == [True]
    assert grants(spent, beside(job("two", minute=1), "one"), put(2, 1)) == [False]


def test_a_job_that_began_later_counts_for_those_that_went_before() -> None:
    spent = Spending()
    assert grants(spent, job("two", minute=1), put(2, 100)) == [True]
    assert grants(spent, job("one"), put(1, 1)) == [False]


def test_another_organisation_has_its_own() -> None:
    spent = Spending()
    assert grants(spent, job("one"), put(1, 100)) == [True]
    assert grants(spent, replace(job("two"), namespace="carla"), put(1, 100)) == [True]


def test_asking_again_for_the_same_is_not_asking_for_more() -> None:
    spent = Spending()
    assert grants(spent, MINE, put(1, 100), put(1, 100), put(1, 100)) == [True, True, True]
    assert grants(spent, MINE, put(1, 101)) == [False]  # the same name, and more bytes


def test_a_location_is_brought_up_to_what_the_others_hold() -> None:
    spent = Spending()
    late = job("one", late=900)
    assert grants(spent, late, put(1, 900, "late"), put(2, 100, "late"), put(2, 100, "a")) == [
        True,
        True,
        True,
    ]
    assert grants(spent, late, put(3, 1, "late"), put(3, 1, "a")) == [False, False]


def test_without_a_limit_there_is_none() -> None:
    assert grants(Spending(), job("one", BACKUP), put(1, 1 << 25), put(2, 1 << 25)) == [True, True]


def test_who_is_over_the_limit_already_is_granted_nothing() -> None:
    over = replace(MINE, quota=QuotaStatus(limit=10, stored=11))
    assert grants(Spending(), over, put(1, 1)) == [False]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 60)),
        max_size=60,
    )
)
def test_whatever_is_asked_for_no_more_is_stored(asked: list[tuple[int, str, int, int]]) -> None:
    """At the location where it is most, of all jobs that were there from the beginning."""
    spent, taken = Spending(), dict[tuple[int, str, int], int]()
    for number, where, name, size in asked:
        if grants(spent, job(str(number)), put(name, size, where)) == [True]:
            # Whoever has several requests for one name stores the largest, once.
            taken[number, where, name] = max(size, taken.get((number, where, name), 0))
    most = [
        max(
            sum(size for (n, w, _), size in taken.items() if (n, w) == (number, where))
            for where in "abc"
        )
        for number in range(4)
    ]
    assert sum(most) <= LIMIT - STORED


def bounded(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> Spending:
    for name, bound in bounds.items():
        monkeypatch.setattr(spending, name, bound)
    return Spending()


def of(namespace: str, uid: str, *, minute: int = 0) -> Scope:
    return replace(job(uid, minute=minute), namespace=namespace)


def test_what_is_remembered_of_one_organisation_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = bounded(monkeypatch, _GRANTS=2, _JOBS=3)
    for number in range(5):
        spent.charge(job(str(number)), put(number, 1))
    assert (len(spent._granted), len(spent._jobs)) == (2, 3)


def test_what_is_remembered_of_all_organisations_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = bounded(monkeypatch, _JOBS_IN_ALL=3, _GRANTS_IN_ALL=2)
    for number in range(9):
        spent.charge(of(f"org-{number}", "one"), put(1, 1))
    assert (len(spent._granted), len(spent._jobs)) == (2, 3)
    assert [*spent._jobs._found] == ["org-6", "org-7", "org-8"]
    assert [*spent._granted._found] == ["org-7", "org-8"]


def test_the_organisation_that_was_idle_longest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = bounded(monkeypatch, _JOBS_IN_ALL=2)
    spent.charge(of("bella", "one"), put(1, 90))
    spent.charge(of("carla", "one"), put(1, 90))
    spent.charge(of("bella", "one"), put(2, 10))
    spent.charge(of("dora", "one"), put(1, 90))
    assert grants(spent, of("bella", "one"), put(3, 1)) == [False]
    assert grants(spent, of("carla", "one"), put(3, 100)) == [True]


def test_the_job_that_was_granted_something_last_is_not_the_one_that_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = bounded(monkeypatch, _JOBS=2)
    for number, uid in enumerate(("one", "two", "one", "three")):
        spent.charge(job(uid), put(number, 30 if uid == "one" else 10))
    assert grants(spent, job("one"), put(9, 31), put(9, 30)) == [False, True]


def test_a_flood_of_one_organisation_has_no_other_charged_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = bounded(monkeypatch, _GRANTS=3, _GRANTS_IN_ALL=5)
    assert grants(spent, of("bella", "one"), put(1, 50), put(2, 50)) == [True, True]
    assert all(grants(spent, of("flood", "one"), *(put(number, 1) for number in range(50))))
    assert grants(spent, of("bella", "one"), put(1, 50), put(2, 50)) == [True, True]


def test_grants_that_are_forgotten_leave_what_was_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is asked for: to be charged twice costs who asks, and to be forgotten the others."""
    spent = bounded(monkeypatch, _GRANTS=1, _GRANTS_IN_ALL=2)
    assert grants(spent, of("bella", "one"), put(1, 60)) == [True]
    for number in range(5):
        spent.charge(of(f"org-{number}", "one"), put(1, 1))
    assert grants(spent, of("bella", "one"), put(1, 60), put(2, 40)) == [False, True]


def test_who_is_refused_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = bounded(monkeypatch, _JOBS=1)
    assert grants(spent, job("one"), put(1, 100)) == [True]
    assert grants(spent, job("two"), put(2, 1), put(2, 1)) == [False, False]
    assert len(spent._jobs) == 1
