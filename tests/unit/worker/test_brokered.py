import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.process import wait_until
from tests.unit.worker.liar import Asked, Liar, Said, liar
from weddingbackup.resources import broker as wire
from weddingbackup.resources.broker import Answer, Refusal, RefusalCode, SignAnswer, SignRequest
from weddingbackup.resources.common import LocationLimits
from weddingbackup.resources.tasks import VaultRef
from weddingbackup.stores.api import PutIntent
from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.stores.retry import Retry
from weddingbackup.vault.kit import Kit
from weddingbackup.worker import brokered
from weddingbackup.worker.brokered import BrokerGrants, Signer
from weddingbackup.worker.client import Client
from weddingbackup.worker.errors import RefusedError

EXPIRES = datetime(2026, 12, 5, tzinfo=UTC) + timedelta(minutes=10)


def place(name: str) -> wire.Location:
    return wire.Location(name=name, address=f"bucket {name}", binds_md5=True)


def signed(wanted: wire.Put | wire.Get) -> Answer:
    url = f"https://{wanted.location}/{wanted.name}?sig=secret"
    return Answer(signed=wire.Signed(method="GET", url=url, headers={"a": "b"}, expires_at=EXPIRES))


def sign_all(asked: Asked) -> Said:
    request = SignRequest.model_validate_json(asked.body)
    answer = SignAnswer(
        puts=[signed(put) for put in request.puts], gets=[signed(get) for get in request.gets]
    )
    return Said(200, answer.to_json().encode())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Liar]:
    with liar(tmp_path) as found:
        found.answer = sign_all
        yield found


@pytest.fixture
def client(broker: Liar, tmp_path: Path) -> Client:
    (tmp_path / "token").write_text("token")
    return Client(broker.access, tmp_path / "token", patience=Retry(deadline_seconds=0))


def test_what_is_asked_while_a_request_is_under_way_goes_in_one(
    broker: Liar, client: Client
) -> None:
    go = threading.Event()

    def slowly(asked: Asked) -> Said:
        assert go.wait(30)
        return sign_all(asked)

    broker.answer = slowly
    signer = Signer(client)
    grants = {name: BrokerGrants(signer, client, place(name)) for name in ("london", "paris")}
    put = PutIntent("packs/p", 7, bytes(32), bytes(16))

    def ask(number: int) -> str:
        mine = grants[("london", "paris")[number % 2]]
        [found] = mine.sign_puts([put]) if number % 3 else mine.sign_gets([f"index/{number}"])
        return found.url

    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(ask, 0)
        wait_until(lambda: bool(broker.asked), seconds=30, what="the first request")
        others = [pool.submit(ask, number) for number in range(1, 12)]
        wait_until(lambda: len(signer._waiting) == 11, seconds=30, what="all to wait")
        go.set()
        urls = [first.result(), *(each.result() for each in others)]
    assert len(broker.asked) == 2
    for number, url in enumerate(urls):
        where = ("london", "paris")[number % 2]
        what = "packs/p" if number % 3 else f"index/{number}"
        assert url == f"https://{where}/{what}?sig=secret"


def test_the_limits_that_the_broker_tells_hold_for_the_wire(tmp_path: Path) -> None:
    limits = LocationLimits(upload_bytes_per_second=1 << 20, download_bytes_per_second=2 << 20)
    carrier = brokered._wire(place("london").model_copy(update={"limits": limits}), tmp_path)
    assert carrier._upload is not None
    assert carrier._download is not None
    assert (carrier._upload.rate, carrier._download.rate) == (1 << 20, 2 << 20)


def test_more_than_fits_into_one_request_goes_in_several(broker: Liar, client: Client) -> None:
    grants = BrokerGrants(Signer(client), client, place("london"))
    names = [f"packs/{number}" for number in range(600)]
    found = grants.sign_gets(names)
    assert [each.url.partition("?")[0] for each in found] == [f"https://london/{n}" for n in names]
    assert len(broker.asked) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (RefusalCode.TRANSIENT, TransientError),
        (RefusalCode.DENIED, DeniedError),
        (RefusalCode.MISSING, MissingError),
        (RefusalCode.EXISTS, ExistsError),
        (RefusalCode.CORRUPT, CorruptError),
        (RefusalCode.UNSUPPORTED, UnsupportedError),
        (RefusalCode.NOT_YOURS, UnsupportedError),
        (RefusalCode.TOO_MUCH, UnsupportedError),
    ],
)
def test_one_locations_refusal_is_its_own(
    broker: Liar, client: Client, code: RefusalCode, kind: type[StoreError]
) -> None:
    refused = Answer(refusal=Refusal(code=code, message="no", retry_after_seconds=3))

    def answer(asked: Asked) -> Said:
        gets = SignRequest.model_validate_json(asked.body).gets
        answers = [refused if get.location == "paris" else signed(get) for get in gets]
        return Said(200, SignAnswer(puts=[], gets=answers).to_json().encode())

    broker.answer = answer
    signer = Signer(client)
    with pytest.raises(kind, match="no") as caught:
        BrokerGrants(signer, client, place("paris")).sign_gets(["packs/a"])
    assert (type(caught.value), caught.value.location) == (kind, "paris")
    if isinstance(caught.value, TransientError):
        assert caught.value.retry_after_seconds == 3
    assert BrokerGrants(signer, client, place("london")).sign_gets(["packs/a"])


def test_all_who_waited_for_a_broker_that_stays_away_are_told_together(
    broker: Liar, client: Client
) -> None:
    """Or the second would wait for as long as the first again, and the third after it."""
    go = threading.Event()

    def away(_: Asked) -> Said:
        assert go.wait(30)
        return Said(0)

    broker.answer = away
    signer = Signer(client)
    grants = BrokerGrants(signer, client, place("london"))
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(grants.sign_gets, ["packs/a"])]
        wait_until(lambda: bool(broker.asked), seconds=30, what="the first request")
        asked += [pool.submit(grants.sign_gets, ["packs/a"]) for _ in range(4)]
        wait_until(lambda: len(signer._waiting) == 4, seconds=30, what="all to wait")
        go.set()
        for each in asked:
            with pytest.raises(TransientError, match="Deployment of the broker"):
                each.result()
    assert len(broker.asked) == 1


@pytest.mark.parametrize("founding", ["another vault's", "none", "damaged"])
def test_founding_objects_that_are_not_the_vaults_are_refused(
    broker: Liar, client: Client, founding: str
) -> None:
    kit = Kit.found()
    objects: dict[str, dict[str, bytes]] = {
        "another vault's": dict(Kit.found().objects),
        "none": {},
        "damaged": {"format": b"x"},
    }
    vault = VaultRef(id=kit.vault_id, prefix=kit.prefix)
    model = wire.Opening.model_construct(
        vault=vault, founding=objects[founding], keys=[], locations=[]
    )
    broker.answer = lambda _: Said(200, model.to_json().encode())
    with pytest.raises(RefusedError, match="founding"), brokered.opened(client, vault):
        pass


@pytest.mark.parametrize("member", ["id", "prefix"])
def test_another_vault_than_the_tasks_is_refused(broker: Liar, client: Client, member: str) -> None:
    kit = Kit.found()
    vault = VaultRef(id=kit.vault_id, prefix=kit.prefix)
    model = wire.Opening.model_construct(
        vault=vault, founding=dict(kit.objects), keys=[], locations=[]
    )
    broker.answer = lambda _: Said(200, model.to_json().encode())
    other = vault.model_copy(update={member: "f" * 32})
    with pytest.raises(RefusedError) as caught, brokered.opened(client, other):
        pass
    assert caught.value.code == "WrongKey"
