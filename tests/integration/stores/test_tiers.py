"""What every keeper promises of tiers, each at a server that has them.

S3 and R2 stand behind `tests.servers.classes`, since versitygw keeps everything in STANDARD; GCS's
server forgets the class of a rewrite, which our handler in front of it puts right; Azurite has the
tiers and refuses what is archived, but what is asked back is there at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.stores.conftest import Remote
from tests.integration.stores.test_remote import put
from tests.servers.classes import Classes, with_classes
from tests.servers.locations import Location
from tests.servers.s3 import S3, s3
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules import tiers
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.stores.api import Keeper, ObjectInfo
from weddingbackup.stores.errors import (
    ArchivedError,
    MissingError,
    UnsupportedError,
)
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.s3 import S3Keeper
from weddingbackup.stores.wirestore import WireStore

pytestmark = pytest.mark.integration

NAME = "packs/one"


@dataclass(frozen=True)
class Tiered:
    """A vault at a location with tiers. `arrive` lets come what was asked back."""

    provider: Provider
    keeper: Keeper
    store: WireStore
    arrive: Callable[[], None]

    def listed(self) -> ObjectInfo:
        [found] = self.keeper.list(NAME)
        told = self.keeper.head(NAME)
        assert (told.tier, told.at_hand, told.returning) == (
            found.tier,
            found.at_hand,
            found.returning,
        )
        return found


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classes]:
    with s3(tmp_path_factory.mktemp("classes"), region="auto") as server:
        server.create_bucket("weddings")
        with with_classes(server) as found:
            yield found


@pytest.fixture(params=["S3", "R2", "GCS", "Azure"])
def tiered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tiered]:
    prefix = f"vault-{tmp_path.name}".lower().translate({ord(x): "-" for x in "[]_"})
    provider = Provider(request.param)
    arrive: Callable[[], None] = lambda: None  # noqa: E731  typed
    if provider in {Provider.S3, Provider.R2}:
        front: Classes = request.getfixturevalue("classes")
        access, credentials = _access(front.server, provider), front.server.credentials
        arrive = front.arrive
    else:
        location = _location(request, provider)
        location.proxy.heal()
        access, credentials = location.access, dict(location.credentials)
    keeper = open_keeper(access, credentials, prefix=prefix)
    store = open_store(access, credentials, prefix=prefix, retry=Retry(first_seconds=0.05))
    yield Tiered(provider, keeper, store, arrive)
    store.close()
    keeper.close()


def test_each_tier_that_a_provider_has_is_listed_as_it_was_set(tiered: Tiered) -> None:
    put(tiered.store, NAME, b"12345")
    assert tiered.listed().tier is Tier.HOT
    for one in tiers.CLASSES[tiered.provider]:
        if not one.return_seconds:
            tiered.keeper.set_tier(NAME, one.tier)
            found = tiered.listed()
            assert (found.tier, found.at_hand, found.size) == (one.tier, True, 5)
            assert tiered.store.get(NAME) == b"12345"


def test_what_is_archived_says_so_and_can_be_read_once_it_is_back(tiered: Tiered) -> None:
    put(tiered.store, NAME, b"12345")
    tiered.keeper.set_tier(NAME, Tier.DEEP_ARCHIVE)
    coldest = tiers.CLASSES[tiered.provider][-1]
    found = tiered.listed()
    assert (found.tier, found.at_hand, found.returning) == (
        coldest.tier,
        not coldest.return_seconds,
        False,
    )
    if coldest.return_seconds:
        for part in ({}, {"offset": 1, "length": 2}):
            with pytest.raises(ArchivedError, match="archived"):
                tiered.store.get(NAME, **part)
    tiered.keeper.request_return(NAME)
    tiered.keeper.request_return(NAME)  # again is no error
    if tiered.provider is Provider.S3:
        assert tiered.listed().returning
        assert not tiered.listed().at_hand
        with pytest.raises(ArchivedError):
            tiered.keeper.set_tier(NAME, Tier.HOT)
    tiered.arrive()
    assert tiered.listed().at_hand
    assert tiered.store.get(NAME) == b"12345"
    tiered.keeper.set_tier(NAME, Tier.HOT)
    found = tiered.listed()
    assert (found.tier, found.at_hand, found.returning) == (Tier.HOT, True, False)
    tiered.keeper.request_return(NAME)  # nothing to come back from: no error either


def test_an_object_that_is_gone_is_missing_and_is_not_made_anew(tiered: Tiered) -> None:
    put(tiered.store, NAME, b"12345")
    tiered.keeper.delete(NAME)
    with pytest.raises(MissingError):
        tiered.keeper.set_tier(NAME, Tier.COOL)
    if tiers.CLASSES[tiered.provider][-1].return_seconds:
        with pytest.raises(MissingError):
            tiered.keeper.request_return(NAME)
    assert list(tiered.keeper.list("")) == []


def test_a_moved_object_still_cannot_be_overwritten(tiered: Tiered) -> None:
    put(tiered.store, NAME, b"12345")
    tiered.keeper.set_tier(NAME, Tier.COOL)
    put(tiered.store, NAME, b"12345")  # the same bytes: there already
    assert tiered.listed().tier is Tier.COOL


def test_every_provider_tells_the_tier_of_what_it_lists(remote: Remote) -> None:
    put(remote.store(), NAME, b"12345")
    [found] = remote.keeper().list("")
    assert (found.tier, found.at_hand, found.returning) == (Tier.HOT, True, False)
    assert found.since is not None


def test_a_bucket_with_an_object_lock_is_refused_and_left_alone(tmp_path: Path) -> None:
    with s3(tmp_path) as server:
        server.create_bucket("weddings", object_lock=True)
        keeper, store = _open(server)
        put(store, NAME, b"12345")
        with pytest.raises(UnsupportedError, match="lifecycle"):
            keeper.set_tier(NAME, Tier.COOL)
        left = keeper._client.list_object_versions(Bucket="weddings")
        assert len(left["Versions"]) == 1


def test_old_versions_of_a_moved_object_are_removed(tmp_path: Path) -> None:
    with s3(tmp_path) as server, with_classes(server) as front:
        server.create_bucket("weddings")
        keeper, store = _open(front.server)
        keeper._client.put_bucket_versioning(
            Bucket="weddings", VersioningConfiguration={"Status": "Enabled"}
        )
        put(store, NAME, b"12345")
        put(store, NAME + "-more", b"12345")
        # What a copy onto itself leaves, which this server cannot do.
        keeper._client.put_object(Bucket="weddings", Key=NAME, Body=b"12345")
        keeper.set_tier(NAME, Tier.COOL)
        left = keeper._client.list_object_versions(Bucket="weddings")["Versions"]
        assert sorted((x["Key"], x["IsLatest"]) for x in left) == [
            (NAME, True),
            (NAME + "-more", True),
        ]
        assert store.get(NAME) == b"12345"


def _location(request: pytest.FixtureRequest, provider: Provider) -> Location:
    locations: list[Location] = request.getfixturevalue("locations")
    [location] = [x for x in locations if x.place.provider is provider]
    return location


def _open(server: S3) -> tuple[S3Keeper, WireStore]:
    access = _access(server, Provider.S3)
    store = open_store(access, server.credentials, prefix="", retry=Retry(first_seconds=0.05))
    return S3Keeper(access, server.credentials), store


def _access(server: S3, provider: Provider) -> LocationAccess:
    return LocationAccess(
        name="here",
        provider=provider,
        bucket="weddings",
        endpoint=server.endpoint,
        region=server.region,
    )
