"""Many that ask for a place in the operator's namespace at the same moment."""

import asyncio
from collections import Counter

import pytest

from tests.integration.controller.conftest import Home
from weddingbackup.controller import turns, workers
from weddingbackup.kube import jobs
from weddingbackup.kube.client import POLICIES
from weddingbackup.kube.jobs import Owner, Work
from weddingbackup.resources import tasks
from weddingbackup.resources.common import CheckLevel
from weddingbackup.rules.turns import Bounds

pytestmark = pytest.mark.integration

WORKS = {Work.CHECK, Work.COLLECT}


async def create(home: Home, owner: Owner, bounds: Bounds) -> str | None:
    task = tasks.CheckTask(
        vault=tasks.VaultRef(id="v", prefix="p"), locations=[], level=CheckLevel.FULL
    )
    body = jobs.worker_job(
        jobs.job_name("ck", owner.name, uid=owner.uid),
        Work.CHECK,
        task,
        platform=home.context.platform,
        shape=workers.SERVICE_SHAPE,
        mounts=[],
        labels={},
        owner=owner,
    )
    return await turns.create(home.context, WORKS, bounds, body, owner)


async def test_no_bound_is_passed_by_those_who_ask_together(home: Home) -> None:
    bounds = Bounds(all=5, each=2)
    owners = [
        Owner(POLICIES, namespace, f"{namespace}-{number}", f"uid-{namespace}-{number}")
        for namespace in ("one", "two", "three")
        for number in range(4)
    ]
    told = await asyncio.gather(*(create(home, owner, bounds) for owner in owners))
    made = Counter(owner.namespace for owner, why in zip(owners, told, strict=True) if why is None)
    assert max(made.values()) <= bounds.each
    assert made.total() == len(await home.jobs("check")) <= bounds.all
    for owner in owners * 2:  # whoever was told to wait comes again
        await create(home, owner, bounds)
    there = [jobs.owner_of(job, home.context.home) for job in await home.jobs("check")]
    found = Counter(owner.namespace for owner in there if owner)
    assert found.total() == bounds.all
    assert max(found.values()) <= bounds.each
