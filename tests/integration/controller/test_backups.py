"""What a backup is started with."""

import pytest

from tests.integration.controller.conftest import Home
from weddingbackup.controller.handlers import Reconciler
from weddingbackup.kube.client import BACKUPS, POLICIES

pytestmark = pytest.mark.integration


async def test_a_backup_waits_until_the_policys_edit_is_seen(home: Home) -> None:
    await home.working_policy(schedule={"suspend": True})
    left = (await home.get(POLICIES, "wedding"))["status"]["locations"][0]["name"]
    edit = {"spec": {"placement": {"exclude": [left]}, "redundancy": {"copies": 2}}}
    await home.cluster.patch(POLICIES, "wedding", home.namespace, edit)
    await home.add_backup()
    reconciler = Reconciler(home.context)
    await reconciler.settle(BACKUPS, home.namespace, "one")
    assert (await home.get(BACKUPS, "one"))["status"]["phase"] == "Pending"
    await reconciler.settle(POLICIES, home.namespace, "wedding")
    backup = await home.get(BACKUPS, "one")  # the policy's turn was told to it
    assert backup["status"]["phase"] == "Running"
    assert left not in {row["name"] for row in backup["status"]["locations"]}
