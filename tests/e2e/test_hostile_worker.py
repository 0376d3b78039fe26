"""Code of somebody's own in a genuine worker's pod, with its token: it gets what its job may have, and no more.

One backup is kept busy by slow uploads while its pod is misused; a neighbour's worker is at work beside
it. Lines of the table in docs/security.md are tests here.
"""

import base64
import concurrent.futures
import hashlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import pytest

from tests.e2e.broker_process import Broker
from tests.e2e.hostile import Asked, Inside, Told, from_outside
from tests.e2e.operator_process import Operator
from tests.e2e.world import Object, World, living, phase
from tests.home import Home
from tests.servers.locations import PLACES, Location
from weddingbackup.resources import names
from weddingbackup.resources.broker import AUDIENCE, MOST_SIGNATURES
from weddingbackup.resources.common import Provider

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ALL = [place.name for place in PLACES]
OTHERS = "others"
WRITE = """
import os, pathlib
for number in range({count}):
    pathlib.Path(f"/data/{name}-{{number}}.jpg").write_bytes(os.urandom({size}))
"""
SLOW_KIB, LARGE_FILES = 400, 200
"""A second and connection: a pack takes most of a minute, and all of them ten; a test's few bytes no time."""


@dataclass(frozen=True)
class Siege:
    """Two organisations with a finished backup each, and a worker of each at work."""

    mine: World
    theirs: World
    worker: Inside
    neighbour: Inside
    broker: Broker
    prefix: str
    their_prefix: str
    their_uid: str

    def location(self, name: str) -> str:
        return self.mine.location_name(name)

    def keeper_list(self, name: str, prefix: str) -> dict[str, int]:
        """What is at a location, by the credentials that no worker has."""
        keeper = self.mine.locations[name].open_keeper(prefix)
        return {info.name: info.size for info in keeper.list("")}

    def a_pack(self, name: str) -> str:
        """A pack of one's own that is already at a location."""
        return next(each for each in self.keeper_list(name, self.prefix) if "packs/" in each)


def busy(world: World, name: str) -> Inside:
    """A backup that is at work, and will be for long."""
    world.apply(world.backup(name))
    world.wait_phase("bj", name, "Running")
    selector = f"{names.LABEL_TASK}=backup,{names.LABEL_JOB}={name}"

    def running(_: Object) -> list[str]:
        pods = world.list("pods", selector)
        return [pod["metadata"]["name"] for pod in pods if phase(pod) == "Running"]

    world.wait("bj", name, running)
    [pod] = running({})
    return Inside(world, pod)


@pytest.fixture(scope="module")
def siege(
    home: Home, stores: list[Location], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Siege]:
    logs = tmp_path_factory.mktemp("siege")
    with ExitStack() as stack:
        mine = stack.enter_context(living(home, stores))
        stack.enter_context(Operator(home, logs / "operator.log").running())
        broker = stack.enter_context(Broker(home, logs / "broker.log").running())
        theirs = mine.neighbour()
        mine.add_locations(ALL)
        mine.at_home.apply(_others(mine))
        redundancy = {"copies": 5, "quorum": 3}
        before = {}
        for world in (mine, theirs):
            world.shell("portfolio", WRITE.format(name="first", count=3, size=100_000))
            world.apply(world.policy(schedule={"suspend": True}, redundancy=redundancy))
            world.apply(world.backup("first"))
        for world in (mine, theirs):
            done = world.wait_phase("bj", "first", "Completed", "Failed")
            assert phase(done) == "Completed", done["status"]
            before[world.namespace] = done
            world.shell("portfolio", WRITE.format(name="large", count=LARGE_FILES, size=2_000_000))
        for location in stores:
            location.proxy.toxic("bandwidth", "upstream", rate=SLOW_KIB)
        worker, neighbour = (busy(world, "second") for world in (mine, theirs))
        yield Siege(
            mine,
            theirs,
            worker,
            neighbour,
            broker,
            prefix=before[mine.namespace]["status"]["vault"]["prefix"],
            their_prefix=before[theirs.namespace]["status"]["vault"]["prefix"],
            their_uid=before[theirs.namespace]["metadata"]["uid"],
        )


def _others(world: World) -> Object:
    """A location that works, with what both have, and is for other organisations."""
    body = world.location("london", allowedNamespaces={"matchLabels": {"somebody": "else"}})
    body["metadata"]["name"] = world.location_name(OTHERS)
    return body


def wanted(location: str, data: bytes, name: str | None = None) -> Object:
    """A put as a worker asks for it."""
    sha256 = hashlib.sha256(data).hexdigest()
    md5 = hashlib.md5(data).hexdigest()
    name = f"packs/{sha256}" if name is None else name
    return {"location": location, "name": name, "size": len(data), "sha256": sha256, "md5": md5}


def carried_out(
    signed: Object, body: bytes | None = None, *, method: str = "", url: str = ""
) -> Asked:
    """A signed request as it was signed, but for what is changed in it."""
    return Asked(method or signed["method"], url or signed["url"], body, signed["headers"])


SHA = "0" * 64
TRICKS = (
    "..",
    ".",
    "/",
    f"../{SHA}",
    f"packs/../../{SHA}",
    f"/packs/{SHA}",
    f"packs//{SHA}",
    f"packs/{SHA}/",
    f"packs/{SHA}/..",
    f"packs/%2e%2e/{SHA}",
    f"packs%2f{SHA}",
    f"packs\\{SHA}",
    f"packs/{SHA}\0",
    f"packs/{SHA}\n",
    f"packs/{SHA}?versionId=1",
    f"packs/{SHA}#",
    f"packs/{SHA}.r0",
    f"packs/{SHA}.r10",
    f"packs/{SHA}.r1.r1",
    "packs/" + "\uff10" * 64,
    "packs/" + "A" * 64,
    "p\u202eskcap",
    "packs/" + "0" * 5000,
    f"journal/1/{SHA}",
    "format/../format",
)


class TestNames:
    def test_tricks_in_names(self, siege: Siege) -> None:
        place = siege.location("london")
        foreign = [f"{siege.their_prefix}/packs/{SHA}", f"../{siege.their_prefix}/format"]
        asked = []
        for name in (*TRICKS, *foreign):
            put = {**wanted(place, b""), "name": name}
            get = {"location": place, "name": name}
            bodies = ({"puts": [put]}, {"gets": [get]})
            asked += [Asked("POST", "/v1/sign", json.dumps(body).encode()) for body in bodies]
        for one, told in zip(asked, siege.worker.ask(*asked), strict=True):
            if told.status == 200:
                [answer] = told.json["puts"] + told.json["gets"]
                assert answer.get("signed") is None, one.body
                assert answer["refusal"]["code"] in {"NotYours", "BadRequest"}, one.body
            else:
                assert told.status in {400, 403}, (one.body, told)

    def test_a_name_that_is_not_the_hash_of_its_bytes(self, siege: Siege) -> None:
        place = siege.location("london")
        put = wanted(place, b"mine", name=f"packs/{SHA}")
        [answer], _ = siege.worker.sign(puts=[put])
        assert answer["refusal"]["code"] == "NotYours"

    def test_a_manifest_is_never_signed_for(self, siege: Siege) -> None:
        data = b"mine"
        digest = hashlib.sha256(data).hexdigest()
        uid = siege.mine.get("bj", "second")["metadata"]["uid"]
        name = f"snapshots/2026/12/05/{uid}-{digest}"
        [answer], _ = siege.worker.sign(puts=[wanted(siege.location("london"), data, name)])
        assert answer["refusal"]["code"] == "NotYours"

    @pytest.mark.parametrize(
        "prefix", ["", "/", ".", "..", "../", "packs/../", "%2e%2e/", "p", "journal/", "\0"]
    )
    def test_a_bucket_is_listed(self, siege: Siege, prefix: str) -> None:
        path = f"/v1/locations/{siege.location('london')}/objects?prefix={quote(prefix, safe='')}"
        [told] = siege.worker.ask(Asked("GET", path))
        assert told.status in {400, 403}, told

    def test_another_vaults_prefix_is_listed(self, siege: Siege) -> None:
        path = f"/v1/locations/{siege.location('london')}/objects?prefix="
        own, other = siege.worker.ask(
            Asked("GET", f"{path}packs/"), Asked("GET", f"{path}{siege.their_prefix}/packs/")
        )
        assert own.status == 200
        assert other.status == 403
        listed = [json.loads(line)["name"] for line in own.body.splitlines()[:-1]]
        assert set(listed) <= siege.keeper_list("london", siege.prefix).keys()
        theirs = siege.keeper_list("london", siege.their_prefix)
        assert not {name for name in listed if name.startswith("packs/")} & theirs.keys()

    @pytest.mark.parametrize("location", [OTHERS, "nowhere", "..", "%2e%2e", "a%2fb"])
    def test_a_location_that_is_not_the_jobs(self, siege: Siege, location: str) -> None:
        if location == OTHERS:
            location = siege.location(OTHERS)
        [told] = siege.worker.ask(Asked("GET", f"/v1/locations/{location}/objects?prefix=packs/"))
        assert told.status in {403, 404}, told


@pytest.mark.parametrize("location", ALL)
class TestSignedRequests:
    def test_a_signed_put_is_bent(self, siege: Siege, location: str) -> None:
        data = f"bent at {location}".encode()
        [answer], _ = siege.worker.sign(puts=[wanted(siege.location(location), data)])
        signed = answer["signed"]
        before = siege.keeper_list(location, siege.their_prefix)
        url: str = signed["url"]
        path = urlsplit(url).path
        assert siege.prefix in path
        digest = hashlib.sha256(data).hexdigest()
        theirs = url.replace(siege.prefix, siege.their_prefix)
        elsewhere = url.replace(digest, SHA)
        up = url.replace(f"{siege.prefix}/packs", f"{siege.prefix}/../{siege.their_prefix}")
        bent = [
            carried_out(signed, data, url=theirs),
            carried_out(signed, data, url=elsewhere),
            carried_out(signed, data, url=up),
            carried_out(signed, None, url=theirs, method="GET"),
            carried_out(signed, None, method="DELETE"),
            carried_out(signed, None, url=theirs, method="DELETE"),
            carried_out(signed, None, url=url.replace(path, "/weddings"), method="GET"),
        ]
        for told in siege.worker.ask(*bent):
            assert not 200 <= told.status < 300, told
        assert siege.keeper_list(location, siege.their_prefix) == before
        assert f"packs/{SHA}" not in siege.keeper_list(location, siege.prefix)

    def test_ones_own_object_is_overwritten(self, siege: Siege, location: str) -> None:
        name = siege.a_pack(location)
        keeper = siege.mine.locations[location].open_store(siege.prefix)
        data = keeper.get(name)
        [answer], _ = siege.worker.sign(puts=[wanted(siege.location(location), data)])
        signed = answer["signed"]
        without = {
            key: value
            for key, value in signed["headers"].items()
            if key.lower() not in {"if-none-match", "x-goog-if-generation-match"}
        }
        other = bytes(len(data))
        tries = [
            carried_out(signed, data),
            carried_out(signed, other),
            Asked(signed["method"], signed["url"], data, without),
            Asked(signed["method"], signed["url"], other, without),
            carried_out(signed, None, method="DELETE"),
        ]
        for told in siege.worker.ask(*tries):
            assert not 200 <= told.status < 300, told
        assert keeper.get(name) == data

    def test_a_signed_get_is_bent(self, siege: Siege, location: str) -> None:
        name = siege.a_pack(location)
        _, [answer] = siege.worker.sign(gets=[{"location": siege.location(location), "name": name}])
        signed = answer["signed"]
        url: str = signed["url"]
        theirs = url.replace(siege.prefix, siege.their_prefix)
        bucket = url.replace(urlsplit(url).path, "/weddings")
        bent = [
            carried_out(signed, None, url=theirs.replace(name, "format")),
            carried_out(signed, None, url=url.replace(name, "format")),
            carried_out(signed, None, url=bucket),
            carried_out(signed, None, url=f"{bucket}&list-type=2"),
            carried_out(signed, None, url=f"{bucket}&restype=container&comp=list"),
            carried_out(signed, b"mine", method="PUT"),
            carried_out(signed, None, method="DELETE"),
        ]
        good, *told = siege.worker.ask(carried_out(signed), *bent)
        assert good.status == 200
        for each in told:
            assert not 200 <= each.status < 300, each

    def test_other_bytes_than_were_signed(self, siege: Siege, location: str) -> None:
        data, other = f"right at {location}".encode(), f"wrong at {location}".encode()
        [answer], _ = siege.worker.sign(puts=[wanted(siege.location(location), data)])
        [told] = siege.worker.ask(carried_out(answer["signed"], other))
        there = siege.keeper_list(location, siege.prefix)
        name = f"packs/{hashlib.sha256(data).hexdigest()}"
        found = siege.mine.get("bl", siege.location(location))["status"]["capabilities"]
        if found["boundChecksums"]:
            assert not 200 <= told.status < 300, told
            assert name not in there
        else:  # what counts there is only what was read again: see TestWrongBytes
            assert siege.mine.locations[location].place.provider is Provider.AZURE


class TestManifests:
    def put(self, siege: Siege, name: str, data: bytes) -> Told:
        place = siege.location("london")
        [told] = siege.worker.ask(Asked("PUT", f"/v1/locations/{place}/manifests/{name}", data))
        return told

    def test_bytes_that_are_no_manifest(self, siege: Siege) -> None:
        uid = siege.mine.get("bj", "second")["metadata"]["uid"]
        digest = hashlib.sha256(b"mine").hexdigest()
        told = self.put(siege, f"snapshots/2026/12/05/{uid}-{digest}", b"mine")
        assert told.code == "Corrupt"

    def test_another_organisations_job(self, siege: Siege) -> None:
        digest = hashlib.sha256(b"mine").hexdigest()
        name = f"snapshots/2026/12/05/{siege.their_uid}-{digest}"
        assert self.put(siege, name, b"mine").code == "NotYours"

    def test_an_old_manifest_of_ones_own_for_the_new_job(self, siege: Siege) -> None:
        first = siege.mine.get("bj", "first")
        name = first["status"]["manifest"]["name"]
        data = siege.mine.locations["london"].open_store(siege.prefix).get(name)
        assert self.put(siege, name, data).code == "NotYours"
        uid = siege.mine.get("bj", "second")["metadata"]["uid"]
        renamed = name.replace(first["metadata"]["uid"], uid)
        assert self.put(siege, renamed, data).code in {"NotYours", "Corrupt"}

    @pytest.mark.parametrize("name", ["format", f"packs/{SHA}", "..%2f..%2fopen", "keys/x"])
    def test_something_else_in_its_place(self, siege: Siege, name: str) -> None:
        assert self.put(siege, name, b"mine").status in {400, 403, 404, 405}

    def test_nothing_of_it_counts(self, siege: Siege) -> None:
        status = siege.mine.get("bj", "second")["status"]
        assert status["phase"] == "Running"
        assert not status.get("announced")


class TestKeys:
    def test_another_class(self, siege: Siege) -> None:
        told = siege.worker.post("/v1/open")
        assert told.status == 200
        assert {key["className"] for key in told.json["keys"]} == {"Vault", "Portfolio"}
        assert told.json["vault"]["prefix"] == siege.prefix
        asked = siege.worker.post("/v1/open", {"classes": ["Guests"], "vault": "another"})
        assert {key["className"] for key in asked.json["keys"]} == {"Vault", "Portfolio"}

    def test_the_pod_holds_no_credential(self, siege: Siege) -> None:
        seen = siege.worker.run(
            "import os, pathlib\n"
            "for name, value in os.environ.items():\n"
            "    print(name, value)\n"
            "for top in ('/etc/weddingbackup', '/var/run/secrets', '/run/secrets'):\n"
            "    for path in sorted(pathlib.Path(top).rglob('*')):\n"
            "        print(path, path.read_text() if path.is_file() else '')\n"
        )
        for location in siege.mine.locations.values():
            secret = max(location.credentials.values(), key=len)  # beside it are names
            assert secret not in seen
        assert "serviceaccount" not in seen


class TestTokens:
    def open(self, siege: Siege, token: str) -> Told:
        url = f"{siege.mine.home.broker_url}/v1/open"
        return from_outside(url, token, siege.broker.authorities)

    def bound(self, siege: Siege, audience: str) -> str:
        """A token for the worker's pod, as only its node could ask for it."""
        node = ("--as=node", "--as-group=system:masters", "--as-group=system:nodes")
        return siege.mine.cluster.kubectl(
            *("create", "token", names.WORKER_ACCOUNT, "-n", siege.mine.namespace, *node),
            *("--bound-object-kind=Pod", f"--bound-object-name={siege.worker.pod}"),
            f"--audience={audience}",
        ).strip()

    def test_the_wrong_audience(self, siege: Siege) -> None:
        assert self.open(siege, self.bound(siege, AUDIENCE)).status == 200
        told = self.open(siege, self.bound(siege, "https://kubernetes.default.svc"))
        assert told.code == "UnknownWorker"

    def test_a_token_that_was_made_to_live_longer(self, siege: Siege) -> None:
        head, claims, signature = siege.worker.token().split(".")
        body = json.loads(base64.urlsafe_b64decode(claims + "=="))
        body["exp"] += 86_400
        longer = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
        assert self.open(siege, f"{head}.{longer}.{signature}").code == "UnknownWorker"

    @pytest.mark.parametrize(
        "token", ["", "x", "a.b.c", "Bearer", "0" * 9_000, "0" * 20_000, "0" * 100_000], ids=len
    )
    def test_no_token_and_nonsense(self, siege: Siege, token: str) -> None:
        assert self.open(siege, siege.worker.token()).status == 200
        assert self.open(siege, token).status in {400, 401, 431}

    def test_the_kubernetes_api(self, siege: Siege) -> None:
        cluster = siege.mine.cluster
        view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        server = view["clusters"][0]["cluster"]
        authority = siege.mine.home.folder / "kubernetes-ca.crt"
        authority.write_bytes(base64.b64decode(server["certificate-authority-data"]))
        url = f"{server['server']}/api/v1/namespaces/{siege.mine.namespace}/secrets"
        told = from_outside(url, siege.worker.token(), authority, method="GET")
        assert told.status == 401


class TestExhaustion:
    def test_others_are_still_served(self, siege: Siege) -> None:
        """Idle connections, slow and huge bodies, and all the signatures that one can ask for."""
        token = siege.worker.token()
        address = (siege.mine.cluster.host_address, siege.mine.home.broker_port)
        trust = ssl.create_default_context(cafile=str(siege.broker.authorities))
        head = (
            f"POST /v1/sign HTTP/1.1\r\nHost: {address[0]}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Length: 1000000000\r\n\r\n"
        )
        puts = [wanted(siege.location("london"), bytes([n % 256, 1])) for n in range(256)]
        url = f"{siege.mine.home.broker_url}/v1/sign"
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(address, timeout=10))
            for _ in range(40):
                slow = socket.create_connection(address, timeout=10)
                wrapped = stack.enter_context(trust.wrap_socket(slow, server_hostname=address[0]))
                wrapped.sendall(head.encode() + b" ")
            pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(24))
            flood = [
                pool.submit(from_outside, url, token, siege.broker.authorities, body={"puts": puts})
                for _ in range(100)
            ]
            begun = time.monotonic()
            told = siege.neighbour.post("/v1/open")
            assert told.status == 200
            assert time.monotonic() - begun < 60
            answers = [each.result() for each in flood]
        # 0: the broker hung up on whoever floods it.
        assert {told.status for told in answers} <= {0, 200, 429, 503}
        assert any(told.status == 429 for told in answers)

    def test_more_signatures_than_a_request_may_ask_for(self, siege: Siege) -> None:
        gets = [{"location": siege.location("london"), "name": f"packs/{SHA}"}]
        told = siege.worker.post("/v1/sign", {"gets": gets * (MOST_SIGNATURES + 1)})
        assert told.code == "BadRequest"

    def test_a_body_without_end(self, siege: Siege) -> None:
        [told] = siege.worker.ask(Asked("POST", "/v1/sign", bytes(4 << 20)))
        assert told.status in {0, 413, 429}


class TestTheEnd:
    """Last, since it ends the worker that all others need."""

    def test_what_a_dead_pods_token_opens(self, siege: Siege) -> None:
        token = siege.neighbour.token()
        url = f"{siege.mine.home.broker_url}/v1/open"
        assert from_outside(url, token, siege.broker.authorities).status == 200
        siege.theirs.delete("pod", siege.neighbour.pod, "--grace-period=0", "--force")
        deadline = time.monotonic() + 30
        while (told := from_outside(url, token, siege.broker.authorities)).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert told.code == "UnknownWorker"

    def test_requests_after_the_jobs_end(self, siege: Siege) -> None:
        token = siege.worker.token()
        data = b"signed before the end"
        [answer], _ = siege.worker.sign(puts=[wanted(siege.location("london"), data)])
        patch = json.dumps({"spec": {"cancel": True}})
        where = ("-n", siege.mine.namespace, "--type=merge", "-p", patch)
        siege.mine.cluster.kubectl("patch", "bj", "second", *where)
        url = f"{siege.mine.home.broker_url}/v1/open"
        deadline = time.monotonic() + 30
        while (told := from_outside(url, token, siege.broker.authorities)).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert told.code == "UnknownWorker"
        assert answer["signed"]["expiresAt"]
