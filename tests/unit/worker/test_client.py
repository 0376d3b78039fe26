import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.certificate import certificate
from tests.unit.worker.liar import Answer, Asked, Liar, Said, liar
from weddingbackup.resources.broker import Progress, Put, Refusal, RefusalCode, SignRequest
from weddingbackup.stores.retry import Retry
from weddingbackup.worker.client import Client
from weddingbackup.worker.errors import BrokerError, RefusedError

TOKEN = "eyJ-a-token"
END = b'{"end": true}\n'
ONE = b'{"name": "packs/a", "size": 1}\n'


def refusal(code: RefusalCode, message: str = "no", after: float | None = None) -> bytes:
    return Refusal(code=code, message=message, retry_after_seconds=after).to_json().encode()


def in_turn(*answers: Said) -> Answer:
    """These one after the other, and the last one from then on."""
    left = list(answers)

    def answer(_: Asked) -> Said:
        return left.pop(0) if left[1:] else left[0]

    return answer


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Liar]:
    with liar(tmp_path) as found:
        yield found


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


@pytest.fixture
def client(broker: Liar, token: Path) -> Client:
    return Client(broker.access, token, patience=Retry(sleep=lambda _: None))


@pytest.fixture
def hurried(broker: Liar, token: Path) -> Client:
    """One that gives up when the first pause is due."""
    return Client(broker.access, token, patience=Retry(deadline_seconds=0))


def test_the_token_is_read_anew_for_each_request(broker: Liar, client: Client, token: Path) -> None:
    broker.answer = in_turn(Said(204))
    client.tell(Progress())
    token.write_text("the-next-one\n")
    client.tell(Progress())
    assert [asked.token for asked in broker.asked] == [TOKEN, "the-next-one"]


@pytest.mark.parametrize(
    "away",
    [
        Said(0),
        Said(503),
        Said(502, b"<html>bad gateway</html>"),
        Said(503, refusal(RefusalCode.TRANSIENT)),
        Said(429, refusal(RefusalCode.TOO_MUCH, after=0)),
        Said(200, b'{"puts":', cut=True),
    ],
)
def test_a_broker_that_is_away_is_asked_again(broker: Liar, client: Client, away: Said) -> None:
    broker.answer = in_turn(away, away, Said(200, b'{"puts": [], "gets": []}'))
    client.sign(SignRequest())
    assert len(broker.asked) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, RefusalCode.UNKNOWN_WORKER),
        (403, RefusalCode.NOT_YOURS),
        (400, RefusalCode.BAD_REQUEST),
        (413, RefusalCode.TOO_MUCH),
        (429, RefusalCode.TOO_MUCH),
        (503, RefusalCode.SOURCE_UNAVAILABLE),
    ],
)
def test_a_refusal_is_taken_at_once(
    broker: Liar, client: Client, status: int, code: RefusalCode
) -> None:
    broker.answer = in_turn(Said(status, refusal(code, "not this one")))
    with pytest.raises(BrokerError, match="not this one") as caught:
        client.sign(SignRequest())
    assert caught.value.refusal.code is code
    assert len(broker.asked) == 1


def test_a_job_waits_in_place_until_its_turn_comes(broker: Liar, token: Path) -> None:
    """However long that takes, and whatever the broker does meanwhile."""
    waits = Said(425, refusal(RefusalCode.WAITS, "waits for stage Timeline"))
    pauses: list[float] = []
    client = Client(broker.access, token, patience=Retry(sleep=pauses.append))
    not_yet, away = Said(200, b'{"waitsFor": "Timeline"}'), Said(503)
    answers = [waits, *[not_yet] * 8, away, not_yet, Said(200, b"{}"), waits, Said(200, b"{}")]
    broker.answer = in_turn(*answers, Said(200, b'{"puts": [], "gets": []}'))
    client.sign(SignRequest())
    paths = [asked.path for asked in broker.asked]
    assert paths == ["/v1/sign", *["/v1/turn"] * 11, "/v1/sign", "/v1/turn", "/v1/sign"]
    assert all(pauses[:8])  # each question after a pause: it is no circle


def test_a_job_that_waits_ends_when_it_is_told_that_it_is_over(
    broker: Liar, client: Client
) -> None:
    waits = Said(425, refusal(RefusalCode.WAITS))
    gone = Said(401, refusal(RefusalCode.UNKNOWN_WORKER, "the RecoveryRequest is not under way"))
    broker.answer = in_turn(waits, gone)
    with pytest.raises(BrokerError, match="not under way"):
        client.sign(SignRequest())


def test_a_location_that_is_away_is_not_taken_for_the_broker(broker: Liar, client: Client) -> None:
    broker.answer = in_turn(Said(503, refusal(RefusalCode.TRANSIENT, "london is away")))
    for ask in (
        lambda: client.list("london", "packs/"),
        lambda: client.put_manifest("l", "n", b""),
    ):
        with pytest.raises(BrokerError, match="london is away"):
            ask()
    assert len(broker.asked) == 2


def test_who_waited_too_long_is_told_what_to_look_at(broker: Liar, hurried: Client) -> None:
    broker.answer = in_turn(Said(0))
    with pytest.raises(BrokerError, match="Deployment of the broker") as caught:
        hurried.open()
    assert caught.value.refusal.code is RefusalCode.TRANSIENT
    assert "127.0.0.1" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_shown_no_token(
    broker: Liar, token: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other", "127.0.0.1").path.read_text()
    access = broker.access.model_copy(update={"authorities": other})
    client = Client(access, token, patience=Retry(sleep=lambda _: pytest.fail("it waits")))
    with pytest.raises(BrokerError, match="vouch") as caught:
        client.open()
    assert caught.value.refusal.code is RefusalCode.DENIED
    assert broker.asked == []


@pytest.mark.parametrize(
    "change", [{"url": "http://broker"}, {"authorities": "none"}, {"authorities": ""}]
)
def test_a_task_whose_broker_cannot_be_trusted_is_refused(
    broker: Liar, token: Path, change: dict[str, str]
) -> None:
    with pytest.raises(RefusedError) as caught:
        Client(broker.access.model_copy(update=change), token)
    assert caught.value.code == "BadTask"


def test_a_redirect_is_not_followed(broker: Liar, hurried: Client) -> None:
    broker.answer = in_turn(Said(307, headers={"Location": broker.access.url + "/elsewhere"}))
    with pytest.raises(BrokerError, match="307"):
        hurried.open()
    assert [asked.path for asked in broker.asked] == ["/v1/open"]


def test_an_answer_that_makes_no_sense_is_not_quoted(broker: Liar, client: Client) -> None:
    broker.answer = in_turn(Said(200, b'{"puts": "hunter2"}'))
    for ask in (client.open, lambda: client.sign(SignRequest())):
        with pytest.raises(BrokerError, match="makes no sense") as caught:
            ask()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_fewer_answers_than_questions_make_no_sense(broker: Liar, client: Client) -> None:
    broker.answer = in_turn(Said(200, b'{"puts": [], "gets": []}'))
    put = Put(location="london", name="packs/a", size=1, sha256="0" * 64)
    with pytest.raises(BrokerError, match="makes no sense"):
        client.sign(SignRequest(puts=[put]))


def test_a_listing_is_what_stands_before_its_end(broker: Liar, client: Client) -> None:
    broker.answer = in_turn(Said(200, ONE + END))
    assert [found.name for found in client.list("london", "packs/")] == ["packs/a"]
    assert broker.asked[0].path == "/v1/locations/london/objects?prefix=packs%2F"


@pytest.mark.parametrize("broken", [b"", ONE, ONE + ONE[:9], ONE + END[:-5]])
def test_a_listing_without_an_end_is_asked_for_again(
    broker: Liar, client: Client, hurried: Client, broken: bytes
) -> None:
    broker.answer = in_turn(Said(200, broken), Said(200, ONE + ONE + END))
    assert len(list(client.list("london", ""))) == 2
    broker.answer = in_turn(Said(200, broken))
    with pytest.raises(BrokerError, match="broke off"):
        hurried.list("london", "")


def test_a_listing_that_ends_with_a_refusal_is_none(broker: Liar, client: Client) -> None:
    end = json.dumps({"end": True, "refusal": {"code": "Denied", "message": "no key"}})
    broker.answer = in_turn(Said(200, ONE + end.encode()))
    with pytest.raises(BrokerError, match="no key"):
        client.list("london", "")


def test_rows_are_saved_whole_or_not_at_all(
    broker: Liar, client: Client, hurried: Client, tmp_path: Path
) -> None:
    into = tmp_path / "rows.tar"
    broker.answer = in_turn(Said(200, b"half", cut=True), Said(200, b"whole"))
    client.get_rows("planning", into)
    assert into.read_bytes() == b"whole"
    broker.answer = in_turn(Said(200, b"half", cut=True))
    with pytest.raises(BrokerError):
        hurried.get_rows("planning", into)
    assert not into.exists()


def test_rows_are_sent_from_their_beginning_each_time(
    broker: Liar, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "rows.tar").write_bytes(b"rows")
    broker.answer = in_turn(Said(0), Said(200, b'{"rows": 3}'))
    assert client.put_rows("planning", tmp_path / "rows.tar").rows == 3
    assert [asked.body for asked in broker.asked] == [b"rows", b"rows"]
    assert broker.asked[0].path == "/v1/sources/planning/rows"


def test_progress_is_told_once_only(broker: Liar, client: Client) -> None:
    broker.answer = in_turn(Said(503))
    with pytest.raises(BrokerError):
        client.tell(Progress(bytes_done=7))
    assert len(broker.asked) == 1


@pytest.mark.parametrize(
    "waiting",
    [
        [Said(0), Said(0)],
        [
            Said(425, refusal(RefusalCode.WAITS)),
            Said(200, b'{"waitsFor": "Guests"}'),
            Said(200, b"{}"),
        ],
    ],
    ids=["away", "not-yet"],
)
def test_the_clock_stands_still_while_the_broker_is_waited_for(
    broker: Liar, token: Path, monkeypatch: pytest.MonkeyPatch, waiting: list[Said]
) -> None:
    now = [100.0]
    monkeypatch.setattr("weddingbackup.worker.client.time.monotonic", lambda: now[0])

    def pause(_: float) -> None:
        now[0] += 60

    client = Client(
        broker.access, token, patience=replace(Retry(600), sleep=pause, clock=lambda: now[0])
    )
    broker.answer = in_turn(*waiting, Said(200, b'{"puts": [], "gets": []}'))
    begun = client.clock()
    client.sign(SignRequest())
    assert now[0] == 220
    assert client.clock() == begun
    now[0] += 5
    assert client.clock() == begun + 5
