"""What a provider's refusal means: status and error code in, one of our typed errors out.

One table for all providers, for SDKs and wire alike. Codes are looked at first, since one status
means several things (403 is a wrong key, an old signature, or a clock that is wrong). Sources:
the error code lists of Amazon S3, Cloudflare R2, Google Cloud Storage (XML API) and Azure Blob.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)

EXPIRED = "ExpiredRequest"  # R2's word


@dataclass(frozen=True, slots=True)
class _Rule:
    """Codes or statuses, what they mean, and the message; `{what}` is the object or the bucket."""

    codes: frozenset[str]
    statuses: frozenset[int]
    kind: type[StoreError]
    text: str

    def matches(self, answer: "Answer") -> bool:
        return answer.code in self.codes or answer.status in self.statuses


_RULES = (
    _Rule(
        # Of these, S3 says the first with 403, as it says "denied".
        frozenset({"InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"}),
        frozenset(),
        ArchivedError,
        "{what} is archived, and can be read hours after it was asked back"
        " (`weddingbackup vault tier --return POINT`)",
    ),
    _Rule(
        frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}),
        frozenset(),
        MissingError,
        "{address} does not exist: create it, or mend spec.bucket",
    ),
    _Rule(
        # With those that are another writer's moment (409) or the network's fault (400).
        frozenset(
            {
                "ConditionalRequestConflict",
                "IncompleteBody",
                "InternalError",
                "OperationAborted",
                "OperationTimedOut",
                "RequestTimeout",
                "ServerBusy",
                "SlowDown",
            }
        ),
        frozenset({408, 425, 429, 500, 502, 503, 504}),
        TransientError,
        "{address} could not serve us for now",
    ),
    _Rule(
        frozenset({"BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch"}),
        frozenset(),
        CorruptError,
        "{what}: other bytes arrived than were announced",
    ),
    _Rule(
        frozenset({EXPIRED, "ExpiredToken"}),
        frozenset(),
        DeniedError,
        "{what}: the signed request is too old, or a clock is wrong",
    ),
    _Rule(
        frozenset({"InvalidAccessKeyId", "XAdminUserNotFound"}),  # the latter with 404
        frozenset({401, 403}),
        DeniedError,
        "{what}: access denied; check the credentials and their rights",
    ),
    _Rule(
        frozenset({"NoSuchKey", "BlobNotFound"}),
        frozenset({404}),
        MissingError,
        "{what} does not exist",
    ),
    _Rule(frozenset({"BlobAlreadyExists"}), frozenset({412}), ExistsError, "{what} exists already"),
    _Rule(
        frozenset({"InvalidRange"}),
        frozenset({416}),
        CorruptError,
        "{what} is shorter than what was asked of it",
    ),
    _Rule(
        frozenset({"PermanentRedirect"}),
        frozenset({301, 307, 308}),
        UnsupportedError,
        "{address} is in another region: mend spec.region",
    ),
)
_REFUSED = _Rule(frozenset(), frozenset(), UnsupportedError, "{what}: the request was refused")
# S3 and Azure have no code of its own for it, only words.
_EXPIRED_WORDS = re.compile(r"expired|not valid in the specified time frame", re.IGNORECASE)
_ELEMENT = "<{0}>(.*?)</{0}>"
_MAX_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal, whoever said it: `code` is the provider's own word, "" where it gave none."""

    status: int
    code: str
    detail: str
    retry_after_seconds: float | None = None


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a refusal off an HTTP answer; all four providers speak XML with the same elements."""
    text = body.decode(errors="replace")
    code = headers.get("x-ms-error-code") or _element("Code", text)
    # Azure says why it did not believe a signature in an element of its own.
    detail = _element("AuthenticationErrorDetail", text) or _element("Message", text)
    if status in {401, 403} and _EXPIRED_WORDS.search(detail):
        code = EXPIRED
    return Answer(status, code, detail, retry_after(headers.get("retry-after")))


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is left to our own backoff."""
    return float(value) if value and value.isdigit() else None


def error(answer: Answer, *, location: str, address: str, name: str = "") -> StoreError:
    """The typed error for a refusal.

    The address is the bucket's for people, as `Grants.address` gives it; the name is the object's
    that was asked for, "" for the bucket itself.
    """
    rule = _rule(answer)
    text = rule.text.format(
        address=address, what=f"object {name} in {address}" if name else address
    )
    detail = answer.detail.partition("\n")[0][:_MAX_DETAIL]  # Azure's go on with a request id
    said = " ".join(filter(None, [str(answer.status), answer.code, detail]))
    message = f"{text} (it said: {said})"
    if rule.kind is TransientError:
        return TransientError(
            message, location=location, name=name, retry_after_seconds=answer.retry_after_seconds
        )
    return rule.kind(message, location=location, name=name)


def no_answer(
    error: Exception, reason: str, *, location: str, address: str, name: str = ""
) -> StoreError:
    """The error for a request that got no answer, from the one that a library raised.

    Its own text may hold a signed URL and is not used: `reason` says what happened.
    """
    # Each library wraps it differently; all pass on what OpenSSL says.
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnsupportedError(
            f"{address} shows a certificate that is not trusted: name its authority in"
            " spec.caSecretRef",
            location=location,
            name=name,
        )
    return TransientError(f"{address} gave no answer: {reason}", location=location, name=name)


def _rule(answer: Answer) -> _Rule:
    return next((rule for rule in _RULES if rule.matches(answer)), _REFUSED)


def _element(name: str, text: str) -> str:
    found = re.search(_ELEMENT.format(name), text, re.DOTALL)
    return found[1].strip() if found else ""
