"""What the operator sees of a vault whose packs are archived, at a server with storage classes.

Of Kubernetes only a Secret is played here: `test_archived.py` has the whole of it in a cluster.
"""

import base64
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.servers.classes import Classes, with_classes
from tests.servers.s3 import s3
from tests.unit.rules import facts
from weddingbackup.controller import sight
from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.context import Context
from weddingbackup.kube.registry import Registered
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import DataClass, Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Tier
from weddingbackup.rules.tiers import Wish
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.names import SNAPSHOTS
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.tier import Shelf, tier
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup

pytestmark = pytest.mark.integration

NAMES = ("london", "paris")


class Secrets:
    """A cluster that has the locations' Secrets and nothing else."""

    def __init__(self, credentials: dict[str, str]) -> None:
        self._data = {k: base64.b64encode(v.encode()).decode() for k, v in credentials.items()}

    async def get(self, *_: object) -> dict[str, Any]:
        return {"data": self._data}


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Classes]:
    with s3(tmp_path) as server, with_classes(server) as found:
        server.create_bucket("weddings")
        yield found


@pytest.fixture
def context(front: Classes) -> Iterator[Context]:
    bulkheads = Bulkheads()
    cluster: Any = Secrets(front.server.credentials)
    platform: Any = SimpleNamespace(namespace="home")
    yield Context(cluster, platform, bulkheads)
    bulkheads.close()


@pytest.fixture
def vault(front: Classes, tmp_path: Path) -> Registered:
    """A vault with one point at all locations; its packs lie in the archive."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.raw").write_bytes(b"one" * 100)
    kit = Kit.found()
    places = [access(front, name) for name in NAMES]
    stores = [open_store(x, front.server.credentials, prefix=kit.prefix) for x in places]
    backup(
        Vault.open(kit.keyring(), kit.objects, stores),
        JobFacts("job", "studio", "nightly", facts.NOON),
        [SourceInput("photos", DataClass.PORTFOLIO, VolumeSource(tmp_path / "photos"))],
        quorum=2,
        progress=Progress(),
    )
    shelves = {
        x.name: Shelf(
            Provider.S3,
            partial(open_keeper, x, front.server.credentials, prefix=kit.prefix),
            Wish(Tier.ARCHIVE, timedelta(0), smallest=0),
        )
        for x in places
    }
    assert tier(stores, shelves).moved
    return Registered(kit, "secret", facts.NOON)


def access(front: Classes, name: str) -> LocationAccess:
    return LocationAccess(
        name=name,
        provider=Provider.S3,
        bucket="weddings",
        prefix=name,
        endpoint=front.server.endpoint,
        region=front.server.region,
    )


def locations(front: Classes) -> list[BackupLocation]:
    return [
        facts.location(
            name,
            bucket="weddings",
            prefix=name,
            endpoint=front.server.endpoint,
            region=front.server.region,
        )
        for name in NAMES
    ]


async def test_what_is_archived_everywhere_is_away_until_it_is_at_hand_anywhere(
    front: Classes, context: Context, vault: Registered
) -> None:
    known = locations(front)
    seen = await sight.look(context, known, vault, prefix=SNAPSHOTS)
    assert (seen.silent, seen.archiving) == ([], True)
    [point] = seen.catalog.points
    [away] = await sight.away(context, known, vault, point, ["photos"])
    assert (away.source, away.seconds, away.asked) == ("photos", 5 * 3600, False)
    assert await sight.away(context, known, vault, point, ["planning"]) == []
    # Back at one location: readers take it there.
    front.back |= {name for name in front.of if "/paris/" in name}
    assert await sight.away(context, known, vault, point, ["photos"]) == []


async def test_where_all_is_at_hand_nothing_is_looked_at_twice(
    front: Classes, context: Context, vault: Registered
) -> None:
    front.of.clear()
    seen = await sight.look(context, locations(front), vault, prefix=SNAPSHOTS)
    assert not seen.archiving


async def test_a_look_that_fails_keeps_no_recovery_from_beginning(
    front: Classes, context: Context, vault: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = locations(front)
    seen = await sight.look(context, known, vault, prefix=SNAPSHOTS)
    monkeypatch.setattr(sight, "_ARCHIVED_SECONDS", 0.0)
    assert await sight.away(context, known, vault, seen.catalog.points[0], ["photos"]) == []
