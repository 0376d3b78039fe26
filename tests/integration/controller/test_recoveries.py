"""Which point a RecoveryRequest takes, where the locations do not tell."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.controller.handlers import Reconciler
from weddingbackup.kube import registry
from weddingbackup.kube.client import BACKUPS, LOCATIONS, POLICIES, REQUESTS, SECRETS

pytestmark = pytest.mark.integration


async def test_a_point_that_a_backup_pinned_is_waited_for(home: Home) -> None:
    """The locations do not answer, so nothing is visible; what was committed is not forgotten."""
    await home.working_policy(schedule={"suspend": True})
    vault = await registry.adopt(
        home.cluster, home.context.home, namespace=home.namespace, policy="wedding"
    )
    names = [each["name"] for each in (await home.get(POLICIES, "wedding"))["status"]["locations"]]
    await home.add_backup()
    await home.set_status(
        BACKUPS,
        "one",
        {
            "phase": "Completed",
            "vault": {"id": vault.kit.vault_id, "prefix": vault.kit.prefix},
            "manifest": {"name": "snapshots/2026/12/05/one-" + "ab" * 32, "sha256": "ab" * 32},
            "pointTime": "2025-12-06T12:00:00.25Z",
            "locations": [{"name": name, "phase": "Committed"} for name in names],
        },
    )
    await home.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    told = await home.settle(REQUESTS, "back")
    assert told["status"]["phase"] == "Planning"
    assert condition(told, "Ready")["reason"] == "NewestPointUncertain"
    assert "BackupJob one" in told["status"]["message"]
    assert all(name in told["status"]["message"] for name in names)
    # A location that is not registered any more may hold it, too.
    await home.cluster.delete(LOCATIONS, names[0])
    told = await home.settle(REQUESTS, "back")
    assert names[0] in told["status"]["message"]


async def test_a_vault_whose_keys_are_damaged_is_told(home: Home) -> None:
    await home.working_policy(schedule={"suspend": True})
    vault = await registry.adopt(
        home.cluster, home.context.home, namespace=home.namespace, policy="wedding"
    )
    damage = {"data": {"kit.json": "e30="}}
    await home.cluster.patch(SECRETS, vault.secret, home.context.home, damage)
    await home.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    told = await home.settle(REQUESTS, "back")
    assert told["status"]["phase"] == "Failed"
    assert condition(told, "Failed")["reason"] == "VaultDamaged"


async def test_a_request_applied_before_its_policy_waits_for_it_a_while(home: Home) -> None:
    await home.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    await home.make(REQUESTS, "other", spec={"policyRef": {"name": "nowhere"}})
    for name in ("back", "other"):
        told = await home.settle(REQUESTS, name)
        assert told["status"]["phase"] == "Planning"
        assert condition(told, "Ready")["reason"] == "PolicyNotFound"
    await home.add_policy()
    told = await home.settle(REQUESTS, "back")
    assert condition(told, "Ready")["reason"] == "NoVault"
    for name in ("a", "b", "c"):
        await home.add_location(name)
    await home.add_claim()
    await Reconciler(home.context).settle(POLICIES, home.namespace, "wedding")
    told = await home.get(REQUESTS, "back")  # the policy told it
    assert condition(told, "Ready")["reason"] not in {"PolicyNotFound", "NoVault"}

    later = datetime.now(UTC) + timedelta(minutes=2)
    home.context = replace(home.context, now=lambda: later)
    told = await home.settle(REQUESTS, "other")
    assert told["status"]["phase"] == "Failed"
    assert condition(told, "Failed")["reason"] == "PolicyNotFound"


@pytest.mark.parametrize("lacking", ["vault", "point", "sources"])
async def test_a_recovery_of_an_older_operator_fails_once_and_says_what_to_do(
    home: Home, lacking: str
) -> None:
    await home.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
    status = {
        "phase": "Recovering",
        "vault": {"id": "0" * 32, "prefix": "p"},
        "point": {"manifest": "snapshots/one", "sha256": "ab" * 32},
        "sources": [{"name": "p", "dataClass": "Portfolio", "phase": "Running", "jobUid": "u"}],
        "locations": [{"name": "a"}],
    }
    await home.set_status(REQUESTS, "back", {k: v for k, v in status.items() if k != lacking})
    failed = await home.settle(REQUESTS, "back")
    assert failed["status"]["phase"] == "Failed"
    assert condition(failed, "Ready")["reason"] == "MadeBeforeUpgrade"
    assert "new RecoveryRequest" in failed["status"]["message"]
    assert await home.settle(REQUESTS, "back") == failed
