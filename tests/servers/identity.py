"""Who says who somebody is, in the clouds: Entra's logins, and Google's signing on an account's behalf.

Both check the requests as the real services document them, and refuse all others.
"""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.certificate import Certificate

TENANT = "3c0f3ea4-9d2b-4e0a-9d1e-1a2b3c4d5e6f"
CLIENT = {"tenantId": TENANT, "clientId": "an-application", "clientSecret": "a secret for tests"}


@dataclass
class Service:
    """A service that runs: where it listens, and what it was asked.

    Attributes:
        refuse: answers everything with this status; 0 for none.
        latency_seconds: before each answer.
        together: answers wait until so many are asked for at once.
    """

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    refuse: int = 0
    latency_seconds: float = 0
    together: threading.Barrier | None = None


@contextmanager
def entra(certificate: Certificate) -> Iterator[Service]:
    """Run Entra's login while the block runs: tokens for Azure's storage, for the one application.

    A federated token is believed when it says "federated".
    """

    class Login(_Handler):
        def do_GET(self) -> None:
            base = f"{self.service.url}/{TENANT}"
            if self.path != f"/{TENANT}/v2.0/.well-known/openid-configuration":
                self.answer(404, {})
                return
            self.answer(
                200,
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                },
            )

        def do_POST(self) -> None:
            form = {key: value[0] for key, value in parse_qs(self.body().decode()).items()}
            self.service.asked.append(form)
            known = (
                form.get("client_secret") == CLIENT["clientSecret"]
                or form.get("client_assertion") == "federated"
            )
            if (
                self.path != f"/{TENANT}/oauth2/v2.0/token"
                or form.get("grant_type") != "client_credentials"
                or form.get("client_id") != CLIENT["clientId"]
                or "https://storage.azure.com/.default" not in form.get("scope", "").split()
                or not known
            ):
                said = "AADSTS7000215: Invalid client secret provided."
                self.answer(401, {"error": "invalid_client", "error_description": said})
                return
            now = int(time.time())
            claims = {
                "aud": "https://storage.azure.com",
                "iss": f"https://sts.windows.net/{TENANT}/",
                "iat": now,
                "nbf": now - 60,
                "exp": now + 3600,
                "oid": "an-object-id",
                "tid": TENANT,
            }
            token = jwt.encode(claims, "nobody verifies this, but it has to be long", "HS256")
            self.answer(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    with _serving(Login, certificate) as service:
        yield service


@contextmanager
def iam(account: str, key: str, token: str) -> Iterator[Service]:
    """Run Google's signBlob while the block runs; `key` (PEM) is the account's, `token` who may ask.

    `service.url` is a template with `{}` for the account.
    """
    loaded = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    private: rsa.RSAPrivateKey = loaded

    class SignBlob(_Handler):
        def do_POST(self) -> None:
            if (
                self.path == "/token"
            ):  # for whom it may concern: who asks is not this service's to say
                self.body()
                self.answer(200, {"access_token": token, "expires_in": 3600})
                return
            body = json.loads(self.body())
            self.service.asked.append(body)
            time.sleep(self.service.latency_seconds)
            if self.service.together:
                self.service.together.wait()
            if self.service.refuse:
                self.refused(self.service.refuse, "Permission iam.serviceAccounts.signBlob denied")
            elif self.headers["Authorization"] != f"Bearer {token}":
                self.refused(401, "Request had invalid authentication credentials.")
            elif self.path != f"/v1/projects/-/serviceAccounts/{account}:signBlob":
                self.refused(404, "Not found; Gaia id not found for that email")
            elif list(body) != ["payload"]:
                self.refused(400, "Invalid JSON payload received.")
            else:
                payload = base64.b64decode(body["payload"], validate=True)
                signature = private.sign(payload, padding.PKCS1v15(), hashes.SHA256())
                signed = base64.b64encode(signature).decode()
                self.answer(200, {"keyId": "1", "signedBlob": signed})

        def refused(self, status: int, message: str) -> None:
            self.answer(status, {"error": {"code": status, "message": message}})

    with _serving(SignBlob, None) as service:
        service.url += "/v1/projects/-/serviceAccounts/{}:signBlob"
        yield service


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ClassVar[Service]

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@contextmanager
def _serving(kind: type[_Handler], certificate: Certificate | None) -> Iterator[Service]:
    service = Service()
    handler = type("Handler", (kind,), {"service": service})
    server = _Server(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        service.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
