"""V4 signatures, Amazon's and Google's: one format with other words in it, by whatever holds a key.

The formats: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html and
https://cloud.google.com/storage/docs/authentication/signatures. Google's own library signs by RSA
keys only, and not ahead of knowing who does; Amazon's takes an eighth of a second of processor for
each location, before its first signature. So the format is written out here, once.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

_UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY = hashlib.sha256(b"").hexdigest()
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and how.

    Attributes:
        account: the service account's e-mail address, or the key's access id.
        vendor: the word for it in parameters, "Amz" or "Goog".
        algorithm: the word for it.
        scope: where a signature is good, without the day.
        sign: string to sign, day (YYYYMMDD) → signature.
    """

    account: str
    vendor: str
    algorithm: str
    scope: str
    sign: Callable[[str, str], bytes]


def google_rsa(account: str, sign: Callable[[bytes], bytes]) -> Signer:
    """Sign as a service account; `sign` makes its RSA signatures (PKCS #1 v1.5, SHA-256)."""
    scope = "auto/storage/goog4_request"
    return Signer(account, "Goog", "GOOG4-RSA-SHA256", scope, lambda text, _: sign(text.encode()))


def google_hmac(access_id: str, secret: str) -> Signer:
    """Sign by an HMAC key of Google's."""
    scope = "auto/storage/goog4_request"
    sign = _by_hmac(f"GOOG4{secret}", scope)
    return Signer(access_id, "Goog", "GOOG4-HMAC-SHA256", scope, sign)


def amazon(access_id: str, secret: str, region: str) -> Signer:
    """Sign for S3 by an access key."""
    scope = f"{region}/s3/aws4_request"
    return Signer(access_id, "Amz", "AWS4-HMAC-SHA256", scope, _by_hmac(f"AWS4{secret}", scope))


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
    bound = _bound(endpoint, headers)
    begin = f"X-{signer.vendor}-"
    query = _query(
        {
            f"{begin}Algorithm": signer.algorithm,
            f"{begin}Credential": f"{signer.account}/{_scope(signer, now)}",
            f"{begin}Date": _time(now),
            f"{begin}Expires": str(seconds),
            f"{begin}SignedHeaders": _names(bound),
        }
    )
    resource = _resource(path)
    signature = _signature(signer, method, resource, query, bound, _UNSIGNED, now)
    return f"{endpoint}{resource}?{query}&{begin}Signature={signature}"


def signed_get(
    signer: Signer,
    endpoint: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    now: datetime,
) -> tuple[str, dict[str, str]]:
    """A request of the moment, signed in its headers as everybody's SDK does it: URL and headers.

    Every server of the protocol takes that form for whatever can be asked; `signed_url` is for objects.
    """
    begin = f"x-{signer.vendor.lower()}-"
    sent = {**headers, f"{begin}date": _time(now), f"{begin}content-sha256": _EMPTY}
    bound = _bound(endpoint, sent)
    resource, asked = _resource(path), _query(query)
    signature = _signature(signer, "GET", resource, asked, bound, _EMPTY, now)
    sent["Authorization"] = (
        f"{signer.algorithm} Credential={signer.account}/{_scope(signer, now)}, "
        f"SignedHeaders={_names(bound)}, Signature={signature}"
    )
    return f"{endpoint}{resource}?{asked}", sent


def _by_hmac(secret: str, scope: str) -> Callable[[str, str], bytes]:
    @lru_cache(maxsize=2)
    def key_of(day: str) -> bytes:
        return _chain(secret.encode(), (day, *scope.split("/")))

    return lambda text, day: _chain(key_of(day), (text,))


def _chain(key: bytes, parts: Iterable[str]) -> bytes:
    for part in parts:
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def _signature(  # noqa: PLR0917  the parts of a request, in their order
    signer: Signer,
    method: str,
    resource: str,
    query: str,
    bound: Mapping[str, str],
    payload: str,
    now: datetime,
) -> str:
    lines = "".join(f"{name}:{bound[name]}\n" for name in sorted(bound))
    request = f"{method}\n{resource}\n{query}\n{lines}\n{_names(bound)}\n{payload}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{signer.algorithm}\n{_time(now)}\n{_scope(signer, now)}\n{digest}"
    return signer.sign(text, f"{now:%Y%m%d}").hex()


def _bound(endpoint: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are signed: with the host in the form in which HTTP clients send it."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port not in {None, _DEFAULT_PORTS.get(parts.scheme)}:
        host = f"{host}:{parts.port}"
    return {name.lower(): value for name, value in headers.items()} | {"host": host}


def _names(bound: Mapping[str, str]) -> str:
    return ";".join(sorted(bound))


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(parameters.items())
    )


def _resource(path: str) -> str:
    return quote(f"/{path}", safe="/~")


def _time(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"


def _scope(signer: Signer, now: datetime) -> str:
    return f"{now:%Y%m%d}/{signer.scope}"
