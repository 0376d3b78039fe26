"""The broker as a process of this machine, where pods reach it: a test takes it away and brings it back."""

import base64
import json
import ssl
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.e2e.process import Component

_START_SECONDS = 60


class Broker(Component):
    """The broker. The operator has to run: it makes the certificate."""

    name: ClassVar[str] = "broker"
    command: ClassVar[tuple[str, ...]] = ("weddingbackup", "broker")

    @property
    def tls(self) -> Path:
        return self.home.folder / "broker-tls"

    @property
    def authorities(self) -> Path:
        """Who vouches for the broker's certificate, PEM."""
        return self.tls / "ca.crt"

    def variables(self) -> Mapping[str, str]:
        return {
            "WEDDINGBACKUP_BROKER_TLS": str(self.tls),
            "WEDDINGBACKUP_BROKER_ADDRESS": f"{self.home.cluster.host_address}:{self.home.broker_port}",
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.renew()
        super().start()
        assert self.process
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it says that it is alive, under the certificate that workers trust."""
        trust = ssl.create_default_context(cafile=str(self.authorities))
        try:
            url = f"{self.home.broker_url}/healthz"
            with urllib.request.urlopen(url, context=trust, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def renew(self) -> None:
        """Bring the certificate as it is now in the Secret, as a kubelet does in a mounted one."""
        found = self._secret()
        self.tls.mkdir(exist_ok=True)
        for name, encoded in found.items():
            scratch = self.tls / f".{name}"
            scratch.write_bytes(base64.b64decode(encoded))
            scratch.rename(self.tls / name)

    def _secret(self) -> dict[str, str]:
        get = ("get", "secret", self.home.broker_tls, "-n", self.home.namespace, "-o", "json")
        deadline = time.monotonic() + _START_SECONDS
        while True:
            text = self.home.cluster.kubectl(*get, "--ignore-not-found")
            data: dict[str, str] = json.loads(text)["data"] if text.strip() else {}
            if {"ca.crt", "tls.crt", "tls.key"} <= data.keys():
                return data
            assert time.monotonic() < deadline, "the operator has made no certificate"
            time.sleep(0.2)
