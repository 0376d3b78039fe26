"""What every keeper promises, and what a probe finds out."""

import hashlib
from pathlib import Path

import pytest

from tests.integration.stores.conftest import Remote
from tests.integration.stores.test_remote import put, wrong_credentials
from tests.servers.s3 import s3
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider
from weddingbackup.stores import open_keeper, open_wire
from weddingbackup.stores.api import PutIntent, SignedRequest
from weddingbackup.stores.errors import DeniedError, MissingError, TransientError
from weddingbackup.stores.probe import probe
from weddingbackup.stores.s3 import S3Keeper

pytestmark = pytest.mark.integration


def test_head_tells_an_objects_size_and_time(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"12345")
    found = remote.keeper().head("packs/one")
    assert (found.name, found.size) == ("packs/one", 5)
    assert found.modified is not None
    with pytest.raises(MissingError):
        remote.keeper().head("packs/none")


def test_listings_tell_the_checksum_that_the_provider_keeps(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"12345")
    keeper = remote.keeper()
    [listed] = keeper.list("packs/")
    assert listed.md5 == keeper.head("packs/one").md5 == hashlib.md5(b"12345").digest()
    told = keeper.head("packs/one").sha256
    assert told in {None, hashlib.sha256(b"12345").digest()}
    if remote.location.place.provider is Provider.S3:
        assert told is not None


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"one")
    put(remote.store(), "packs/one-more", b"more")
    keeper = remote.keeper()
    keeper.delete("packs/one")
    keeper.delete("packs/one")
    assert [found.name for found in keeper.list("packs/")] == ["packs/one-more"]


def test_a_vault_does_not_see_another(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"one")
    other = remote.location.open_store(remote.prefix + "-other")
    assert list(other.list("")) == []
    with pytest.raises(MissingError):
        other.get("packs/one")


def test_a_keeper_keeps_its_credentials_when_one_with_others_is_opened(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"one")
    keeper = remote.keeper()
    access = remote.location.access
    other = open_keeper(access, wrong_credentials(remote), prefix=remote.prefix)
    with pytest.raises(DeniedError):
        list(other.list(""))
    assert [found.name for found in keeper.list("")] == ["packs/one"]


def test_a_probe_finds_out_what_the_location_can_do_and_leaves_nothing(remote: Remote) -> None:
    keeper = remote.location.open_keeper()
    found = probe(keeper, remote.wire())
    assert found.message == ""
    assert (found.reachable, found.writable) == (True, True)
    assert found.latency_seconds is not None
    assert found.latency_seconds > 0
    assert found.capabilities is not None
    assert found.capabilities.create_only
    # Azure's signatures bind names only.
    assert found.capabilities.bound_checksums == (
        remote.location.place.provider is not Provider.AZURE
    )
    assert list(keeper.list("probe/")) == []


def test_a_probe_without_writing_lists(remote: Remote) -> None:
    found = probe(remote.location.open_keeper(), remote.wire(), write=False)
    assert (found.reachable, found.writable, found.message) == (True, False, "")


def test_a_probe_says_what_is_wrong(remote: Remote) -> None:
    access = remote.location.access
    denied = probe(open_keeper(access, wrong_credentials(remote)), remote.wire())
    assert (denied.reachable, denied.writable) == (True, False)
    assert isinstance(denied.error, DeniedError)
    assert "check the credentials" in denied.message

    elsewhere = access.model_copy(update={"bucket": "weddings-eu"})
    missing = probe(open_keeper(elsewhere, remote.location.credentials), remote.wire())
    assert isinstance(missing.error, MissingError)
    assert "create it" in missing.message

    remote.location.proxy.cut()
    for write in (True, False):
        cut = probe(open_keeper(access, remote.location.credentials), remote.wire(), write=write)
        assert (cut.reachable, cut.writable) == (False, False)
        assert isinstance(cut.error, TransientError)
        assert "gave no answer" in cut.message


class CarelessKeeper(S3Keeper):
    """Stands for a provider that ignores preconditions and checksums: it doesn't sign them."""

    def _sign_put(self, put: PutIntent) -> SignedRequest:
        return self._sign("PUT", put.name, {})


def test_a_location_that_overwrites_is_found_out(tmp_path: Path) -> None:
    with s3(tmp_path) as server:
        server.create_bucket("weddings")
        access = _access(server.endpoint, server.region)
        keeper = CarelessKeeper(access, server.credentials)
        found = probe(keeper, open_wire(access, keeper.address))
        assert found.capabilities is not None
        assert not found.capabilities.create_only
        assert not found.capabilities.bound_checksums
        assert "cannot hold backups" in found.message
        assert list(keeper.list("")) == []


def test_in_a_bucket_with_versions_and_locks_a_probe_says_so_and_leaves_no_version(
    tmp_path: Path,
) -> None:
    with s3(tmp_path) as server:
        server.create_bucket("weddings", object_lock=True)
        access = _access(server.endpoint, server.region)
        keeper = S3Keeper(access, server.credentials)
        found = probe(keeper, open_wire(access, keeper.address))
        assert found.capabilities is not None
        assert (found.capabilities.versioning, found.capabilities.object_lock) == (True, True)
        assert found.message == ""
        left = keeper._client.list_object_versions(Bucket="weddings")
        assert not left.get("Versions")
        assert not left.get("DeleteMarkers")


def _access(endpoint: str, region: str) -> LocationAccess:
    return LocationAccess(
        name="here", provider=Provider.S3, bucket="weddings", endpoint=endpoint, region=region
    )
