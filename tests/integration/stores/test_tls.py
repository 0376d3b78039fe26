"""A server's certificate is verified, by SDK and wire alike, and a private authority can be named."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.azure import azure
from tests.servers.certificate import certificate
from tests.servers.locations import BUCKET
from tests.servers.s3 import s3
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider
from weddingbackup.stores import open_keeper, open_store, open_wire
from weddingbackup.stores.errors import UnsupportedError
from weddingbackup.stores.probe import probe

pytestmark = pytest.mark.integration


@pytest.fixture(params=[Provider.S3, Provider.AZURE])
def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[LocationAccess, dict[str, str]]]:
    run = s3 if request.param is Provider.S3 else azure
    with run(tmp_path, certificate=certificate(tmp_path, "127.0.0.1")) as server:
        server.create_bucket(BUCKET)
        access = LocationAccess(
            name="here",
            provider=request.param,
            bucket=BUCKET,
            endpoint=server.endpoint,
            region="eu-west-2",
            ca_file=server.ca_file,
        )
        yield access, server.credentials


def test_a_server_with_a_private_authority_is_used_when_it_is_named(
    place: tuple[LocationAccess, dict[str, str]],
) -> None:
    access, credentials = place
    store = open_store(access, credentials, prefix="vault")
    store.put("format", b"x", sha256=hashlib.sha256(b"x").digest())
    assert store.get("format") == b"x"
    assert [found.name for found in store.list("")] == ["format"]
    store.close()


def test_a_certificate_of_nobody_we_trust_is_refused_with_what_to_do(
    place: tuple[LocationAccess, dict[str, str]],
) -> None:
    access, credentials = place
    access = access.model_copy(update={"ca_file": None})
    store = open_store(access, credentials, prefix="vault")
    with pytest.raises(UnsupportedError, match=r"name its authority in spec\.caSecretRef"):
        store.get("format")
    with pytest.raises(UnsupportedError, match=r"name its authority in spec\.caSecretRef"):
        list(store.list(""))
    keeper = open_keeper(access, credentials)
    found = probe(keeper, open_wire(access, keeper.address))
    assert "caSecretRef" in found.message
