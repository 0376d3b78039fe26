"""What the shared suite is run against: each provider at a real server, as whoever holds its
credentials has it and as a worker has it through a broker, and a directory.
"""

import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.core.pipeline.transport import HttpTransport
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from tests.servers.azure import azure
from tests.servers.broker import Broker, broker, registered, token_for
from tests.servers.certificate import certificate
from tests.servers.fixtures import locations as locations  # noqa: PLC0414  a fixture
from tests.servers.gcs import ACCOUNT, GCS, HMAC
from tests.servers.identity import CLIENT, Service, entra, iam
from tests.servers.locations import BUCKET, PLACES, Location
from tests.servers.toxiproxy import toxiproxy
from weddingbackup.broker.scope import Purpose, Scope
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import LocationAccess, ObjectRef, VaultRef
from weddingbackup.stores import DirectoryStore, gcs, open_wire
from weddingbackup.stores.api import Keeper, Store
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire
from weddingbackup.stores.wirestore import WireStore
from weddingbackup.vault.kit import Kit
from weddingbackup.worker.brokered import BrokeredStore, opened
from weddingbackup.worker.client import Client

_REMOTE = {"S3": "london", "R2": "paris", "GCS": "zurich", "Azure": "dublin"}
_DELEGATED = "Azure by delegation"
_VARIANTS = ["GCS by HMAC", "GCS by signBlob", _DELEGATED]
_BROKERED = {
    "S3 by a broker": "london",
    "GCS by a broker": "zurich",
    "Azure by a broker": "dublin",
}
IN_THE_CLEAR = [*_REMOTE, *_VARIANTS[:-1]]
"""Those without TLS, whose answers can be cut off without cutting off the handshake."""


@dataclass(frozen=True)
class Remote:
    """A location, with a vault prefix that no other test uses.

    Attributes:
        direct: credentials that work when the proxy does not.
    """

    location: Location
    prefix: str
    direct: Mapping[str, str]

    def keeper(self) -> Keeper:
        return self.location.open_keeper(self.prefix)

    def wire(self) -> Wire:
        return open_wire(self.location.access, "the bucket")

    def store(self, *, on_pause: Callable[[], None] | None = None) -> WireStore:
        """A store.

        Args:
            on_pause: called in place of each pause before another try; without it, pauses are short.
        """
        if on_pause is None:
            return self.location.open_store(self.prefix, retry=Retry(first_seconds=0.05))
        return self.location.open_store(self.prefix, retry=Retry(sleep=lambda _: on_pause()))

    def store_that_gives_up(self) -> WireStore:
        """A store that has time for no second try."""
        return self.location.open_store(self.prefix, retry=Retry(deadline_seconds=0))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs try again as ever, but without their pauses: a location that is cut off stays so."""
    monkeypatch.setattr(HttpTransport, "sleep", lambda _, __: None)
    shorter = gcs._RETRY.with_delay(initial=0.05, maximum=0.1).with_timeout(0.5)
    monkeypatch.setattr(gcs, "_RETRY", shorter)


@pytest.fixture(scope="session")
def delegating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Location, Service]]:
    """An Azure location that knows an application beside the account's key, and who logs it in."""
    directory = tmp_path_factory.mktemp("delegating")
    made = certificate(directory, "127.0.0.1")
    with (
        entra(made) as login,
        azure(directory, certificate=made) as server,
        toxiproxy(directory) as through,
    ):
        server.create_bucket(BUCKET)
        proxy = through.proxy("delegating", server.endpoint)
        place = PLACES[-1]
        access = LocationAccess(
            name=place.name,
            provider=place.provider,
            bucket=BUCKET,
            endpoint=proxy.in_front_of(server.endpoint),
            region=place.region,
            ca_file=server.ca_file,
        )
        credentials = {"accountName": server.account, **CLIENT, "authorityHost": login.url}
        yield Location(place, access, credentials, proxy, server), login


@pytest.fixture
def signing(
    locations: list[Location], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """Google's signBlob, and Application Default Credentials that may use it."""
    [server] = [found.server for found in locations if isinstance(found.server, GCS)]
    key_file = tmp_path / "application-default.json"
    key_file.write_text(json.dumps(server.service_account()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    # They would ask Google where the data may rest.
    kind = service_account.Credentials
    monkeypatch.setattr(kind, "_is_regional_access_boundary_lookup_required", lambda _: False)
    holder = kind.from_service_account_file(  # type: ignore[no-untyped-call]
        str(key_file), scopes=["x"]
    )
    holder.refresh(Request())
    with iam(ACCOUNT, server.key, holder.token) as service:
        monkeypatch.setattr(gcs, "_SIGN_BLOB", service.url)
        yield service


@pytest.fixture(params=[*_REMOTE, *_VARIANTS])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Each provider and way of signing, reached through a proxy without faults."""
    return _remote(request, request.param, monkeypatch)


@pytest.fixture(scope="session")
def signer(locations: list[Location], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for the workers of all locations."""
    named = {location.name: location for location in locations}
    with broker(named, tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(params=[*_REMOTE, *_VARIANTS, *_BROKERED, "directory"])
def both(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Store, Store]]:
    """`store` and `owner`."""
    if (name := _BROKERED.get(request.param)) is not None:
        locations: list[Location] = request.getfixturevalue("locations")
        [location] = [found for found in locations if found.name == name]
        location.proxy.heal()
        with _brokered(request.getfixturevalue("signer"), location, tmp_path) as stores:
            yield stores
        return
    if request.param == "directory":
        store: Store = DirectoryStore(tmp_path / "store")
    else:
        store = _remote(request, request.param, monkeypatch).store()
    yield store, store


@pytest.fixture
def store(both: tuple[Store, Store]) -> Store:
    """An empty store of each kind."""
    return both[0]


@pytest.fixture
def owner(both: tuple[Store, Store]) -> Store:
    """The same place for whoever may put any bytes under any name."""
    return both[1]


@contextmanager
def _brokered(
    signer: Broker, location: Location, directory: Path
) -> Iterator[tuple[BrokeredStore, WireStore]]:
    """The vault of a new backup as its worker has it at this location, and as its owner has it."""
    kit = Kit.found()
    vault = VaultRef(id=kit.vault_id, prefix=kit.prefix)
    token = token_for(kit.vault_id)
    (directory / "token").write_text(token)
    signer.jobs.scopes[token] = Scope(
        purpose=Purpose.BACKUP,
        namespace="bella",
        labels={},
        pod="worker",
        pod_uid=kit.vault_id,
        owner=ObjectRef(namespace="bella", name="one", uid=kit.vault_id),
        job_uid=kit.vault_id,
        policy="wedding",
        vault=vault,
        kit=kit,
        classes=frozenset({DataClass.TIMELINE}),
        planned=frozenset({location.name}),
        locations={location.name: registered(location)},
        quorum=1,
        sources={"planning": DataClass.TIMELINE},
    )
    with opened(Client(signer.access, directory / "token"), vault) as found:
        [store] = found.stores
        assert isinstance(store, BrokeredStore)
        yield store, location.open_store(kit.prefix)


def _remote(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
    prefix = f"vault-{secrets.token_hex(8)}"
    if kind == _DELEGATED:
        location, _ = request.getfixturevalue("delegating")
        # Who logs in is verified by the system's authorities, whatever the location's are.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", location.access.ca_file)
        location.proxy.heal()
        return Remote(location, prefix, location.credentials)
    provider = kind.partition(" ")[0]
    locations: list[Location] = request.getfixturevalue("locations")
    [location] = [found for found in locations if found.name == _REMOTE[provider]]
    location.proxy.heal()
    direct = location.server.credentials
    if kind == "GCS by HMAC":
        location = dataclasses.replace(location, credentials={**location.credentials, **HMAC})
        direct = {**direct, **HMAC}
    elif kind == "GCS by signBlob":
        request.getfixturevalue("signing")
        direct = {"serviceAccountEmail": ACCOUNT}
        location = dataclasses.replace(location, credentials=direct)
    return Remote(location, prefix, direct)
