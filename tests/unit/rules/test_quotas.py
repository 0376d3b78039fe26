from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import backup, policy, request, running
from weddingbackup.resources.backup_job import MOST_BESIDE, QuotaStatus
from weddingbackup.resources.quantity import quantity
from weddingbackup.rules import quotas
from weddingbackup.rules.quotas import Quotas, admit, read, too_many_copies
from weddingbackup.rules.workload import Problem


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("3", 3), ("1Ki", 1024), ("1.5Gi", 3 << 29), ("2k", 2000), ("5E", 5 * 10**18)],
)
def test_quantities_are_kubernetes_own(text: str, number: int) -> None:
    assert quantity(text) == number


@given(st.integers(0, 10**17), st.sampled_from(["", "Ki", "M", "Ti"]))
def test_a_unit_makes_no_quantity_smaller(number: int, unit: str) -> None:
    assert quantity(f"{number}{unit}") >= number


@pytest.mark.parametrize("text", ["", "many", "-1", "1e3", "1 Gi", "1GiB", "٣", "1\n2"])
def test_what_nobody_can_read_lets_nothing_pass(text: str) -> None:
    with pytest.raises(quotas.QuotaError, match="quota-bytes"):
        read({quotas.BYTES: text}, Quotas())


def test_a_namespace_says_more_than_the_fleet() -> None:
    found = read({quotas.JOBS: "5"}, Quotas(jobs=1, locations=2))
    assert found == Quotas(jobs=5, bytes=None, locations=2)


EMERGENCY = request(urgency="Emergency", status={"phase": "Recovering"})
RECOVERING = request(status={"phase": "Recovering"})
RUNNING = backup(status=running("a"))
WAITING = backup()


@pytest.mark.parametrize(
    ("jobs", "backups", "recoveries", "fits"),
    [
        (None, [RUNNING] * 9, [RECOVERING], True),
        (1, [WAITING], [], True),
        (1, [RUNNING], [], False),
        (2, [RUNNING], [EMERGENCY], True),
        (2, [RUNNING], [RECOVERING], False),
        (0, [], [], False),
    ],
)
def test_jobs_at_once(jobs: int | None, backups: Any, recoveries: Any, *, fits: bool) -> None:
    problem = admit(Quotas(jobs=jobs), backups, recoveries, stored=0, unmeasured=())
    assert (problem is None) is fits
    if isinstance(problem, Problem):
        assert (problem.reason, "quota-jobs" in problem.message) == ("QuotaExceeded", True)


def test_bytes_are_those_of_all_vaults_together() -> None:
    def answer(limit: int | None, stored: int, *unmeasured: str) -> Problem | QuotaStatus | None:
        return admit(Quotas(bytes=limit), [], [], stored=stored, unmeasured=unmeasured)

    assert answer(10, 9, "b", "a") == QuotaStatus(limit=10, stored=9, beside=["a", "b"])
    problem = answer(10, 10)
    assert isinstance(problem, Problem)
    assert "quota-bytes" in problem.message
    assert answer(None, 10**18) is None


def test_bytes_are_told_of_each_vault_at_the_location_where_it_takes_the_most() -> None:
    full = admit(Quotas(bytes=10), [], [], stored=10, unmeasured=())
    assert isinstance(full, Problem)
    assert "take 10 bytes, each at the location where it takes the most" in full.message
    spent = quotas.exhausted(QuotaStatus(limit=10, stored=9)).message
    assert (
        "took 9 bytes when this backup began, each at the location where it took the most" in spent
    )


def test_who_has_too_many_backups_that_nobody_measured_waits() -> None:
    most = [str(number) for number in range(MOST_BESIDE)]
    limits = Quotas(bytes=10)
    assert isinstance(admit(limits, [], [], stored=0, unmeasured=most), QuotaStatus)
    problem = admit(limits, [], [], stored=0, unmeasured=[*most, "another"])
    assert isinstance(problem, Problem)
    assert problem.reason == "QuotaExceeded"
    assert admit(Quotas(), [], [], stored=0, unmeasured=[*most, "another"]) is None


def test_more_copies_than_locations_are_too_many() -> None:
    wants = policy(redundancy={"copies": 4})
    assert too_many_copies(wants, Quotas(locations=4)) is None
    problem = too_many_copies(wants, Quotas(locations=3))
    assert problem is not None
    assert "ask for 3" in problem.message
