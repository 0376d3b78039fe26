"""What every provider's store promises about signatures, credentials and a network that fails."""

import base64
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.stores.conftest import IN_THE_CLEAR, Remote
from tests.servers.gcs import private_pem
from tests.servers.process import wait_until
from weddingbackup.resources.common import Provider
from weddingbackup.stores import open_keeper, open_store, open_wire
from weddingbackup.stores.api import Keeper, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
)
from weddingbackup.stores.wirestore import WireStore

pytestmark = pytest.mark.integration


def put(store: WireStore, name: str, data: bytes) -> None:
    store.put(name, data, sha256=hashlib.sha256(data).digest())


def intent(name: str, data: bytes) -> PutIntent:
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return PutIntent(name, len(data), hashlib.sha256(data).digest(), md5)


# Signatures


def test_other_bytes_than_were_signed_are_refused_and_not_stored(remote: Remote) -> None:
    wire, [signed] = remote.wire(), remote.keeper().sign_puts([intent("packs/one", b"signed")])
    with pytest.raises(CorruptError):
        wire.put(signed, b"others", name="packs/one")
    with pytest.raises(MissingError):
        remote.store().get("packs/one")


def test_a_signed_request_is_good_for_one_name_and_one_method(remote: Remote) -> None:
    keeper, wire = remote.keeper(), remote.wire()
    put(remote.store(), "packs/one", b"one")
    put(remote.store(), "packs/two", b"two")
    [read] = keeper.sign_gets(["packs/one"])
    elsewhere = SignedRequest(
        "GET", read.url.replace("packs/one", "packs/two"), read.headers, read.expires_at
    )
    with pytest.raises(DeniedError):
        wire.get(elsewhere, name="packs/two")
    for method in ("PUT", "DELETE"):
        with pytest.raises(StoreError):
            wire.put(SignedRequest(method, read.url, {}, read.expires_at), b"new", name="packs/one")
    assert remote.store().get("packs/one") == b"one"


def test_a_signed_put_reads_nothing_and_deletes_nothing(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"one")
    [signed] = remote.keeper().sign_puts([intent("packs/one", b"one")])
    wire = remote.wire()
    with pytest.raises(StoreError):
        wire.get(SignedRequest("GET", signed.url, {}, signed.expires_at), name="packs/one")
    with pytest.raises(StoreError):
        wire.put(SignedRequest("DELETE", signed.url, {}, signed.expires_at), b"", name="packs/one")
    assert remote.store().get("packs/one") == b"one"


def test_signatures_live_ten_minutes_at_most(remote: Remote) -> None:
    keeper = remote.keeper()
    before = datetime.now(UTC)
    for signed in (*keeper.sign_puts([intent("a", b"")]), *keeper.sign_gets(["a"])):
        assert signed.expires_at <= datetime.now(UTC) + timedelta(minutes=10)
        assert signed.expires_at > before


class StaleGrants:
    """Signs like `keeper`, but the first answer to each question is one that has expired since."""

    def __init__(
        self, keeper: Keeper, puts: list[SignedRequest], gets: list[SignedRequest]
    ) -> None:
        self._keeper, self._puts, self._gets = keeper, puts, gets
        self.location, self.address = keeper.location, keeper.address
        self.binds_md5 = keeper.binds_md5

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        return [self._puts.pop()] if self._puts else self._keeper.sign_puts(puts)

    def sign_gets(self, names: Sequence[str]) -> list[SignedRequest]:
        return [self._gets.pop()] if self._gets else self._keeper.sign_gets(names)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._keeper.list(prefix)


def test_an_expired_request_is_refused_by_the_server_and_signed_anew_by_us(remote: Remote) -> None:
    keeper, wire = remote.keeper(), remote.wire()
    keeper._lifetime = timedelta(seconds=1)  # type: ignore[attr-defined]
    [stale_put] = keeper.sign_puts([intent("packs/one", b"one")])
    [stale_get] = keeper.sign_gets(["packs/one"])
    wait_until(
        lambda: datetime.now(UTC) > stale_get.expires_at + timedelta(seconds=1.1),
        seconds=10,
        what="the requests to expire",
    )
    with pytest.raises(DeniedError):
        wire.put(stale_put, b"one", name="packs/one")
    with pytest.raises(DeniedError):
        wire.get(stale_get, name="packs/one")

    def believed(signed: SignedRequest) -> SignedRequest:
        later = datetime.now(UTC) + timedelta(minutes=9)
        return SignedRequest(signed.method, signed.url, signed.headers, later)

    fresh = remote.keeper()
    store = WireStore(StaleGrants(fresh, [believed(stale_put)], [believed(stale_get)]), wire)
    put(store, "packs/one", b"one")
    assert store.get("packs/one") == b"one"


# Credentials and settings


def wrong_credentials(remote: Remote) -> Mapping[str, str]:
    right = dict(remote.location.credentials)
    wrong = {}
    if remote.location.place.provider is Provider.GCS:
        right = {**remote.location.server.credentials, **right}
        account = json.loads(right["serviceAccount.json"])
        key = private_pem(rsa.generate_private_key(65537, 2048))
        wrong["serviceAccount.json"] = json.dumps({**account, "private_key": key})
    for name in right.keys() & {"secretAccessKey", "hmacSecret", "clientSecret"}:
        wrong[name] = "wrong"
    if "accountKey" in right:
        wrong["accountKey"] = base64.b64encode(b"wrong").decode()
    return {**right, **wrong}


USES: list[Callable[[WireStore], object]] = [
    lambda store: put(store, "packs/one", b"x"),
    lambda store: store.get("packs/one"),
    lambda store: list(store.list("")),
]


@pytest.mark.parametrize("use", USES, ids=["put", "get", "list"])
def test_a_wrong_key_is_denied_with_a_word_about_credentials(
    remote: Remote, use: Callable[[WireStore], object]
) -> None:
    store = open_store(remote.location.access, wrong_credentials(remote), prefix=remote.prefix)
    with pytest.raises(DeniedError, match="check the credentials"):
        use(store)


@pytest.mark.parametrize("use", USES, ids=["put", "get", "list"])
def test_a_missing_bucket_is_named_with_what_to_do(
    remote: Remote, use: Callable[[WireStore], object]
) -> None:
    access = remote.location.access.model_copy(update={"bucket": "weddings-eu"})
    store = open_store(access, remote.location.credentials, prefix=remote.prefix)
    with pytest.raises(MissingError, match=r"weddings-eu at http.* does not exist: create it"):
        use(store)


def test_credentials_that_lack_a_part_are_refused_at_once(remote: Remote) -> None:
    with pytest.raises(StoreError, match=r"credentials of location \w+ lack"):
        open_keeper(remote.location.access, {})


# Network


def test_an_unreachable_location_is_transient_and_named(remote: Remote) -> None:
    store = remote.store_that_gives_up()
    remote.location.proxy.cut()
    for use in USES:
        with pytest.raises(TransientError, match="gave no answer"):
            use(store)


def test_a_location_that_comes_back_is_used_again(remote: Remote) -> None:
    store = remote.store(on_pause=remote.location.proxy.heal)
    remote.location.proxy.cut()
    put(store, "packs/one", b"one")
    remote.location.proxy.cut()
    assert store.get("packs/one") == b"one"


def test_a_put_whose_connection_is_cut_half_way_is_done_again(remote: Remote) -> None:
    proxy, pauses = remote.location.proxy, []

    def heal() -> None:
        pauses.append(1)
        proxy.heal()

    data = os.urandom(5 << 20)
    proxy.toxic("limit_data", "upstream", bytes=1 << 20)
    put(remote.store(on_pause=heal), "packs/one", data)
    assert pauses
    assert remote.store().get("packs/one") == data


def test_a_get_whose_connection_is_cut_half_way_is_done_again(remote: Remote) -> None:
    proxy, pauses, data = remote.location.proxy, [], os.urandom(5 << 20)
    put(remote.store(), "packs/one", data)

    def heal() -> None:
        pauses.append(1)
        proxy.heal()

    proxy.toxic("limit_data", "downstream", bytes=1 << 20)
    assert remote.store(on_pause=heal).get("packs/one") == data
    assert pauses


@pytest.mark.parametrize("length", [None, 2 << 20])
def test_a_body_that_ends_early_is_never_returned(remote: Remote, length: int | None) -> None:
    put(remote.store(), "packs/one", os.urandom(2 << 20))
    remote.location.proxy.toxic("limit_data", "downstream", bytes=1 << 20)
    with pytest.raises(TransientError):
        remote.store_that_gives_up().get("packs/one", length=length)


@pytest.mark.parametrize("remote", IN_THE_CLEAR, indirect=True)
def test_a_put_whose_answer_got_lost_is_a_success_when_the_bytes_are_there(remote: Remote) -> None:
    """The object is stored, its answer is not delivered, and the second try finds it."""
    server = remote.location.server
    access = remote.location.access.model_copy(update={"endpoint": server.endpoint})
    direct = open_store(access, remote.direct, prefix=remote.prefix)
    pauses = []

    def is_stored() -> bool:
        return [found.size for found in direct.list("packs/one")] == [300_000]

    def heal() -> None:
        pauses.append(1)
        wait_until(is_stored, seconds=20, what="the server to have stored it")
        remote.location.proxy.heal()

    data = os.urandom(300_000)
    remote.location.proxy.toxic("limit_data", "downstream", bytes=1)
    put(remote.store(on_pause=heal), "packs/one", data)
    assert pauses == [1]
    assert direct.get("packs/one") == data


def test_a_put_that_never_gets_through_is_a_success_when_the_bytes_are_there(
    remote: Remote,
) -> None:
    """As with a server that refuses a taken name and hangs up before it has read the body."""
    data = os.urandom(3 << 20)
    put(remote.store(), "packs/one", data)
    remote.location.proxy.toxic("limit_data", "upstream", bytes=1 << 20)
    put(remote.store(), "packs/one", data)
    with pytest.raises(ExistsError):
        put(remote.store(), "packs/one", data[::-1])


def test_a_server_that_falls_silent_does_not_hold_us(remote: Remote) -> None:
    put(remote.store(), "packs/one", b"one")
    [signed] = remote.keeper().sign_gets(["packs/one"])
    wire = open_wire(remote.location.access, "the bucket", read_seconds=0.2)
    remote.location.proxy.toxic("timeout", "downstream", timeout=0)
    start = time.monotonic()
    with pytest.raises(TransientError, match="fell silent"):
        wire.get(signed, name="packs/one")
    assert time.monotonic() - start < 60


# Secrets


def test_nothing_secret_is_logged_or_said(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    def use_all(store: WireStore) -> None:
        for use in USES:
            try:
                use(store)
            except StoreError as error:
                said.append(f"{error!r} {error.__cause__!r} {error.__context__!r}")

    use_all(remote.store())
    use_all(open_store(remote.location.access, wrong_credentials(remote), prefix=remote.prefix))
    # Where a signature takes a key from the location, one cannot be had once that is cut off.
    [signed] = remote.keeper().sign_gets(["packs/one"])
    remote.location.proxy.cut()
    use_all(remote.store_that_gives_up())
    assert len(said) == 6
    said += [repr(signed), caplog.text, *(str(record.args) for record in caplog.records)]
    text = "\n".join(said)
    for secret in ("Signature=", "sig=", "Bearer", *_secrets(remote)):
        assert secret not in text


def _secrets(remote: Remote) -> Iterator[str]:
    for name, value in remote.location.credentials.items():
        if name == "serviceAccount.json":
            yield json.loads(value)["private_key"].splitlines()[1]
        elif name in {"secretAccessKey", "accountKey", "hmacSecret", "clientSecret"}:
            yield value
