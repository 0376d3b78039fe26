"""The interface's own guards: who is let in, how much at once, and what of a request is looked at.

Locations sign here as they do in the cluster, and nothing is sent to any.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from tests.servers.broker import Jobs
from tests.unit.broker.test_allow import BACKUP, DIGEST, LONDON, OWNER
from weddingbackup.broker import app as broker
from weddingbackup.broker.app import create_app
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.scope import RefusedError
from weddingbackup.resources.backup_job import QuotaStatus
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import LARGEST_MANIFEST, LARGEST_OBJECT, RefusalCode
from weddingbackup.resources.common import LocationLimits, Provider
from weddingbackup.resources.tasks import LocationAccess

PREFIX = BACKUP.vault.prefix
PACK = f"packs/{DIGEST}"
MD5 = "0" * 32
MANIFEST = f"/v1/locations/london/manifests/snapshots/2026/12/05/{OWNER.uid}-{DIGEST}"
SECRETS: Mapping[str, Mapping[str, str]] = {
    "london": {"accessKeyId": "key", "secretAccessKey": "secret"},
    "paris": {"accessKeyId": "key", "secretAccessKey": "secret"},
    "dublin": {"accountName": "weddings", "accountKey": base64.b64encode(b"secret").decode()},
}


def named(name: str) -> BackupLocation:
    metadata = LONDON.metadata.model_copy(update={"name": name, "uid": name})
    spec = LONDON.spec.model_copy(update={"limits": LocationLimits(connections=4)})
    return LONDON.model_copy(update={"metadata": metadata, "spec": spec})


class Town(Jobs):
    """Pods of one job that is for London, Dublin and Rome, whose credentials are missing; Paris is others'.

    Each is another organisation's, but the first one and its colleague.
    """

    def __init__(self) -> None:
        super().__init__({})
        locations = {name: named(name) for name in ("london", "dublin", "rome")}
        scope = replace(BACKUP, locations=locations, planned=frozenset(locations))
        pods = ("", "first", "second", "third", "fourth")
        self.scopes = {
            pod: replace(scope, pod=pod, pod_uid=pod, namespace=pod or scope.namespace)
            for pod in pods
        }
        colleague = replace(self.scopes["first"], pod="colleague", pod_uid="colleague")
        self.scopes["colleague"] = colleague

    async def credentials(
        self, location: BackupLocation
    ) -> tuple[LocationAccess, Mapping[str, str]]:
        name = location.metadata.name
        if name not in SECRETS:
            raise RefusedError(RefusalCode.DENIED, f"the credentials of {name} are missing")
        provider = Provider.AZURE if name == "dublin" else Provider.S3
        access = LocationAccess(
            name=name, provider=provider, bucket=name, region="r", endpoint="http://127.0.0.1:9"
        )
        return access, SECRETS[name]


@dataclass
class Told:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Asking:
    """A request that is under way: its body ends when it is told so."""

    task: "asyncio.Task[Told]"
    ending: asyncio.Event
    begun: asyncio.Event

    async def end(self) -> Told:
        self.ending.set()
        return await asyncio.wait_for(self.task, 30)


@dataclass(frozen=True)
class Web:
    app: FastAPI
    town: Town

    def begin(self, pod: str, path: str, body: bytes = b"", **headers: str) -> Asking:
        """Send a request's head, and its body once it is to end."""
        begun, ending = asyncio.Event(), asyncio.Event()
        asked = self._ask("PUT" if path == MANIFEST else "POST", path, body, pod, headers)
        return Asking(asyncio.create_task(asked(begun, ending)), ending, begun)

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, pod: str = "first", **headers: str
    ) -> Told:
        go = asyncio.Event()
        go.set()
        return await asyncio.wait_for(
            self._ask(method, path, body, pod, headers)(asyncio.Event(), go), 30
        )

    def _ask(self, method: str, url: str, body: bytes, pod: str, headers: Mapping[str, str]) -> Any:
        path, _, query = url.partition("?")
        lines = {"authorization": f"Bearer {pod}", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), x.encode("latin-1")) for name, x in lines.items()],
            "client": (f"at-{pod}", 1),
        }

        async def asked(begun: asyncio.Event, ending: asyncio.Event) -> Told:
            told = Told(0, {}, b"")

            async def receive() -> MutableMapping[str, Any]:
                begun.set()
                await ending.wait()
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    told.status = message["status"]
                    told.headers = {key.decode(): x.decode() for key, x in message["headers"]}
                told.body += message.get("body", b"")

            await self.app(scope, receive, send)
            begun.set()
            return told

        return asked

    async def sign(self, **wanted: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
        told = await self.ask("POST", "/v1/sign", json.dumps(wanted).encode())
        assert told.status == 200, told
        return told.json["puts"], told.json["gets"]


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    town = Town()
    keeping = Keeping(town.credentials)
    yield Web(create_app(town, keeping, town, town, town), town)
    keeping.close()


def put(location: str = "london", name: str = PACK, md5: str | None = MD5) -> dict[str, Any]:
    return {"location": location, "name": name, "size": 6, "sha256": DIGEST, "md5": md5}


def code(answer: Mapping[str, Any]) -> str | None:
    """The word for a refusal; None where a signed request is there."""
    assert (answer.get("signed") is None) != (answer.get("refusal") is None)
    found: str | None = (answer.get("refusal") or {}).get("code")
    return found


class TestWho:
    @pytest.mark.parametrize("shown", ["", "Bearer", "Bearer ", "Basic first", "first", "bearer x"])
    async def test_without_a_workers_token_there_is_nothing(self, web: Web, shown: str) -> None:
        told = await web.ask("POST", "/v1/open", authorization=shown)
        assert (told.status, told.json["code"]) == (401, "UnknownWorker")

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
    async def test_nothing_tells_what_there_is(self, web: Web, path: str) -> None:
        assert (await web.ask("GET", path)).status == 404


class TestHowMuch:
    async def test_one_pod_has_so_many_requests_at_once(self, web: Web) -> None:
        stalled = [web.begin("first", "/v1/progress", b"{}") for _ in range(broker._AT_ONCE)]
        for each in stalled:
            await each.begun.wait()
        told = await web.ask("POST", "/v1/progress", b"{}")
        assert (told.status, told.headers["retry-after"]) == (429, "1")
        assert (await web.ask("POST", "/v1/progress", b"{}", pod="second")).status == 204
        assert [(await each.end()).status for each in stalled] == [204] * len(stalled)
        assert (await web.ask("POST", "/v1/progress", b"{}")).status == 204

    async def test_one_organisations_pods_have_so_many_together(
        self, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "_AT_ONCE_A_NAMESPACE", 1)
        stalled = web.begin("first", "/v1/progress", b"{}")
        await stalled.begun.wait()
        assert (await web.ask("POST", "/v1/progress", b"{}", pod="colleague")).status == 429
        assert (await web.ask("POST", "/v1/progress", b"{}", pod="second")).status == 204
        assert (await stalled.end()).status == 204
        assert (await web.ask("POST", "/v1/progress", b"{}", pod="colleague")).status == 204

    async def test_all_pods_together_have_so_many(
        self, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "_AT_ONCE_OVERALL", 1)
        stalled = web.begin("first", "/v1/progress", b"{}")
        await stalled.begun.wait()
        told = await web.ask("POST", "/v1/progress", b"{}", pod="second")
        assert (told.status, told.json["code"]) == (503, "Transient")
        assert (await stalled.end()).status == 204

    @pytest.mark.parametrize("path", ["/v1/sign", "/v1/progress"])
    async def test_a_body_that_is_too_large(self, web: Web, path: str) -> None:
        told = await web.ask("POST", path, b" " * (broker._LARGEST_BODY + 1))
        assert (told.status, told.json["code"]) == (413, "TooMuch")

    async def test_a_body_that_never_ends(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broker, "_BODY_SECONDS", 0.01)
        slow = web.begin("first", "/v1/sign", b"{}")
        assert (await asyncio.wait_for(slow.task, 30)).status == 429

    @pytest.mark.parametrize("length", ["", "-1", "1e3", "\xb2", str(LARGEST_MANIFEST + 1)])
    async def test_a_large_body_says_first_how_large_it_is(self, web: Web, length: str) -> None:
        told = web.begin("first", MANIFEST, content_length=length)
        assert (await asyncio.wait_for(told.task, 30)).status in {400, 413}

    async def test_large_bodies_find_memory_or_none_is_read(
        self, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "_BODIES", 3 * LARGEST_MANIFEST)
        large = str(LARGEST_MANIFEST)
        pods = ("first", "second", "third")
        held = [web.begin(pod, MANIFEST, content_length=large) for pod in pods]
        for each in held:
            await each.begun.wait()
        small = await web.ask("PUT", MANIFEST, b"x", pod="fourth")
        assert (small.status, small.headers["retry-after"]) == (429, "1")
        await held.pop().end()
        for pod in ("first", "colleague"):
            again = await web.ask("PUT", MANIFEST, b"x", pod=pod)
            assert again.status == 429  # their organisation has one under way
        assert (await web.ask("PUT", MANIFEST, b"x", pod="fourth")).status == 422
        for each in held:
            assert (await each.end()).status == 422


class TestWhat:
    async def test_names_are_signed_below_the_vaults_prefix(self, web: Web) -> None:
        puts, gets = await web.sign(
            puts=[put(at) for at in ("london", "dublin")],
            gets=[{"location": at, "name": PACK} for at in ("london", "dublin")],
        )
        for answer in (*puts, *gets):
            path = urlsplit(answer["signed"]["url"]).path
            assert path.endswith(f"/{PREFIX}/{PACK}")

    async def test_what_says_what_may_go_is_read_and_never_written(self, web: Web) -> None:
        """A mark of somebody's own would have a collection remove what points need."""
        mark = f"marks/20261205t120000z-{DIGEST}"
        names = (mark, f"{mark}.r1", "fences/00000001", "fences/99999999")
        puts, gets = await web.sign(
            puts=[put(name=name) for name in names],
            gets=[{"location": "london", "name": name} for name in (mark, "fences/00000001")],
        )
        assert [code(answer) for answer in puts] == ["NotYours"] * len(names)
        assert [code(answer) for answer in gets] == [None, "NotYours"]

    async def test_a_manifest_of_a_day_in_other_digits_is_none(self, web: Web) -> None:
        day = "snapshots/\uff12\uff10\uff12\uff16/12/05"
        name = f"{day}/{OWNER.uid}-{DIGEST}"
        _, [answer] = await web.sign(gets=[{"location": "london", "name": name}])
        assert code(answer) == "NotYours"

    async def test_each_is_answered_in_its_place(self, web: Web) -> None:
        """What is refused, or at a location that fails, keeps nothing from the others."""
        puts, gets = await web.sign(
            puts=[
                put("paris"),
                put(),
                put("rome"),
                put("dublin"),
                put(name=f"packs/{'0' * 64}"),
                put("dublin", md5=None),
            ],
            gets=[
                {"location": at, "name": name}
                for at, name in (("london", "jobs/one"), ("paris", PACK), ("london", PACK))
            ],
        )
        assert [code(answer) for answer in puts] == [
            "NotYours",
            None,
            "Denied",
            None,
            "NotYours",
            "BadRequest",
        ]
        assert [code(answer) for answer in gets] == ["NotYours", "NotYours", None]

    async def test_no_object_is_larger_than_a_vault_makes(self, web: Web) -> None:
        [answer], _ = await web.sign(puts=[put() | {"size": LARGEST_OBJECT}])
        assert code(answer) is None
        too_large = {"puts": [put() | {"size": LARGEST_OBJECT + 1}]}
        told = await web.ask("POST", "/v1/sign", json.dumps(too_large).encode())
        assert (told.status, told.json["code"]) == (400, "BadRequest")

    async def test_no_more_bytes_are_signed_for_than_the_quota_leaves(self, web: Web) -> None:
        quota = QuotaStatus(limit=20, stored=10)
        web.town.scopes["first"] = replace(web.town.scopes["first"], quota=quota)
        names = [hashlib.sha256(bytes(number)).hexdigest() for number in range(3)]
        wanted = [
            put(name=f"packs/{name}") | {"sha256": name, "size": size}
            for name, size in zip(names, (6, 5, 4), strict=True)
        ]
        for _ in range(2):  # who asks again for what was signed is not charged again
            puts, _ = await web.sign(puts=wanted)
            assert [code(answer) for answer in puts] == [None, "QuotaExceeded", None]

    @pytest.mark.parametrize(
        ("location", "prefix", "status"),
        [("london", "..", 400), ("london", "", 403), ("paris", "packs/", 403)],
    )
    async def test_what_is_no_listing_of_ones_own(
        self, web: Web, location: str, prefix: str, status: int
    ) -> None:
        told = await web.ask("GET", f"/v1/locations/{location}/objects?prefix={prefix}")
        assert told.status == status

    async def test_progress_speaks_of_the_jobs_own_locations(self, web: Web) -> None:
        told = await web.ask("POST", "/v1/progress", b'{"locations": {"paris": 1}}')
        assert (told.status, told.json["code"]) == (403, "NotYours")
        assert not web.town.progress

    async def test_a_job_begins_without_the_location_that_cannot_be_opened(self, web: Web) -> None:
        told = await web.ask("POST", "/v1/open")
        assert told.status == 200
        assert {each["name"] for each in told.json["locations"]} == {"london", "dublin"}
        assert [each["limits"] for each in told.json["locations"]] == [{"connections": 4}] * 2

    async def test_what_makes_no_sense_is_not_said_again(self, web: Web) -> None:
        body = b'{"puts": [{"name": "a-secret-that-came-in-by-mistake"}]}'
        told = await web.ask("POST", "/v1/sign", body)
        assert told.status == 400
        assert b"mistake" not in told.body
