"""The ways to sign without a key at hand: Google's signBlob, and Azure's keys by delegation."""

import dataclasses
import hashlib
import threading
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.stores.conftest import Remote
from tests.servers.gcs import ACCOUNT, GCS, HMAC
from tests.servers.identity import CLIENT, Service
from tests.servers.locations import Location
from weddingbackup.stores import open_keeper
from weddingbackup.stores.api import PutIntent
from weddingbackup.stores.errors import (
    DeniedError,
    StoreError,
    TransientError,
    UnsupportedError,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def zurich(locations: list[Location]) -> Location:
    [location] = [found for found in locations if isinstance(found.server, GCS)]
    location.proxy.heal()
    return location


def intents(count: int) -> list[PutIntent]:
    digest = hashlib.md5(b"", usedforsecurity=False).digest()
    return [PutIntent(f"packs/{number}", 0, bytes(32), digest) for number in range(count)]


# Google


def by_iam(location: Location) -> Location:
    return dataclasses.replace(location, credentials={"serviceAccountEmail": ACCOUNT})


def test_a_batch_is_signed_at_once_though_google_signs_one_at_a_time(
    zurich: Location, signing: Service
) -> None:
    keeper = by_iam(zurich).open_keeper("vault")
    signing.together = threading.Barrier(32, timeout=60)
    signed = keeper.sign_puts(intents(64))
    assert [urlsplit(one.url).path for one in signed] == [
        f"/weddings/vault/packs/{number}" for number in range(64)
    ]
    assert len(signing.asked) == 64
    keeper.close()


@pytest.mark.parametrize(
    ("status", "kind"), [(403, DeniedError), (429, TransientError), (503, TransientError)]
)
def test_what_iam_refuses_has_its_type_and_says_on_whose_behalf(
    zurich: Location, signing: Service, status: int, kind: type[StoreError]
) -> None:
    signing.refuse = status
    with pytest.raises(kind, match=f"signing as {ACCOUNT}"):
        by_iam(zurich).open_keeper().sign_gets(["format"])


@pytest.mark.usefixtures("signing")
def test_an_account_that_is_not_there_is_no_missing_object(zurich: Location) -> None:
    credentials = {"serviceAccountEmail": "nobody@weddings.iam.gserviceaccount.com"}
    with pytest.raises(DeniedError, match="signing as nobody@weddings"):
        open_keeper(zurich.access, credentials).sign_gets(["format"])


@pytest.mark.usefixtures("signing")
def test_beside_an_hmac_key_application_default_credentials_list(zurich: Location) -> None:
    keeper = open_keeper(zurich.access, HMAC)
    assert "GOOG4-HMAC-SHA256" in keeper.sign_gets(["format"])[0].url
    assert list(keeper.list("nothing/")) == []


def test_no_credentials_at_all_are_said_to_be_missing(
    zurich: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(UnsupportedError, match=r"no serviceAccount\.json"):
        open_keeper(zurich.access, {"serviceAccountEmail": ACCOUNT})


# Azure


@pytest.fixture
def dublin(
    delegating: tuple[Location, Service], monkeypatch: pytest.MonkeyPatch
) -> tuple[Remote, Service]:
    location, login = delegating
    assert location.access.ca_file
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", location.access.ca_file)
    location.proxy.heal()
    login.asked.clear()
    return Remote(location, "vault", location.credentials), login


def query(url: str) -> Mapping[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def test_one_login_and_one_key_sign_everything_and_each_request_has_one_right(
    dublin: tuple[Remote, Service],
) -> None:
    remote, login = dublin
    keeper = remote.keeper()
    puts, gets = keeper.sign_puts(intents(3)), keeper.sign_gets(["packs/1"])
    assert len(login.asked) == 1
    assert {query(put.url)["sp"][0] for put in puts} == {"c"}
    assert query(gets[0].url)["sp"] == ["r"]
    assert {query(one.url)["skoid"][0] for one in (*puts, *gets)} == {"an-object-id"}
    assert len({query(one.url)["ske"][0] for one in (*puts, *gets)}) == 1


def test_workload_identity_logs_in_with_the_pods_token(
    dublin: tuple[Remote, Service],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    remote, login = dublin
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("federated")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_TENANT_ID", CLIENT["tenantId"])
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT["clientId"])
    credentials = {
        name: remote.location.credentials[name] for name in ("accountName", "authorityHost")
    }
    keeper = open_keeper(remote.location.access, credentials)
    assert query(keeper.sign_gets(["format"])[0].url)["skoid"] == ["an-object-id"]
    assert [form["client_assertion"] for form in login.asked] == ["federated"]


def test_without_key_and_identity_it_is_said_what_is_missing(
    dublin: tuple[Remote, Service],
) -> None:
    with pytest.raises(UnsupportedError, match="location dublin makes no sense"):
        open_keeper(dublin[0].location.access, {"accountName": "weddings"})
