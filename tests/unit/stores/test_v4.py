"""Our V4 signatures are those of Google's own library, and an HMAC key's follow its documentation."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.storage._signing import generate_signed_url_v4
from google.oauth2 import service_account

from weddingbackup.stores import v4

NOW = datetime(2026, 12, 5, 14, 30, 7, tzinfo=UTC)
HEADERS = {"x-goog-if-generation-match": "0", "Content-MD5": base64.b64encode(b"x" * 16).decode()}


@pytest.fixture(scope="module")
def key() -> service_account.Credentials:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    found: service_account.Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        {
            "client_email": "keeper+1@weddings.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )
    return found


@pytest.mark.parametrize("path", ["weddings/vault/packs/0a1b.r1", "b/x_y-z~/a.b", "b/ä b+c%/d"])
@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("PUT", HEADERS)])
@pytest.mark.parametrize("endpoint", ["https://storage.googleapis.com", "http://127.0.0.1:8080"])
def test_an_rsa_signature_is_the_one_that_googles_library_makes(
    key: service_account.Credentials,
    path: str,
    method: str,
    headers: dict[str, str],
    endpoint: str,
) -> None:
    signer = v4.google_rsa(key.signer_email, key.sign_bytes)
    ours = v4.signed_url(signer, method, endpoint, path, headers, seconds=600, now=NOW)
    theirs = generate_signed_url_v4(
        key,
        quote(f"/{path}", safe="/~"),
        600,
        endpoint,
        method,
        headers=dict(headers),
        _request_timestamp="20261205T143007Z",
    )
    assert ours == theirs


def test_an_hmac_key_signs_by_a_key_of_the_day() -> None:
    asked = []
    signer = v4.google_hmac("GOOG1EXAMPLE", "secret")

    def sign(text: str, day: str) -> bytes:
        asked.append(text)
        return signer.sign(text, day)

    url = v4.signed_url(
        replace(signer, sign=sign),
        "GET",
        "https://storage.googleapis.com",
        "weddings/format",
        {},
        seconds=600,
        now=NOW,
    )
    key = b"GOOG4secret"
    for part in ("20261205", "auto", "storage", "goog4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    [text] = asked
    assert url.endswith(
        f"&X-Goog-Signature={hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"
    )
    assert text.startswith(
        "GOOG4-HMAC-SHA256\n20261205T143007Z\n20261205/auto/storage/goog4_request\n"
    )
