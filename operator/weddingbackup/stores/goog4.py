"""Google's V4 signatures, by whatever holds a key: a key file, an HMAC key, or Google itself.

The format: https://cloud.google.com/storage/docs/authentication/signatures. Google's own library
signs by RSA keys only, and not ahead of knowing who does; so the format is written out here, once.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and how.

    Attributes:
        account: the service account's e-mail address, or the HMAC key's access id.
        sign: string to sign, day (YYYYMMDD) → signature.
    """

    account: str
    algorithm: str
    sign: Callable[[str, str], bytes]


def by_rsa(account: str, sign: Callable[[bytes], bytes]) -> Signer:
    """Sign as a service account; `sign` makes its RSA signatures (PKCS #1 v1.5, SHA-256)."""
    return Signer(account, "GOOG4-RSA-SHA256", lambda text, _: sign(text.encode()))


def by_hmac(access_id: str, secret: str) -> Signer:
    """Sign by an HMAC key."""

    def sign(text: str, day: str) -> bytes:
        key = f"GOOG4{secret}".encode()
        for part in (day, "auto", "storage", "goog4_request", text):
            key = hmac.digest(key, part.encode(), hashlib.sha256)
        return key

    return Signer(access_id, "GOOG4-HMAC-SHA256", sign)


def signed_url(
    signer: Signer,
    method: str,
    endpoint: str,
    path: str,
    headers: Mapping[str, str],
    *,
    seconds: int,
    now: datetime,
) -> str:
    """The URL of a request that may be carried out for so long, with these headers and no others' values.

    Args:
        signer: whose right it is.
        method: GET, PUT, …
        endpoint: scheme and host, without a slash at its end.
        path: bucket and name, as they are.
        headers: those that the signature covers, beside the host.
        seconds: how long the URL is good for.
        now: the moment from which on, in UTC.
    """
    time = f"{now:%Y%m%dT%H%M%SZ}"
    day = time[:8]
    scope = f"{day}/auto/storage/goog4_request"
    bound = {name.lower(): value for name, value in headers.items()}
    bound["host"] = urlsplit(endpoint).netloc
    names = ";".join(sorted(bound))
    query = "&".join(
        f"{name}={quote(value, safe='')}"
        for name, value in (
            ("X-Goog-Algorithm", signer.algorithm),
            ("X-Goog-Credential", f"{signer.account}/{scope}"),
            ("X-Goog-Date", time),
            ("X-Goog-Expires", str(seconds)),
            ("X-Goog-SignedHeaders", names),
        )
    )
    resource = quote(f"/{path}", safe="/~")
    lines = "".join(f"{name}:{bound[name]}\n" for name in sorted(bound))
    request = f"{method}\n{resource}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{signer.algorithm}\n{time}\n{scope}\n{digest}"
    return f"{endpoint}{resource}?{query}&X-Goog-Signature={signer.sign(text, day).hex()}"
