"""A recovery whose data is archived waits and says so; it goes on where it is at hand anywhere."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.integration.controller.conftest import BUCKET, Home, condition
from tests.servers.classes import with_classes
from weddingbackup.kube import registry
from weddingbackup.kube.client import POLICIES, REQUESTS
from weddingbackup.resources.common import DataClass, Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Tier
from weddingbackup.rules.tiers import Wish
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.tier import Shelf, tier
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup

pytestmark = pytest.mark.integration


async def test_a_recovery_waits_for_what_is_archived_everywhere(home: Home, tmp_path: Path) -> None:
    with with_classes(home.store) as front:
        names = [
            await home.add_location(name, answers=True, endpoint=front.server.endpoint)
            for name in "ab"
        ]
        await home.add_location("c")
        await home.add_claim()
        await home.add_policy(schedule={"suspend": True})
        await home.settle(POLICIES, "wedding")
        vault = await registry.adopt(
            home.cluster, home.context.home, namespace=home.namespace, policy="wedding"
        )
        places = [
            LocationAccess(
                name=name,
                provider=Provider.S3,
                bucket=BUCKET,
                prefix=name,
                endpoint=front.server.endpoint,
                region=front.server.region,
            )
            for name in names
        ]
        (tmp_path / "one.raw").write_bytes(b"one" * 100)
        credentials = front.server.credentials
        await asyncio.to_thread(_archive, vault.kit, places, credentials, tmp_path)
        await home.make(REQUESTS, "back", spec={"policyRef": {"name": "wedding"}})
        told = await home.settle(REQUESTS, "back")
        assert told["status"]["phase"] == "Planning"
        assert condition(told, "Ready")["reason"] == "Archived"
        assert "about 5 h away" in told["status"]["message"]
        assert "vault tier --return" in told["status"]["message"]
        assert not told["status"].get("point")

        front.back |= {name for name in front.of if f"/{names[1]}/" in name}
        told = await home.step(REQUESTS, "back")
        assert told["status"]["phase"] == "Recovering"
        assert told["status"]["point"]


def _archive(
    kit: Kit, places: list[LocationAccess], credentials: dict[str, str], directory: Path
) -> None:
    """Make a point at these locations, and archive its data."""
    stores = [open_store(x, credentials, prefix=kit.prefix) for x in places]
    backup(
        Vault.open(kit.keyring(), kit.objects, stores),
        JobFacts("job", "studio", "nightly", datetime.now(UTC)),
        [SourceInput("p", DataClass.PORTFOLIO, VolumeSource(directory))],
        quorum=2,
        progress=Progress(),
    )
    wish = Wish(Tier.ARCHIVE, timedelta(0), smallest=0)
    shelves = {
        x.name: Shelf(Provider.S3, partial(open_keeper, x, credentials, prefix=kit.prefix), wish)
        for x in places
    }
    assert tier(stores, shelves).moved
    for store in stores:
        store.close()
