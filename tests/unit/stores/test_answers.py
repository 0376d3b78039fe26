"""A provider's refusal becomes the right type, with words that help."""

import pytest

from weddingbackup.stores import answers
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

ADDRESS = "bucket weddings at https://s3.example"


def error(status: int, code: str = "", detail: str = "", name: str = "packs/one") -> StoreError:
    answer = answers.Answer(status, code, detail)
    return answers.error(answer, location="london", address=ADDRESS, name=name)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", MissingError),
        (404, "BlobNotFound", MissingError),
        (404, "NoSuchBucket", MissingError),
        (404, "ContainerNotFound", MissingError),
        (404, "", MissingError),
        (404, "XAdminUserNotFound", DeniedError),
        (412, "PreconditionFailed", ExistsError),
        (409, "BlobAlreadyExists", ExistsError),
        (409, "ConditionalRequestConflict", TransientError),
        (403, "AccessDenied", DeniedError),
        (403, "SignatureDoesNotMatch", DeniedError),
        (401, "", DeniedError),
        (400, "ExpiredToken", DeniedError),
        (400, "BadDigest", CorruptError),
        (400, "Md5Mismatch", CorruptError),
        (400, "RequestTimeout", TransientError),
        (400, "IncompleteBody", TransientError),
        (416, "InvalidRange", CorruptError),
        (408, "", TransientError),
        (429, "TooManyRequests", TransientError),
        (500, "InternalError", TransientError),
        (503, "SlowDown", TransientError),
        (503, "ServerBusy", TransientError),
        (501, "NotImplemented", UnsupportedError),
        (301, "PermanentRedirect", UnsupportedError),
        (400, "InvalidBucketName", UnsupportedError),
    ],
)
def test_each_refusal_has_its_type(status: int, code: str, kind: type[StoreError]) -> None:
    found = error(status, code)
    assert type(found) is kind
    assert (found.location, found.name) == ("london", "packs/one")
    assert str(status) in str(found)
    assert code in str(found)


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "InvalidObjectState"), (409, "BlobArchived"), (409, "BlobBeingRehydrated")],
)
def test_archived_is_neither_denied_nor_missing(status: int, code: str) -> None:
    found = error(status, code)
    assert type(found) is ArchivedError
    assert "asked back" in str(found)


def test_a_missing_bucket_is_told_from_a_missing_object() -> None:
    assert str(error(404, "NoSuchBucket")).startswith(
        f"{ADDRESS} does not exist: create it, or mend spec.bucket"
    )
    assert str(error(404, "NoSuchKey")).startswith(f"object packs/one in {ADDRESS} does not exist")


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        (
            b"<Error><Code>AuthenticationFailed</Code><Message>Server failed.</Message>"
            b"<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start"
            b" [Sat] - Expiry [Sat] - Current [Sun]</AuthenticationErrorDetail></Error>"
        ),
    ],
)
def test_an_old_signature_is_told_from_a_wrong_key(body: bytes) -> None:
    found = answers.error(answers.parse(403, {}, body), location="london", address=ADDRESS)
    assert isinstance(found, DeniedError)
    assert "too old" in str(found)
    assert "check the credentials" in str(error(403, "AccessDenied", "Access Denied"))


def test_an_answer_is_read_off_headers_and_xml() -> None:
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please.</Message></Error>"
    assert answers.parse(503, {"retry-after": "7"}, body) == answers.Answer(
        503, "SlowDown", "Please.", 7.0
    )
    assert answers.parse(409, {"x-ms-error-code": "BlobAlreadyExists"}, b"").code == (
        "BlobAlreadyExists"
    )
    assert answers.parse(502, {}, b"\xff<html>no gateway").code == ""


def test_how_long_to_wait_reaches_who_retries() -> None:
    found = answers.error(
        answers.Answer(503, "SlowDown", "", 7.0), location="london", address=ADDRESS
    )
    assert isinstance(found, TransientError)
    assert found.retry_after_seconds == 7


@pytest.mark.parametrize("value", [None, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"])
def test_a_waiting_time_that_is_no_number_of_seconds_is_left_out(value: str | None) -> None:
    assert answers.retry_after(value) is None


def test_long_or_many_lined_details_are_cut() -> None:
    text = str(error(400, "InvalidArgument", "x" * 10_000 + "\nRequestId:1"))
    assert len(text) < 600
    assert "RequestId" not in text
