"""Which Jobs have a place in the operator's namespace."""

import pytest

from weddingbackup.controller.turns import counted, has_ended, holders
from weddingbackup.kube import jobs
from weddingbackup.kube.client import BACKUPS, Object
from weddingbackup.kube.jobs import Owner, Platform, Shape, Work
from weddingbackup.resources import tasks
from weddingbackup.rules.turns import COPIES, VERIFICATIONS

HOME = "home"


def job(**conditions: str) -> Object:
    body = jobs.worker_job(
        "cp-one-12345678",
        Work.COPY,
        tasks.EraseTask(vault=tasks.VaultRef(id="v", prefix="x"), locations=[]),
        platform=Platform(namespace=HOME, image="image:1", service_account="worker"),
        shape=Shape(),
        mounts=[],
        labels={},
        owner=Owner(BACKUPS, "vendor", "one", "u-1"),
    )
    found = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {**body, "status": {"conditions": found}}


@pytest.mark.parametrize("kind", ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"])
def test_a_job_gives_its_place_back_as_soon_as_its_end_is_decided(kind: str) -> None:
    """One whose node is gone has FailureTarget and never Failed, while the Node object stays."""
    assert holders([job(**{kind: "True"})], HOME, COPIES) == []
    assert holders([job(**{kind: "False"})], HOME, COPIES) == ["vendor"]


def test_a_job_of_which_nothing_is_told_yet_has_a_place() -> None:
    assert holders([job(), job(Suspended="True")], HOME, COPIES) == ["vendor", "vendor"]


def test_a_job_that_does_not_tell_its_organisation_has_a_place() -> None:
    strange = job()
    del strange["metadata"]["annotations"]
    assert holders([strange], HOME, COPIES) == [""]


def test_whose_end_is_only_decided_has_not_ended_for_who_waits_for_its_pods() -> None:
    assert not has_ended(job(FailureTarget="True"))
    assert has_ended(job(FailureTarget="True", Failed="True"))


def test_a_verification_that_a_commit_waits_for_counts_apart_from_copies() -> None:
    verification = counted(job(), VERIFICATIONS)
    copy = counted(job(), COPIES)
    assert holders([verification, verification, copy], HOME, VERIFICATIONS) == ["vendor"] * 2
    assert holders([verification, verification, copy], HOME, COPIES) == ["vendor"]


def test_what_an_older_operator_made_counts_as_a_copy() -> None:
    assert holders([job()], HOME, COPIES) == ["vendor"]
    assert holders([job()], HOME, VERIFICATIONS) == []


def test_a_job_that_says_where_it_counts_still_says_what_it_works_for() -> None:
    assert jobs.owner_of(counted(job(), VERIFICATIONS), HOME) == jobs.owner_of(job(), HOME)
