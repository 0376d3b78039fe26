"""The one manifest of a backup: announced once, and stored only where everything is that it needs."""

import hashlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

from tests.servers.broker import Broker, broker, registered
from tests.servers.locations import PLACES, Location, location
from tests.servers.toxiproxy import toxiproxy
from weddingbackup.broker.scope import Purpose, Scope
from weddingbackup.resources.broker import LARGEST_MANIFEST
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.stores.errors import MissingError
from weddingbackup.vault.index import encode_index
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.manifest import Body, IndexRef, Plain, PlainSource, encode_manifest
from weddingbackup.vault.marks import encode_mark
from weddingbackup.vault.pack import PackFacts
from weddingbackup.vault.seal import Kind

pytestmark = pytest.mark.integration

NOON = datetime(2025, 12, 6, 12, tzinfo=UTC)
JOB = "job-one"


@dataclass(frozen=True)
class Told:
    """A manifest, and what it needs: name -> bytes."""

    name: str
    data: bytes
    needs: dict[str, bytes]


class World:
    """One vault at two locations, and a broker that knows two pods of one backup of it."""

    def __init__(self, running: Broker, locations: list[Location]) -> None:
        self.broker = running
        self.locations = locations
        self.kit = Kit.found()
        scope = Scope(
            purpose=Purpose.BACKUP,
            namespace="bella",
            labels={},
            pod="first",
            pod_uid="first",
            owner=ObjectRef(namespace="bella", name="one", uid=JOB),
            job_uid="job",
            policy="wedding",
            vault=VaultRef(id=self.kit.vault_id, prefix=self.kit.prefix),
            kit=self.kit,
            classes=frozenset({DataClass.TIMELINE}),
            planned=frozenset(found.name for found in locations),
            locations={found.name: registered(found) for found in locations},
            quorum=2,
            sources={"planning": DataClass.TIMELINE},
        )
        running.jobs.scopes = {
            "first": scope,
            "second": replace(scope, pod="second", pod_uid="second"),
            "restore": replace(scope, purpose=Purpose.RESTORE),
        }
        running.jobs.announced.clear()
        access = running.access
        authority = running._certificate.path
        self.http = urllib3.PoolManager(ca_certs=str(authority), retries=False, timeout=60)
        self.url = access.url

    def manifest(
        self,
        *,
        job: str = JOB,
        quorum: int = 2,
        index_size: int | None = None,
        time: datetime = NOON,
    ) -> Told:
        keyring = self.kit.keyring()
        pack = secrets.token_bytes(1000)
        header, _ = keyring.new_seal(Kind.DATA, "Timeline", secrets.token_bytes(32))
        digest = hashlib.sha256(pack).digest()
        facts = PackFacts(header, digest, len(pack), b"")
        name, index = encode_index(keyring, Kind.DATA, "Timeline", [facts], secrets.token_bytes(32))
        ref = IndexRef(hashlib.sha256(index).digest(), index_size or len(index))
        source = PlainSource("planning", DataClass.TIMELINE, 1, 1000, (), (ref,))
        places = tuple(found.name for found in self.locations)
        plain = Plain(job, "one", NOON, NOON, time, quorum, places, (source,))
        made = encode_manifest(keyring, plain, Body("bella", ()), secrets.token_bytes(32))
        return Told(*made, {f"packs/{digest.hex()}": pack, name: index})

    def store(self, told: Told, *, without: str = "") -> None:
        """Lay everything that a manifest needs at all locations, save names that begin so."""
        for found in self.locations:
            store = found.open_store(self.kit.prefix)
            for name, data in told.needs.items():
                if not without or not name.startswith(without):
                    store.put(name, data, sha256=hashlib.sha256(data).digest())
            store.close()

    def put(
        self, told: Told, at: int = 0, *, pod: str = "first", data: bytes | None = None
    ) -> tuple[int, str]:
        """Show the broker a manifest; gives the status, and the refusal's word."""
        place = self.locations[at].name
        answer = self.http.request(
            "PUT",
            f"{self.url}/v1/locations/{place}/manifests/{told.name}",
            headers={"Authorization": f"Bearer {pod}"},
            body=told.data if data is None else data,
        )
        return answer.status, answer.json()["code"] if answer.data else ""

    def holds(self, told: Told, at: int = 0) -> bool:
        store = self.locations[at].open_store(self.kit.prefix)
        try:
            return store.get(told.name) == told.data
        except MissingError:
            return False
        finally:
            store.close()

    def age(self, seconds: float) -> None:
        """Let so much time go by since the announcement."""
        told = self.broker.jobs.announced[JOB]
        aged = told.model_copy(update={"at": told.at - timedelta(seconds=seconds)})
        self.broker.jobs.announced[JOB] = aged


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, list[Location]]]:
    directory = tmp_path_factory.mktemp("broker")
    with (
        toxiproxy(directory) as through,
        location(PLACES[0], directory / "a", through) as first,
        location(PLACES[1], directory / "b", through) as second,
        broker({x.name: x for x in (first, second)}, directory / "broker") as running,
    ):
        yield running, [first, second]


@pytest.fixture
def world(places: tuple[Broker, list[Location]]) -> Iterator[World]:
    world = World(*places)
    yield world
    world.http.clear()


def test_a_whole_backups_manifest_is_stored_once_and_again(world: World) -> None:
    told = world.manifest()
    world.store(told)
    assert world.put(told) == (204, "")
    assert world.put(told) == (204, "")
    assert world.holds(told)
    assert not world.holds(told, at=1)
    assert world.put(told, at=1) == (204, "")
    assert world.broker.jobs.announced[JOB].name == told.name


@pytest.mark.parametrize("without", ["packs/", "index/"])
def test_a_manifest_does_not_lie_where_anything_of_it_is_missing(
    world: World, without: str
) -> None:
    told = world.manifest()
    world.store(told, without=without)
    assert world.put(told) == (404, "Missing")
    assert not world.holds(told)


@pytest.mark.parametrize("marked", ["packs/", "index/", "snapshots/"])
def test_a_manifest_does_not_lie_where_anything_of_it_is_about_to_go(
    world: World, marked: str
) -> None:
    told = world.manifest()
    world.store(told)
    going = next(name for name in (*told.needs, told.name) if name.startswith(marked))
    mark, data = encode_mark(NOON, [going, f"packs/{secrets.token_hex(32)}"])
    store = world.locations[0].open_store(world.kit.prefix)
    store.put(mark, data, sha256=hashlib.sha256(data).digest())
    store.close()
    assert world.put(told) == (404, "Missing")
    assert not world.holds(told)
    world.locations[0].open_keeper(world.kit.prefix).delete(mark)
    assert world.put(told) == (204, "")


def test_a_mark_that_cannot_be_read_may_mark_anything(world: World) -> None:
    told = world.manifest()
    world.store(told)
    name, _ = encode_mark(NOON, [f"packs/{secrets.token_hex(32)}"])
    store = world.locations[0].open_store(world.kit.prefix)
    store.put(name, b"rotten", sha256=hashlib.sha256(b"rotten").digest())
    store.close()
    assert world.put(told) == (422, "Corrupt")
    assert world.put(told, at=1) == (204, "")


def test_a_pack_of_another_size_is_none(world: World) -> None:
    told = world.manifest()
    pack = next(iter(told.needs))
    world.store(told, without="packs/")
    store = world.locations[0].open_store(world.kit.prefix)
    store.put(pack, b"short", sha256=hashlib.sha256(b"short").digest())
    store.close()
    assert world.put(told) == (404, "Missing")


def test_other_bytes_than_the_name_says_are_refused(world: World) -> None:
    told = world.manifest()
    world.store(told)
    assert world.put(told, data=told.data + b"x") == (422, "Corrupt")
    assert JOB not in world.broker.jobs.announced


def test_a_manifest_of_another_job_or_promise_is_refused(world: World) -> None:
    for told in (world.manifest(job="job-two"), world.manifest(quorum=1)):
        world.store(told)
        assert world.put(told) == (403, "NotYours")
    own, world.kit = world.kit, Kit.found()  # another vault's manifest, of this very job
    told = world.manifest()
    world.kit = own
    world.store(told)
    assert world.put(told) == (403, "NotYours")
    assert JOB not in world.broker.jobs.announced


def test_a_manifest_of_the_future_is_refused(world: World) -> None:
    told = world.manifest(time=datetime.now(UTC) + timedelta(hours=1))
    world.store(told)
    assert world.put(told) == (400, "BadRequest")
    assert JOB not in world.broker.jobs.announced
    near = world.manifest(time=datetime.now(UTC) + timedelta(minutes=1))
    world.store(near)
    assert world.put(near) == (204, "")


def test_a_restore_stores_no_manifest(world: World) -> None:
    told = world.manifest()
    world.store(told)
    assert world.put(told, pod="restore") == (403, "NotYours")


def test_one_pod_makes_one_manifest(world: World) -> None:
    first, second = world.manifest(), world.manifest()
    world.store(first)
    world.store(second)
    assert world.put(first) == (204, "")
    world.age(3600)
    assert world.put(second, at=1) == (409, "Exists")
    assert not world.holds(second, at=1)


def test_a_successor_waits_and_then_replaces_what_lies_nowhere(world: World) -> None:
    first, second = world.manifest(), world.manifest()
    world.store(second)
    assert world.put(first)[0] == 404  # announced, and never stored: its pod died here
    assert world.put(second, pod="second") == (503, "Transient")
    world.age(121)
    assert world.put(second, pod="second") == (204, "")
    assert world.broker.jobs.announced[JOB].name == second.name
    assert world.put(first)[0] == 503


def test_a_successor_replaces_nothing_that_may_be_committed(world: World) -> None:
    first, second = world.manifest(), world.manifest()
    world.store(first)
    world.store(second)
    for at in (0, 1):
        assert world.put(first, at=at) == (204, "")
    world.age(3600)
    assert world.put(second, pod="second") == (409, "Exists")
    assert world.put(first, pod="second") == (204, "")  # to adopt it is as good


def test_a_location_that_was_planned_and_is_gone_may_hold_it(world: World) -> None:
    scopes = world.broker.jobs.scopes
    for pod in ("first", "second"):
        scopes[pod] = replace(scopes[pod], planned=scopes[pod].planned | {"gone"})
    first, second = world.manifest(), world.manifest()
    world.store(first)
    world.store(second)
    assert world.put(first, at=0) == (204, "")
    world.age(3600)
    assert world.put(second, pod="second", at=1) == (409, "Exists")


def test_a_location_that_is_silent_may_hold_it(world: World) -> None:
    first, second = world.manifest(), world.manifest()
    world.store(first)
    world.store(second)
    assert world.put(first, at=0) == (204, "")
    world.age(3600)
    cut = [found.proxy for found in world.locations]
    try:
        for proxy in cut:
            proxy.cut()
        assert world.put(second, pod="second") == (409, "Exists")
    finally:
        for proxy in cut:
            proxy.heal()


def test_an_old_announcement_is_made_anew_before_anything_is_stored_by_it(world: World) -> None:
    told = world.manifest()
    world.store(told)
    assert world.put(told) == (204, "")
    world.age(100)
    assert world.put(told, at=1) == (204, "")
    assert world.put(world.manifest(), pod="second") == (503, "Transient")
    age = datetime.now(UTC) - world.broker.jobs.announced[JOB].at
    assert age < timedelta(seconds=90)


def test_of_two_that_race_one_is_announced(world: World) -> None:
    both = [world.manifest(), world.manifest()]
    for told in both:
        world.store(told)
    with ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(
                lambda x: world.put(x[0], pod=x[1]), zip(both, ("first", "second"), strict=True)
            )
        )
    assert sorted(status for status, _ in answers) == [204, 503]
    assert [world.holds(told) for told in both] == [status == 204 for status, _ in answers]


def test_an_index_that_would_not_fit_the_broker_is_not_read(world: World) -> None:
    told = world.manifest(index_size=1 << 30)
    assert world.put(told) == (413, "TooMuch")


def test_a_body_that_is_too_large_is_refused_before_it_comes(world: World) -> None:
    answer = world.http.request(
        "PUT",
        f"{world.url}/v1/locations/{world.locations[0].name}/manifests/{world.manifest().name}",
        headers={
            "Authorization": "Bearer first",
            "Content-Length": str(LARGEST_MANIFEST + 1),
        },
        body=b"",
    )
    assert (answer.status, answer.json()["code"]) == (413, "TooMuch")


def test_a_flood_at_a_location_that_hangs_holds_up_nobody_elsewhere(world: World) -> None:
    hanging, other = world.locations
    url = f"{world.url}/v1/locations/{hanging.name}/objects?prefix=packs/"

    def ask(_: int) -> int:
        http = urllib3.PoolManager(
            ca_certs=str(world.broker._certificate.path), retries=False, timeout=5
        )
        try:
            return http.request("GET", url, headers={"Authorization": "Bearer first"}).status
        except urllib3.exceptions.TimeoutError:
            return 0
        finally:
            http.clear()

    hanging.proxy.toxic("timeout", "downstream", timeout=0)
    try:
        with ThreadPoolExecutor(40) as threads:
            flood = [threads.submit(ask, n) for n in range(40)]
            next(as_completed(flood))  # the first is turned away
            puts = [
                {"location": other.name, "name": "packs/" + "0" * 64, "size": 1, "sha256": "0" * 64}
            ]
            answer = world.http.request(
                "POST",
                f"{world.url}/v1/sign",
                headers={"Authorization": "Bearer second"},
                json={"puts": puts},
            )
            assert answer.json()["puts"][0]["signed"]["method"] == "PUT"
            assert not all(each.done() for each in flood)
        statuses = [each.result() for each in flood]
    finally:
        hanging.proxy.heal()
    assert 429 in statuses
    assert 200 not in statuses
