"""Each location has a keeper of its own, by its credentials as they are now; each vault its own names."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests import objects
from weddingbackup.broker import keeping
from weddingbackup.broker.keeping import Keeping, Vaulted
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores.api import ObjectInfo

LONDON = BackupLocation.model_validate(objects.location("london"))
PARIS = BackupLocation.model_validate(objects.location("paris"))


@dataclass(frozen=True)
class Keeper:
    """Knows what it was opened with, and what it was asked to list; nothing is sent here."""

    bucket: str
    secret: str
    address = "bucket"

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (ObjectInfo(name, 1, None) for name in NAMES if name.startswith(prefix))

    def close(self) -> None:
        pass


NAMES = ("mine/packs/a", "mine/packs/b", "mine-too/packs/c", "packs/d")


class Town:
    """Locations whose credentials and buckets change; the broker's clock stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0
        self.bucket = "weddings"
        self.secret = "first"
        self.kept = Keeping(self.credentials, clock=lambda: self.time)

    async def credentials(
        self, location: BackupLocation
    ) -> tuple[LocationAccess, Mapping[str, str]]:
        name = location.metadata.name
        access = LocationAccess(name=name, provider=Provider.S3, bucket=self.bucket, region="r")
        return access, {"secret": f"{self.secret} of {name}"}

    async def keeper(self, location: BackupLocation = LONDON) -> Keeper:
        def look(vaulted: Vaulted) -> Keeper:
            found = vaulted.keeper
            assert isinstance(found, Keeper)
            return found

        return await self.kept.run(location, "mine", look, organisation="a", seconds=30)


@pytest.fixture
async def town(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    def open_keeper(access: LocationAccess, credentials: Mapping[str, str]) -> Keeper:
        return Keeper(access.bucket, credentials["secret"])

    monkeypatch.setattr(keeping, "open_keeper", open_keeper)
    monkeypatch.setattr(keeping, "open_wire", lambda *_, **__: Keeper("", ""))
    town = Town()
    yield town
    town.kept.close()


async def test_no_location_is_worked_with_by_anothers_credentials(town: Town) -> None:
    for location in (LONDON, PARIS, LONDON, PARIS):
        assert (await town.keeper(location)).secret == f"first of {location.metadata.name}"


async def test_credentials_that_were_changed_are_taken_within_a_minute(town: Town) -> None:
    before = await town.keeper()
    town.secret = "second"
    assert await town.keeper() is before
    town.time += keeping._FRESH_SECONDS
    assert (await town.keeper()).secret == "second of london"


async def test_a_location_that_was_changed_is_opened_anew_at_once(town: Town) -> None:
    await town.keeper()
    town.bucket = "another"
    metadata = LONDON.metadata.model_copy(update={"generation": LONDON.metadata.generation + 1})
    changed = LONDON.model_copy(update={"metadata": metadata})
    assert (await town.keeper(changed)).bucket == "another"


async def test_a_listing_shows_the_vaults_own_objects_by_their_names_in_it(town: Town) -> None:
    """And not those of a vault whose prefix begins so."""
    found = await town.kept.run(
        LONDON, "mine", lambda v: list(v.list("")), organisation="a", seconds=30
    )
    assert [info.name for info in found] == ["packs/a", "packs/b"]
