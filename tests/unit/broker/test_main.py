"""The broker's process: what it reads, and what it waits for."""

import asyncio
from pathlib import Path

import pytest

from weddingbackup.broker import main
from weddingbackup.broker.main import Settings


async def test_a_certificate_that_is_not_made_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_LOOK_SECONDS", 0.001)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_text("half of a pair")
    waiting = asyncio.create_task(main._there(certificate, key))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    key.write_text("the other half")
    await asyncio.wait_for(waiting, 10)


def test_settings_say_what_is_missing() -> None:
    with pytest.raises(SystemExit, match="WEDDINGBACKUP_NAMESPACE"):
        Settings.read({})
    with pytest.raises(SystemExit, match="HOST:PORT"):
        Settings.read({"WEDDINGBACKUP_NAMESPACE": "n", "WEDDINGBACKUP_BROKER_ADDRESS": "nowhere"})
    found = Settings.read({"WEDDINGBACKUP_NAMESPACE": "n"})
    assert (found.host, found.port) == ("0.0.0.0", 8443)
