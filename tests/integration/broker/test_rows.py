"""Rows of a shared database by way of the broker: the same as read directly, and nobody else's."""

import http.client
import io
import json
import secrets
import ssl
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.demo import platform
from tests.integration.sources.database import Database, read, save
from tests.integration.sources.test_postgres_fence import (
    OURS,
    THEIRS,
    VENDOR,
    chosen,
    fence_of,
    fetch,
)
from tests.servers.broker import Broker, Jobs
from tests.servers.fixtures import postgres
from tests.servers.postgres import Postgres
from tests.servers.process import wait_until
from weddingbackup.broker import rows as broker_rows
from weddingbackup.broker.rows import SharedRows
from weddingbackup.broker.scope import Purpose, Scope
from weddingbackup.resources.broker import RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import PostgresSource, pack, pack_directory, unpack
from weddingbackup.stores import DirectoryStore
from weddingbackup.stores.retry import Retry
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup
from weddingbackup.worker.client import PATIENCE, Client
from weddingbackup.worker.errors import BrokerError
from weddingbackup.worker.rows import put_back, shared_source

__all__ = ["postgres"]

pytestmark = pytest.mark.integration

Clients = Callable[[str], Client]


@pytest.fixture
def database(postgres: Postgres) -> Database:
    found = Database(postgres, postgres.create_database(f"test_{secrets.token_hex(6)}"))
    platform.create(found.uri, weddings=7)
    return found


class Shared:
    """One shared database, for any job of organisation VENDOR."""

    uri = ""

    async def rows(self, _scope: Scope, _source: str) -> SharedRows:
        return SharedRows(self.uri, chosen(), fence_of(VENDOR))


SHARED = Shared()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    jobs = Jobs({}, databases=SHARED)
    for purpose in Purpose:
        jobs.scopes[purpose] = Scope(
            purpose=purpose,
            namespace="bella",
            labels={},
            pod=purpose,
            pod_uid=purpose,
            owner=ObjectRef(namespace="bella", name="job", uid="job"),
            job_uid="job",
            policy="w",
            vault=VaultRef(id="v", prefix="v"),
            kit=Kit.found(),
            classes=frozenset({DataClass.TIMELINE}),
            planned=frozenset(),
            locations={},
            quorum=0,
            sources={"planning": DataClass.TIMELINE},
        )
    served = Broker(jobs, tmp_path_factory.mktemp("broker"))
    served.start()
    yield served
    served.stop()


@pytest.fixture
def served(running: Broker, database: Database) -> Broker:
    SHARED.uri = database.uri
    return running


@pytest.fixture
def client(served: Broker, tmp_path: Path) -> Iterator[Callable[[str], Client]]:
    made: list[Client] = []

    def make(token: str) -> Client:
        file = tmp_path / f"token-{token}"
        file.write_text(token)
        made.append(Client(served.access, file, patience=Retry(deadline_seconds=10)))
        return made[-1]

    yield make
    for each in made:
        each._pool.clear()


def test_rows_come_the_same_by_either_road(
    database: Database, client: Clients, tmp_path: Path
) -> None:
    source = shared_source(client("backup"), "planning", tmp_path)
    with PostgresSource(database.uri, chosen(), fence_of(VENDOR)) as direct:
        wanted = read(direct)
    assert {k: v for k, v in read(source).items() if k != b"meta.json"} == {
        k: v for k, v in wanted.items() if k != b"meta.json"
    }
    assert source.facts()["rows"] == sum(
        data.count(b"\n") for k, data in wanted.items() if k != b"meta.json"
    )


class Tar:
    """A broker that has this tar alone."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    def get_rows(self, _source: str, into: Path) -> None:
        self.asked += 1
        into.write_bytes(self.data)

    def put_rows(self, _source: str, from_: Path) -> object:
        raise NotImplementedError


def test_a_vault_cannot_tell_the_roads_apart(database: Database, tmp_path: Path) -> None:
    database.run(f"""
        INSERT INTO messages (id, wedding_id, sender, body, sent_at)
        SELECT gen_random_uuid(), '{OURS}', 'x', repeat(md5(n::text), 100), now()
        FROM generate_series(1, 500) n
    """)
    kit = Kit.found()
    found = Vault.open(kit.keyring(), kit.objects, [DirectoryStore(tmp_path / n) for n in "ab"])
    found.init()
    with PostgresSource(database.uri, chosen(), fence_of(VENDOR)) as direct:
        shared = shared_source(Tar(b"".join(pack(direct))), "planning", tmp_path)  # type: ignore[arg-type]
        new = []
        for number, source in enumerate((direct, shared)):
            assert source.root() == direct.root()
            for path in (b"", b"tables"):
                assert source.children(path) == direct.children(path)
            assert source.facts() == json.loads(json.dumps(direct.facts()))
            assert source.estimate() == direct.estimate()
            job = JobFacts(uid=str(number), namespace="n", name="n", scheduled_at=datetime.now(UTC))
            given = SourceInput("planning", DataClass.TIMELINE, source)
            new.append(backup(found, job, [given], quorum=2, progress=Progress()).sources[0])
    assert new[0].new_bytes > 100_000
    assert new[1].new_bytes == 0


@pytest.mark.parametrize("cut", [0, 511, 5000, -1025, -1536])
def test_a_tar_that_breaks_off_is_asked_for_again_and_never_taken(
    database: Database, tmp_path: Path, cut: int
) -> None:
    with PostgresSource(database.uri, chosen(), fence_of(VENDOR)) as direct:
        short = Tar(b"".join(pack(direct))[:cut])
    with pytest.raises(SourceUnavailableError, match="broke off"):
        shared_source(short, "planning", tmp_path)  # type: ignore[arg-type]
    assert short.asked == 3


def test_a_wedding_comes_back_through_the_broker(
    database: Database, client: Clients, tmp_path: Path
) -> None:
    directory = fetch(database, OURS, VENDOR, tmp_path / "rows")
    ours = platform.checksum(database.uri, OURS)
    platform.delete_wedding(database.uri, OURS)
    others = platform.checksum_others(database.uri, OURS)
    applied = put_back(client("restore"), "planning", directory)
    assert applied.rows == sum(int(text.split()[0]) for text in ours.values())
    assert platform.checksum(database.uri, OURS) == ours
    assert platform.checksum_others(database.uri, OURS) == others


def refused(client: Clients, directory: Path) -> BrokerError:
    with pytest.raises(BrokerError) as refusal:
        put_back(client("restore"), "planning", directory)
    return refusal.value


def test_a_tar_is_believed_in_nothing(database: Database, client: Clients, tmp_path: Path) -> None:
    before = database.content()
    theirs = fetch(database, THEIRS, "3", tmp_path / "theirs")
    error = refused(client, theirs)
    assert error.refusal.code is RefusalCode.SOURCE_FAILED
    assert "have keys that others have" in str(error)
    assert database.content() == before


def test_more_than_there_is_room_for_is_refused(
    database: Database, client: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_rows, "_LARGEST", 10_000)
    error = refused(client, fetch(database, OURS, VENDOR, tmp_path / "rows"))
    assert error.refusal.code is RefusalCode.TOO_MUCH


@pytest.mark.parametrize(("token", "source"), [("restore", "planning"), ("backup", "photos")])
def test_a_job_reads_its_own_sources_alone(
    client: Clients, tmp_path: Path, token: str, source: str
) -> None:
    with pytest.raises(BrokerError) as refusal:
        client(token).get_rows(source, tmp_path / "tar")
    assert refusal.value.refusal.code is RefusalCode.NOT_YOURS
    assert not (tmp_path / "tar").exists()


@pytest.mark.parametrize(
    ("password", "code"),
    [("wrong", RefusalCode.SOURCE_FAILED), ("", RefusalCode.SOURCE_UNAVAILABLE)],
)
def test_no_password_is_told(
    database: Database, client: Clients, tmp_path: Path, password: str, code: RefusalCode
) -> None:
    uri = (
        database.server.uri("postgres", user="postgres", password="hunter2")
        if password
        else "postgresql://postgres:hunter2@127.0.0.1:1/x"
    )
    SHARED.uri = uri
    with pytest.raises(BrokerError) as refusal:
        client("backup").get_rows("planning", tmp_path / "tar")
    assert refusal.value.refusal.code is code
    assert "hunter2" not in str(refusal.value)


def test_a_worker_that_goes_away_leaves_nothing_behind(
    database: Database, served: Broker, client: Clients, tmp_path: Path
) -> None:
    database.run(f"""
        INSERT INTO messages (id, wedding_id, sender, body, sent_at)
        SELECT gen_random_uuid(), '{OURS}', 'x', repeat(md5(n::text), 3000), now()
        FROM generate_series(1, 600) n
    """)
    url = urlsplit(served.access.url)
    context = ssl.create_default_context(cadata=served.access.authorities)
    assert url.hostname
    line = http.client.HTTPSConnection(url.hostname, url.port, context=context)
    line.request("GET", "/v1/sources/planning/rows", headers={"Authorization": "Bearer backup"})
    answer = line.getresponse()
    assert answer.status == 200
    assert len(answer.read(4096)) == 4096
    assert database.sessions()
    answer.close()
    line.close()
    wait_until(lambda: not database.sessions(), seconds=60, what="the sessions' end")
    # And its place is free again.
    client("backup").get_rows("planning", tmp_path / "tar")


def put(served: Broker, directory: Path, *, whole: bool = True) -> http.client.HTTPSConnection:
    """Begin to put rows back, by hand; of a body that is not whole the last byte never comes."""
    body = b"".join(pack_directory(directory))
    url = urlsplit(served.access.url)
    assert url.hostname
    context = ssl.create_default_context(cadata=served.access.authorities)
    line = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
    line.putrequest("PUT", "/v1/sources/planning/rows")
    line.putheader("Authorization", "Bearer restore")
    line.putheader("Content-Length", str(len(body)))
    line.endheaders(body if whole else body[:-1])
    return line


WAITING = "wait_event = 'PgSleep'"


def lose(database: Database, directory: Path) -> Path:
    """Take a wedding's rows out, into a directory; from now on to write them takes for ever."""
    database.run(f"""
        INSERT INTO messages (id, wedding_id, sender, body, sent_at)
        VALUES (gen_random_uuid(), '{OURS}', 'x', 'x', now())
    """)
    rows = fetch(database, OURS, VENDOR, directory)
    platform.delete_wedding(database.uri, OURS)
    database.run("""
        CREATE FUNCTION never() RETURNS boolean LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_catalog.pg_sleep(3600); RETURN true; END';
        ALTER TABLE messages ADD CONSTRAINT never CHECK (never()) NOT VALID;
    """)
    return rows


def test_a_worker_that_goes_away_has_its_rows_rolled_back(
    database: Database, served: Broker, client: Clients, tmp_path: Path
) -> None:
    directory = lose(database, tmp_path / "rows")
    before = database.content()
    line = put(served, directory)
    wait_until(lambda: bool(database.sessions(WAITING)), seconds=60, what="the writing")
    line.close()
    wait_until(lambda: not database.sessions(), seconds=60, what="the sessions' end")
    assert database.content() == before
    # And its place is free again.
    database.run("ALTER TABLE messages DROP CONSTRAINT never")
    assert put_back(client("restore"), "planning", directory).rows > 0


def test_rows_that_take_too_long_are_rolled_back(
    database: Database,
    client: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert PATIENCE.deadline_seconds > broker_rows._APPLY_SECONDS + 60  # before the next try
    monkeypatch.setattr(broker_rows, "_APPLY_SECONDS", 0.5)
    directory = lose(database, tmp_path / "rows")
    before = database.content()
    error = refused(client, directory)
    assert error.refusal.code is RefusalCode.SOURCE_UNAVAILABLE
    assert "nothing was changed" in str(error)
    assert database.sessions() == []
    assert database.content() == before


def test_a_body_that_stops_coming_holds_no_place(
    database: Database,
    served: Broker,
    client: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_rows, "_STALL_SECONDS", 0.2)
    directory = fetch(database, OURS, VENDOR, tmp_path / "rows")
    line = put(served, directory, whole=False)
    answer = line.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (429, RefusalCode.TOO_MUCH)
    line.close()
    put_back(client("restore"), "planning", directory)


def test_a_policy_that_names_anothers_wedding_gets_nothing(
    client: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rows(_scope: Scope, _source: str) -> SharedRows:
        return SharedRows(SHARED.uri, chosen(THEIRS), fence_of(VENDOR))

    monkeypatch.setattr(SHARED, "rows", rows)
    assert shared_source(client("backup"), "planning", tmp_path).facts()["rows"] == 0


def test_meta_json_is_said_once(database: Database, tmp_path: Path) -> None:
    good = b"".join(pack_directory(fetch(database, OURS, VENDOR, tmp_path / "rows")))
    meta_end = 512 + -(-int(good[124:135], 8) // 512) * 512
    twice = io.BytesIO(good[:meta_end] + good)
    with pytest.raises(SourceError, match=r"holds meta\.json more than once"):
        unpack(twice.read, tmp_path / "out")


def hostile(name: str, data: bytes = b"", kind: bytes = b"0") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    "member",
    [
        hostile("../../evil", b"x"),
        hostile("/etc/evil", b"x"),
        hostile("tables/public.guests.copy", b"x"),
        hostile("tables/99", b"x"),
        hostile("tables/-1", b"x"),
        hostile("tables/0", kind=b"2"),
        hostile("tables/0", kind=b"1"),
        hostile("x" * 90, b"1 path=/etc/evil\n", kind=b"x"),
        hostile("tables/0", b"x", kind=b"L"),
        hostile("meta.json", b"{}"),
        b"\xff" * 512,
        bytes(1024),
    ],
)
def test_no_member_of_a_tar_leads_out(database: Database, tmp_path: Path, member: bytes) -> None:
    good = b"".join(pack_directory(fetch(database, OURS, VENDOR, tmp_path / "rows")))
    meta_end = 512 + -(-int(good[124:135], 8) // 512) * 512
    data = memoryview(good[:meta_end] + member + good[meta_end:])

    def take(size: int) -> bytes:
        nonlocal data
        part, data = bytes(data[:size]), data[size:]
        return part

    with pytest.raises(SourceError):
        unpack(take, tmp_path / "out")
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if "evil" in p.name}
    assert written == set()


@pytest.mark.parametrize("file", ["../meta.json", "/etc/evil", "..", "", "a/b", "a\0b"])
def test_no_file_that_meta_json_names_leads_out(
    database: Database, tmp_path: Path, file: str
) -> None:
    with PostgresSource(database.uri, chosen(), fence_of(VENDOR)) as source:
        files = read(source)
    meta = json.loads(files[b"meta.json"])
    meta["tables"][0]["file"] = file
    save({b"meta.json": json.dumps(meta).encode()}, tmp_path / "rows")
    with pytest.raises(SourceError, match="no file of its own"):
        b"".join(pack_directory(tmp_path / "rows"))
