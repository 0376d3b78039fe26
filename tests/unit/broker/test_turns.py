"""A later stage of a recovery moves no data before its turn, whatever its worker asks for."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from tests.unit.broker.test_allow import DAY, DIGEST, KEY, MARK, OWNER, RESTORE
from tests.unit.broker.test_http import PACK, Town, Web, code, put
from tests.unit.rules.facts import request
from weddingbackup.broker import app, turns
from weddingbackup.broker.app import create_app
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.rows import SharedRows
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.broker.turns import KubernetesTurns
from weddingbackup.kube.client import ApiError, Object
from weddingbackup.resources.broker import RefusalCode
from weddingbackup.resources.common import DataClass

ROWS = "/v1/sources/planning/rows"


class Stages(Town):
    """Tells when somebody has been told more than once that they wait: then their question is held."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.looked = asyncio.Event()

    async def waits_for(self, scope: Scope) -> DataClass | None:
        self.looks += 1
        if self.looks > 1:
            self.looked.set()
        return await super().waits_for(scope)


@dataclass(frozen=True)
class Held(Web):
    town: Stages


class Shared:
    """A shared database that says so when somebody gets as far as to its rows."""

    def __init__(self) -> None:
        self.reached = False

    async def rows(self, scope: Scope, source: str) -> SharedRows:
        self.reached = True
        raise RefusedError(RefusalCode.SOURCE_FAILED, f"{scope}: {source}")


@pytest.fixture
async def shared() -> Shared:
    return Shared()


@pytest.fixture
async def web(shared: Shared) -> AsyncIterator[Held]:
    """Pods of recoveries; the first one's waits for the timeline."""
    town = Stages()
    for pod, scope in town.scopes.items():
        town.scopes[pod] = replace(scope, purpose=Purpose.RESTORE, job_uid=f"job-{pod}")
    town.waiting["job-first"] = DataClass.TIMELINE
    keeping = Keeping(town.credentials)
    yield Held(create_app(town, keeping, town, town, town, databases=shared), town)
    keeping.close()


def gets(*names: str) -> bytes:
    return json.dumps({"gets": [{"location": "london", "name": name} for name in names]}).encode()


class TestData:
    @pytest.mark.parametrize(
        "names",
        [(PACK,), (f"{PACK}.r1",), (f"index/{DIGEST}", PACK), (PACK, "format")],
        ids=["pack", "replacement", "after-an-index", "before-the-format"],
    )
    async def test_no_pack_is_signed_before_the_turn_and_each_after(
        self, web: Held, names: tuple[str, ...]
    ) -> None:
        told = await web.ask("POST", "/v1/sign", gets(*names))
        assert (told.status, told.json["code"]) == (425, "Waits")
        assert told.json["message"] == "waits for stage Timeline"
        assert b"signed" not in told.body
        assert (await web.ask("POST", "/v1/sign", gets(*names), pod="second")).status == 200
        del web.town.waiting["job-first"]
        told = await web.ask("POST", "/v1/sign", gets(*names))
        assert (told.status, [code(x) for x in told.json["gets"]]) == (200, [None] * len(names))

    @pytest.mark.parametrize("name", ["format", KEY, f"index/{DIGEST}", MARK, f"{DAY}u-{DIGEST}"])
    async def test_what_only_tells_where_data_is_may_be_read(self, web: Held, name: str) -> None:
        told = await web.ask("POST", "/v1/sign", gets(name))
        assert (told.status, code(told.json["gets"][0])) == (200, None)

    @pytest.mark.parametrize("name", ["../packs/x", "/packs/x", "PACKS/x", "packs//x", "./packs/x"])
    async def test_a_pack_has_no_other_name(self, web: Held, name: str) -> None:
        told = await web.ask("POST", "/v1/sign", gets(name))
        answers = told.json.get("gets") or [{"refusal": told.json}]
        assert [code(x) for x in answers] in (["NotYours"], ["Waits"])

    async def test_no_row_is_written_before_the_turn(self, web: Held, shared: Shared) -> None:
        told = await web.ask("PUT", ROWS, b"rows")
        assert (told.status, told.json["code"], shared.reached) == (425, "Waits", False)
        del web.town.waiting["job-first"]
        told = await web.ask("PUT", ROWS, b"rows")
        assert (told.json["code"], shared.reached) == ("SourceFailed", True)

    async def test_a_recovery_writes_nothing_into_its_vault_at_any_time(self, web: Held) -> None:
        told = await web.ask("POST", "/v1/sign", json.dumps({"puts": [put()]}).encode())
        assert code(told.json["puts"][0]) == "NotYours"


class TestWaiting:
    async def test_whose_turn_it_is_is_told_at_once(self, web: Held) -> None:
        told = await web.ask("GET", "/v1/turn", pod="second")
        assert (told.status, told.json) == (200, {})

    async def test_who_waits_is_told_when_the_turn_comes(
        self, web: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "_HOLD_SECONDS", 600)
        monkeypatch.setattr(turns, "_LOOK_SECONDS", 0)
        asking = asyncio.create_task(web.ask("GET", "/v1/turn"))
        await web.town.looked.wait()
        assert not asking.done()
        # A second question of the same pod is not held.
        assert (await web.ask("GET", "/v1/turn")).json == {"waitsFor": "Timeline"}
        assert not asking.done()
        del web.town.waiting["job-first"]
        assert (await asking).json == {}

    async def test_who_waits_long_is_told_to_come_again(
        self, web: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "_HOLD_SECONDS", 0.01)
        assert (await web.ask("GET", "/v1/turn")).json == {"waitsFor": "Timeline"}
        monkeypatch.setattr(turns, "_HOLD_SECONDS", 600)
        monkeypatch.setattr(turns, "_LOOK_SECONDS", 0)
        web.town.looks = 0
        web.town.looked.clear()
        again = asyncio.create_task(web.ask("GET", "/v1/turn"))
        looked = asyncio.create_task(web.town.looked.wait())
        await asyncio.wait((again, looked), return_when=asyncio.FIRST_COMPLETED)
        assert not again.done()  # it found its place free, and is held
        del web.town.waiting["job-first"]
        assert (await again).json == {}

    @pytest.mark.parametrize("bound", ["_HELD", "_HELD_A_NAMESPACE"])
    async def test_where_many_wait_others_are_told_as_it_is(
        self, web: Held, monkeypatch: pytest.MonkeyPatch, bound: str
    ) -> None:
        monkeypatch.setattr(turns, "_HOLD_SECONDS", 600)
        monkeypatch.setattr(turns, bound, 0)
        assert (await web.ask("GET", "/v1/turn")).json == {"waitsFor": "Timeline"}

    async def test_who_waits_takes_no_room_of_those_who_work(
        self, web: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(app, "_AT_ONCE_OVERALL", 1)
        monkeypatch.setattr(turns, "_HOLD_SECONDS", 600)
        monkeypatch.setattr(turns, "_LOOK_SECONDS", 0)
        asking = asyncio.create_task(web.ask("GET", "/v1/turn"))
        await web.town.looked.wait()
        assert (await web.ask("POST", "/v1/progress", b"{}")).status == 204
        del web.town.waiting["job-first"]
        assert (await asking).json == {}

    async def test_a_stranger_is_told_nothing(self, web: Held) -> None:
        assert (await web.ask("GET", "/v1/turn", pod="nobody")).status == 401


class Api:
    """An API server with one RecoveryRequest, which counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.away = False
        rows = [
            {"name": name, "dataClass": kind, "phase": "Running", "jobUid": f"job-{name}"}
            for name, kind in (("planning", "Timeline"), ("portfolio", "Portfolio"))
        ]
        body = request(
            status={
                "phase": "Recovering",
                "sources": rows,
                "stages": [{"dataClass": "Timeline"}, {"dataClass": "Portfolio"}],
            }
        ).dump()
        body["metadata"]["uid"] = OWNER.uid
        self.body: Object | None = body

    @property
    def there(self) -> Object:
        assert self.body is not None
        return self.body

    async def get(self, *_: object) -> Object | None:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise ApiError("no answer", status=0, reason="Unreachable")
        return json.loads(json.dumps(self.body))  # type: ignore[no-any-return]


@pytest.fixture
def api() -> Api:
    return Api()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(api: Api, clock: Clock) -> KubernetesTurns:
    return KubernetesTurns(api, clock=clock)  # type: ignore[arg-type]


def waiter(name: str = "portfolio", stage: DataClass | None = DataClass.TIMELINE) -> Scope:
    return replace(RESTORE, job_uid=f"job-{name}", waits_for=stage)


class TestStatus:
    async def test_the_status_decides_and_is_read_again_soon(
        self, api: Api, known: KubernetesTurns, clock: Clock
    ) -> None:
        assert await known.waits_for(waiter()) is DataClass.TIMELINE
        api.there["status"]["sources"][0]["phase"] = "Completed"
        clock.now += turns._LOOK_SECONDS
        assert await known.waits_for(waiter()) is None

    async def test_all_who_wait_are_told_by_one_look(
        self, api: Api, known: KubernetesTurns
    ) -> None:
        await asyncio.gather(*(known.waits_for(waiter()) for _ in range(20)))
        await known.waits_for(waiter())
        assert api.reads == 1

    async def test_whose_turn_it_was_at_once_costs_no_look(
        self, api: Api, known: KubernetesTurns
    ) -> None:
        assert await known.waits_for(waiter("planning", None)) is None
        assert api.reads == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"status": {"phase": "Cancelled"}},
            {"spec": {"policyRef": {"name": "wedding"}, "cancel": True}},
            {"metadata": {"name": "back", "uid": "another"}},
            {"status": {"phase": "Recovering"}},
            None,
        ],
        ids=["ended", "cancelled", "another", "no-such-job", "gone"],
    )
    async def test_who_waits_for_what_is_over_is_sent_away(
        self, api: Api, known: KubernetesTurns, change: Object | None
    ) -> None:
        api.body = None if change is None else {**api.there, **change}
        with pytest.raises(RefusedError) as caught:
            await known.waits_for(waiter())
        assert caught.value.refusal.code is RefusalCode.UNKNOWN_WORKER

    async def test_an_api_server_that_is_away_is_waited_for(
        self, api: Api, known: KubernetesTurns
    ) -> None:
        api.away = True
        with pytest.raises(RefusedError) as caught:
            await known.waits_for(waiter())
        assert caught.value.refusal.code is RefusalCode.TRANSIENT
        api.away = False
        assert await known.waits_for(waiter()) is DataClass.TIMELINE
