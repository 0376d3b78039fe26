"""The broker as a process: its certificate changes under it, and it stops without dropping anybody."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.servers.certificate import certificate
from tests.servers.process import answers, free_port, wait_until

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"


class Reviewer(ThreadingHTTPServer):
    """All of an API server that a stranger's request comes to: it reviews the token, and knows nobody."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), Review)
        self.asked = threading.Event()
        self.answer = threading.Event()


class Review(BaseHTTPRequestHandler):
    server: Reviewer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.answer.wait(60)
        body = json.dumps({"status": {"authenticated": False}}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def reviewer() -> Iterator[Reviewer]:
    with Reviewer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.answer.set()
        server.shutdown()
        thread.join(30)


class Running:
    """A broker's process that serves."""

    def __init__(self, reviewer: Reviewer, folder: Path) -> None:
        self.tls = folder / "tls"
        self.tls.mkdir()
        certificate(self.tls, HOST)
        self.port = free_port(HOST)
        self.log = folder / "log"
        named = {"name": "tests"}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{**named, "cluster": {"server": f"http://{HOST}:{reviewer.server_port}"}}],
            "users": [{**named, "user": {"token": "broker"}}],
            "contexts": [{**named, "context": {"cluster": "tests", "user": "tests"}}],
        }
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith("KUBERNETES_")},
            "KUBECONFIG": str(folder / "kubeconfig"),
            "WEDDINGBACKUP_NAMESPACE": "home",
            "WEDDINGBACKUP_BROKER_TLS": str(self.tls),
            "WEDDINGBACKUP_BROKER_ADDRESS": f"{HOST}:{self.port}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "weddingbackup", "broker"],
                env=variables,
                stdout=out,
                stderr=out,
            )

    def accepts(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return answers(HOST, self.port)
        except OSError:
            return False

    def call(self) -> http.client.HTTPSConnection:
        """A line to it, whose certificate has to be the one that is there now."""
        trust = ssl.create_default_context(cafile=str(self.tls / "tls.crt"))
        line = http.client.HTTPSConnection(HOST, self.port, context=trust, timeout=60)
        line.connect()
        return line

    def shows_what_is_there(self) -> bool:
        try:
            self.call().close()
        except ssl.SSLCertVerificationError:
            return False
        return True


@pytest.fixture
def running(reviewer: Reviewer, tmp_path: Path) -> Iterator[Running]:
    broker = Running(reviewer, tmp_path)
    try:
        wait_until(broker.accepts, seconds=60, what="the broker")
        yield broker
    finally:
        broker.process.kill()
        broker.process.wait(30)


def healthy(line: http.client.HTTPSConnection) -> bool:
    line.request("GET", "/healthz")
    return line.getresponse().read() == b"ok\n"


def test_a_new_certificate_is_shown_without_a_restart(running: Running) -> None:
    before = running.call()
    assert healthy(before)
    certificate(running.tls, HOST)
    assert not running.shows_what_is_there()
    wait_until(running.shows_what_is_there, seconds=60, what="the new certificate")
    # Who is connected stays so.
    assert healthy(before)
    before.close()


def test_who_is_being_served_is_answered_before_it_stops(
    running: Running, reviewer: Reviewer
) -> None:
    line = running.call()
    line.request("POST", "/v1/open", headers={"Authorization": "Bearer bogus"})
    assert reviewer.asked.wait(60)
    running.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not running.accepts(), seconds=60, what="the closed door")
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(1)
    reviewer.answer.set()
    answer = line.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (401, "UnknownWorker")
    line.close()
    assert running.process.wait(60) in {0, -signal.SIGTERM}
