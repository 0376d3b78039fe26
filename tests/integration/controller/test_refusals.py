"""What Kubernetes or the operator itself cannot do for an object is told on that object."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.controller.handlers import Reconciler
from weddingbackup.kube.client import BACKUPS, JOBS

pytestmark = pytest.mark.integration


async def test_a_job_that_the_api_server_refuses_fails_its_backup(home: Home) -> None:
    more_than_allowed = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    await home.working_policy(schedule={"suspend": True}, worker={"resources": more_than_allowed})
    await home.add_backup()
    failed = await home.settle(BACKUPS, "one")
    assert failed["status"]["phase"] == "Failed"
    assert condition(failed, "Stalled")["reason"] == "JobRefused"
    assert "less than or equal to memory limit" in failed["status"]["message"]
    assert await home.cluster.list(JOBS, home.namespace) == []


async def test_a_failure_of_the_operators_own_is_told_until_it_is_over(home: Home) -> None:
    await home.add_backup()

    broken = True

    def now() -> datetime:
        nonlocal broken
        if broken:
            broken = False
            raise LookupError("the clock stands still")
        return datetime(2026, 12, 5, tzinfo=UTC)

    reconciler = Reconciler(replace(home.context, now=now))
    await reconciler.settle(BACKUPS, home.namespace, "one")
    told = await home.get(BACKUPS, "one")
    assert condition(told, "Stalled")["reason"] == "ReconcileFailed"
    assert "the clock stands still" in told["status"]["message"]
    await reconciler.settle(BACKUPS, home.namespace, "one")
    assert condition(await home.get(BACKUPS, "one"), "Stalled")["reason"] == "PolicyNotFound"
