"""What who is refused learns, and what the log says: each where it belongs, and secrets nowhere."""

import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog

from tests.unit.broker.test_http import PACK, Town, Web, put
from weddingbackup import log
from weddingbackup.broker import refusals
from weddingbackup.broker.app import create_app
from weddingbackup.broker.keeping import Keeping
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import Progress, RefusalCode
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores.errors import StoreError

ACCOUNT = "arn:aws:iam::123456789012:user/the-brokers-own"
SECRETS = ("hunter2", "f00dface", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln")
SAID = (
    f"User: {ACCOUNT} is not authorized: https://s3/b/rival-weddings?X-Amz-Signature={SECRETS[1]} "
    f"secretAccessKey={SECRETS[0]} {SECRETS[2]}"
)
WHOSE = {"namespace": "first", "pod": "first", "job": "one"}
LISTING = "/v1/locations/london/objects?prefix=packs/"


class Talkative(BaseHTTPRequestHandler):
    """A provider that denies everything, and says more than it should."""

    def do_GET(self) -> None:
        body = f"<Error><Code>AccessDenied</Code><Message>{SAID}</Message></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Talkative)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Told(Town):
    """Its locations are at a talkative provider, and its records fail."""

    endpoint = ""

    async def credentials(
        self, location: BackupLocation
    ) -> tuple[LocationAccess, Mapping[str, str]]:
        access, secrets = await super().credentials(location)
        return access.model_copy(update={"endpoint": self.endpoint}), secrets

    async def report(self, scope: Scope, progress: Progress) -> None:
        raise RuntimeError(f"{scope.pod} {progress.files}: {SAID}")


@pytest.fixture
async def web(endpoint: str) -> AsyncIterator[Web]:
    town = Told()
    town.endpoint = endpoint
    keeping = Keeping(town.credentials)
    yield Web(create_app(town, keeping, town, town, town), town)
    keeping.close()


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log, in which nothing is a secret."""
    said = capsys.readouterr().out
    for secret in SECRETS:
        assert secret not in said
    return [json.loads(line) for line in said.splitlines()]


async def test_a_providers_own_words_are_for_the_log_alone(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    told = await web.ask("GET", LISTING)
    assert (told.status, told.json["code"]) == (403, "Denied")
    assert told.json["message"].startswith("location london is denied to the operator")
    for word in (ACCOUNT, "rival", *SECRETS):
        assert word.encode() not in told.body
    [line] = lines(capsys)
    assert ACCOUNT in line["detail"]
    assert {**WHOSE, "location": "london"}.items() <= line.items()


async def test_what_is_signed_is_logged_without_a_signature(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    puts, gets = await web.sign(puts=[put()], gets=[{"location": "london", "name": PACK}])
    [line] = lines(capsys)
    assert {**WHOSE, "event": "signed", "locations": ["london"]}.items() <= line.items()
    assert not [word for word in ("http", "X-Amz") if word in json.dumps(line)]
    assert all("X-Amz-Signature" in answer["signed"]["url"] for answer in (*puts, *gets))


async def test_every_refusal_says_whose_it_was_and_where(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    await web.ask("GET", "/v1/locations/paris/objects?prefix=packs/")
    await web.sign(gets=[{"location": "rome", "name": PACK}])
    refused, unsigned, signed = lines(capsys)
    assert {**WHOSE, "location": "paris", "code": "NotYours"}.items() <= refused.items()
    assert {**WHOSE, "location": "rome", "code": "Denied"}.items() <= unsigned.items()
    assert signed["locations"] == ["rome"]


async def test_made_up_names_do_not_fill_the_log(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    names = [f'{number}\n{{"event": "forged"}}' for number in range(256)]
    await web.sign(gets=[{"location": name, "name": PACK} for name in names])
    [line] = lines(capsys)
    assert (line["refused"], line["locations"]) == (256, [])
    long = f"/v1/locations/{'a' * 9000}{SECRETS[2]}/objects?prefix=packs/"
    assert (await web.ask("GET", long)).status == 403
    [line] = lines(capsys)
    assert len(json.dumps(line)) < 4000


def test_what_is_cut_off_was_redacted_before(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    uri = f"postgresql://me:{SECRETS[0]}{'x' * 2 * refusals._LONGEST}@db/"
    refusals.log(RefusedError(RefusalCode.TRANSIENT, "no", detail=uri))
    refusals.log(StoreError(uri, location="london"))
    assert [line["detail"] for line in lines(capsys)] == ["postgresql://***@db/"] * 2


async def test_what_nobody_thought_of_is_logged_with_its_job_and_not_answered(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    asking = web.begin("first", "/v1/progress", b"{}")
    asking.ending.set()
    with suppress(RuntimeError):
        assert (await asking.task).body == b"Internal Server Error"
    [line] = lines(capsys)
    assert {**WHOSE, "event": "failed", "level": "error"}.items() <= line.items()
    assert ACCOUNT in line["exception"]


async def test_another_pods_line_is_its_own(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    web.town.scopes["second"] = replace(web.town.scopes["second"], pod="other")
    for pod in ("first", "second"):
        await web.ask("GET", LISTING, pod=pod)
    assert [line["pod"] for line in lines(capsys)] == ["first", "other"]
    await web.ask("GET", LISTING, pod="nobody")
    [line] = lines(capsys)
    assert "namespace" not in line
