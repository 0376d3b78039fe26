"""What a policy's status says of its references, its placement and its backups; what deleting it takes along."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.kube.client import BACKUPS, EVENTS, LOCATIONS, POLICIES, SECRETS
from weddingbackup.resources import names

pytestmark = pytest.mark.integration


async def test_references_that_lead_nowhere_are_named_and_told_once(home: Home) -> None:
    for name in ("a", "b", "c"):
        await home.add_location(name)
    await home.add_policy()
    blocked = await home.settle(POLICIES, "wedding")
    await home.settle(POLICIES, "wedding")
    assert blocked["status"]["phase"] == "Blocked"
    assert condition(blocked, "Stalled")["reason"] == "ClaimNotFound"
    assert "photos" in condition(blocked, "Stalled")["message"]
    assert await home.cluster.list(BACKUPS, home.namespace) == []
    events = await home.cluster.list(EVENTS, home.namespace, fields={"reason": "ClaimNotFound"})
    assert [event["count"] for event in events] == [1]

    await home.add_claim()
    active = await home.settle(POLICIES, "wedding")
    assert active["status"]["phase"] == "Active"
    assert len(await home.cluster.list(BACKUPS, home.namespace)) == 1


async def test_deleting_a_policy_takes_neither_keys_nor_history_along(home: Home) -> None:
    policy = await home.working_policy()
    await home.cluster.delete(POLICIES, "wedding", home.namespace)
    [backup] = await home.cluster.list(BACKUPS, home.namespace)
    vault = {names.LABEL_VAULT: policy["status"]["vault"]["id"]}
    [secret] = await home.cluster.list(SECRETS, home.context.home, labels=vault)
    for body in (backup, secret):
        assert "ownerReferences" not in body["metadata"]

    await home.add_policy()
    again = await home.settle(POLICIES, "wedding")
    assert again["status"]["vault"] == policy["status"]["vault"]


async def test_a_location_that_is_down_stays_placed(home: Home) -> None:
    policy = await home.working_policy()
    placed = {row["name"] for row in policy["status"]["locations"]}
    name = next(iter(placed))
    await home.add_location("d")
    await home.set_status(LOCATIONS, name, {"phase": "Unavailable"})
    after = await home.settle(POLICIES, "wedding")
    assert {row["name"] for row in after["status"]["locations"]} == placed


async def test_a_backup_is_ordered_only_after_the_placement_that_it_goes_by_is_told(
    home: Home,
) -> None:
    policy = await home.working_policy(schedule={"suspend": True}, redundancy={"copies": 2})
    kept, excluded = (row["name"] for row in policy["status"]["locations"])
    await home.add_location("d")
    placement = {"exclude": [excluded]}
    edit = {"spec": {"placement": placement, "trigger": {"manual": "now"}}}
    await home.cluster.patch(POLICIES, "wedding", home.namespace, edit)
    told = await home.step(POLICIES, "wedding")
    assert excluded not in {row["name"] for row in told["status"]["locations"]}
    assert kept in {row["name"] for row in told["status"]["locations"]}
    assert told["status"]["observedGeneration"] == told["metadata"]["generation"]
    assert await home.cluster.list(BACKUPS, home.namespace) == []
    told = await home.settle(POLICIES, "wedding")
    assert len(await home.cluster.list(BACKUPS, home.namespace)) == 1
    assert told["status"]["lastManualTrigger"] == "now"


async def test_backups_of_a_vault_that_was_erased_put_off_no_first_backup(home: Home) -> None:
    await home.add_backup("of-the-former")
    erased = {"phase": "Completed", "vault": {"id": "00" * 16, "prefix": "x"}}
    await home.set_status(BACKUPS, "of-the-former", erased)
    await home.working_policy()
    made = {body["metadata"]["name"] for body in await home.cluster.list(BACKUPS, home.namespace)}
    assert len(made) == 2


async def test_slots_go_on_with_time_and_wait_for_the_backup_before(home: Home) -> None:
    await home.working_policy(schedule={"every": "1h"})
    start = home.context.now()
    later = replace(home.context, now=lambda: start + timedelta(hours=5))
    late = Home(later, home.namespace, home.store)
    await late.settle(POLICIES, "wedding")
    [first] = await home.cluster.list(BACKUPS, home.namespace)
    await home.set_status(BACKUPS, first["metadata"]["name"], {"phase": "Failed"})
    await late.settle(POLICIES, "wedding")
    assert len(await home.cluster.list(BACKUPS, home.namespace)) == 2
