import asyncio

import kopf
import pytest

from weddingbackup.controller.main import Heartbeat, login, platform, settings
from weddingbackup.resources import names
from weddingbackup.rules.quotas import Quotas

VARIABLES = {
    "WEDDINGBACKUP_NAMESPACE": "home",
    "WEDDINGBACKUP_IMAGE": "image:1",
    "WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT": "worker",
    "WEDDINGBACKUP_BROKER_URL": "https://broker.home.svc",
    "WEDDINGBACKUP_BROKER_TLS_SECRET": "broker-tls",
    "WEDDINGBACKUP_BROKER_CA_SECRET": "broker-ca",
}


def test_the_environment_says_who_we_are() -> None:
    where = platform(VARIABLES)
    assert (where.namespace, where.image, where.service_account) == ("home", "image:1", "worker")
    with pytest.raises(SystemExit, match="WEDDINGBACKUP_IMAGE"):
        platform({"WEDDINGBACKUP_NAMESPACE": "home"})


def test_the_fleets_quotas_are_those_of_the_environment() -> None:
    assert platform({**VARIABLES, "WEDDINGBACKUP_QUOTA_JOBS": ""}).quotas == Quotas()
    limits = {"WEDDINGBACKUP_QUOTA_JOBS": "3", "WEDDINGBACKUP_QUOTA_BYTES": "1Gi"}
    assert platform({**VARIABLES, **limits}).quotas == Quotas(jobs=3, bytes=2**30)
    with pytest.raises(SystemExit, match="WEDDINGBACKUP_QUOTA_LOCATIONS"):
        platform({**VARIABLES, "WEDDINGBACKUP_QUOTA_LOCATIONS": "several"})


def test_kopfs_state_stays_out_of_status_and_under_our_name() -> None:
    chosen = settings()
    assert chosen.persistence.finalizer == names.FINALIZER
    assert isinstance(chosen.persistence.progress_storage, kopf.AnnotationsProgressStorage)
    assert chosen.persistence.progress_storage.prefix == names.GROUP
    assert chosen.posting.enabled is False
    assert chosen.watching.server_timeout
    assert chosen.watching.client_timeout


async def test_a_heart_that_stopped_is_told_to_the_kubelet() -> None:
    heartbeat = Heartbeat(last=-1e9)
    with pytest.raises(kopf.PermanentError, match="no heartbeat"):
        await heartbeat.probe()


async def test_a_beating_heart_is_well() -> None:
    heartbeat = Heartbeat(asyncio.get_running_loop().time())
    assert "seconds ago" in await heartbeat.probe()


def test_a_token_is_read_again_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    info = kopf.ConnectionInfo(server="https://k", token="t")
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
    found = login()
    assert found is not None
    assert (found.token, found.expiration is not None) == ("t", True)
