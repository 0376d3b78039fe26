"""The broker's certificate in real Secrets: TLS clients believe it, whenever the operator was killed."""

import base64
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster import Cluster as TestCluster
from weddingbackup.controller import certificates
from weddingbackup.controller.certificates import renew, subject_names
from weddingbackup.kube.client import SECRETS, Cluster, connect
from weddingbackup.kube.jobs import Platform
from weddingbackup.rules.certificates import AUTHORITY_REPLACED_AFTER, OVERLAP, Step

pytestmark = pytest.mark.integration

NOW = datetime(2026, 6, 1, 12, 0, 0, 250, tzinfo=UTC)
URL = "https://w-broker.home.svc"


@pytest.fixture
async def kube(cluster: TestCluster) -> AsyncIterator[Cluster]:
    async with connect(str(cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
def where(namespace: str) -> Platform:
    return Platform(
        namespace=namespace,
        image="i",
        service_account="w",
        broker_url=URL,
        broker_secret="w-broker-tls",
        broker_authority="w-broker-ca",
    )


async def entries(kube: Cluster, where: Platform, name: str) -> dict[str, str]:
    secret = await kube.get(SECRETS, name, where.namespace)
    assert secret is not None
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def handshake(authorities: str, served: dict[str, str], host: str, directory: object) -> None:
    """A TLS handshake in memory, with the strictest verification.

    Raises:
        ssl.SSLError: the client does not believe the server.
    """
    certificate, key = (f"{directory}/{name}" for name in ("tls.crt", "tls.key"))
    for path, text in ((certificate, served["tls.crt"]), (key, served["tls.key"])):
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123  two lines
            file.write(text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cadata=authorities)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=host),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


async def test_a_client_believes_it(kube: Cluster, where: Platform, tmp_path: object) -> None:
    # Now, and not at a moment of ours: TLS goes by the clock of the machine.
    steps = await renew(kube, where, datetime.now(UTC))
    assert steps == [Step.FOUND, Step.ANNOUNCE, Step.ISSUE]
    served = await entries(kube, where, where.broker_secret)
    assert served.keys() == {"ca.crt", "tls.crt", "tls.key"}
    for host in ("w-broker.home.svc", "w-broker", "w-broker.home.svc.cluster.local"):
        handshake(served["ca.crt"], served, host, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(served["ca.crt"], served, "w-broker.elsewhere.svc", tmp_path)
    assert await renew(kube, where, datetime.now(UTC)) == []


async def test_an_address_is_a_name_too(kube: Cluster, where: Platform, tmp_path: object) -> None:
    there = replace(where, broker_url="https://10.1.2.3:8443")
    await renew(kube, there, datetime.now(UTC))
    served = await entries(kube, where, where.broker_secret)
    handshake(served["ca.crt"], served, "10.1.2.3", tmp_path)
    # The URL changes: a new certificate of the same authority, which nobody has to be told of.
    assert await renew(kube, where, datetime.now(UTC)) == [Step.ISSUE]
    after = await entries(kube, where, where.broker_secret)
    assert after["ca.crt"] == served["ca.crt"]
    handshake(served["ca.crt"], after, "w-broker", tmp_path)


async def test_killed_after_each_step_it_goes_on(
    kube: Cluster, where: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_MOST_STEPS", 1)
    taken = []
    now = NOW
    while Step.DROP not in taken:
        taken += (steps := await renew(kube, where, now))
        assert len(taken) < 40
        if not steps:
            now += OVERLAP if Step.SUCCEED in taken else AUTHORITY_REPLACED_AFTER
    without = [step for step in taken if step is not Step.ISSUE]
    rotation = [Step.SUCCEED, Step.ANNOUNCE, Step.SWITCH, Step.PROMOTE, Step.DROP]
    assert without == [Step.FOUND, Step.ANNOUNCE, *rotation]
    kept = await entries(kube, where, where.broker_authority)
    assert kept.keys() == {"ca.crt", "ca.key"}
    served = await entries(kube, where, where.broker_secret)
    assert served["ca.crt"] == kept["ca.crt"]


async def test_over_a_rotation_last_weeks_workers_believe_it(
    kube: Cluster, where: Platform
) -> None:
    now = NOW
    await renew(kube, where, now)
    last_week = (await entries(kube, where, where.broker_secret))["ca.crt"]
    now += AUTHORITY_REPLACED_AFTER
    await renew(kube, where, now)
    for _ in range(4):
        now += OVERLAP - timedelta(hours=12)
        await renew(kube, where, now)
        served = await entries(kube, where, where.broker_secret)
        secret = {"data": {"ca.crt": _code(last_week), "tls.crt": _code(served["tls.crt"])}}
        secret["data"]["tls.key"] = _code(served["tls.key"])
        seen = certificates.State.read(None, secret).facts()
        assert seen.serving is not None
        assert seen.serving.issuer in seen.believed
        last_week = served["ca.crt"]


@pytest.mark.parametrize("secret", ["w-broker-tls", "w-broker-ca"])
@pytest.mark.parametrize("key", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_what_is_damaged_is_mended(
    kube: Cluster, where: Platform, secret: str, key: str, text: str
) -> None:
    await renew(kube, where, NOW)
    patch = {"data": {key: _code(text)}, "metadata": {"annotations": {certificates.SINCE: text}}}
    await kube.patch(SECRETS, secret, where.namespace, patch)
    await renew(kube, where, NOW)
    assert await renew(kube, where, NOW) == []
    shown = await kube.get(SECRETS, where.broker_secret, where.namespace)
    serving = certificates.State.read(None, shown).facts().serving
    assert serving is not None
    assert serving.issuer
    assert serving.names == subject_names(URL)


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
