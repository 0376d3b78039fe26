"""What the operator says of recovery kits: on a policy, and when its vault is erased."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.controller.conftest import Home
from weddingbackup.controller import erasure
from weddingbackup.kube import registry
from weddingbackup.kube.client import EVENTS, POLICIES, SECRETS
from weddingbackup.resources.recovery_kit import KitRecord

pytestmark = pytest.mark.integration

NOW = datetime(2026, 12, 5, tzinfo=UTC)


async def vault(home: Home) -> registry.Registered:
    found = await registry.find(
        home.cluster, home.context.home, namespace=home.namespace, policy="wedding"
    )
    assert found is not None
    return found


async def take_out(home: Home) -> KitRecord:
    kept = await vault(home)
    kit = kept.kit
    told = KitRecord(
        kit=kit.id, by="ada", keys=kit.fingerprints(), announced_at=NOW, written_at=NOW
    )
    assert await registry.record(home.cluster, home.context.home, kept.secret, told)
    return told


def condition(body: dict[str, Any]) -> tuple[str, str]:
    [found] = [c for c in body["status"]["conditions"] if c["type"] == "KitExported"]
    return found["status"], found["reason"]


async def test_a_policy_says_whether_a_kit_covers_its_vault(home: Home) -> None:
    assert condition(await home.working_policy()) == ("False", "NeverExported")
    await take_out(home)
    assert condition(await home.settle(POLICIES, "wedding")) == ("True", "Exported")


async def test_an_erasure_names_the_kits_that_hold_the_keys(home: Home) -> None:
    await home.working_policy(retention={"deletionPolicy": "Erase"})
    told = await take_out(home)
    secret = (await vault(home)).secret
    await erasure.erase(home.context, await home.get(POLICIES, "wedding"))
    waiting = await erasure.erase(home.context, await home.get(POLICIES, "wedding"))
    # The Secret and what it recorded are gone; the status still tells.
    assert await home.cluster.get(SECRETS, secret, home.context.home) is None
    assert waiting is not None
    body = await home.get(POLICIES, "wedding")
    assert told.kit in waiting
    assert told.kit in body["status"]["message"]
    events = await home.cluster.list(EVENTS, home.namespace)
    assert any(e["reason"] == "KitsRemain" and told.kit in e["message"] for e in events)
