"""What is written out for S3 is what Amazon's own library does: signatures, addresses, listings."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from subprocess import run
from typing import Any

import boto3
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import open_keeper, s3list, v4
from weddingbackup.stores.api import PutIntent, SignedRequest
from weddingbackup.stores.errors import TransientError, UnsupportedError
from weddingbackup.stores.s3 import S3Keeper

NOW = datetime(2026, 12, 5, 14, 30, 7, tzinfo=UTC)
CREDENTIALS = {"accessKeyId": "AKIA/EXAMPLE", "secretAccessKey": "a+secret/key"}
ENDPOINTS = [
    None,
    "https://s3.example.com",
    "https://s3.example.com/",
    "https://S3.Example.com:443/base/",
    "http://[::1]:9000",
    "http://127.0.0.1:80",
]


def access(**fields: Any) -> LocationAccess:
    given = {"name": "here", "provider": "S3", "bucket": "weddings", "region": "eu-west-2"}
    return LocationAccess.model_validate(given | fields)


def keeper(**fields: Any) -> S3Keeper:
    return S3Keeper(access(**fields), CREDENTIALS, prefix="vault-1")


def theirs(
    keeper: S3Keeper,
    ours: SignedRequest,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    bound: Mapping[str, Any],
) -> str:
    """The URL that Amazon's library signs, at the same moment."""
    made = ours.url.partition("X-Amz-Date=")[2][:16]
    when = datetime.strptime(made, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: when)
    parameters = {"Bucket": keeper._bucket, "Key": "vault-1/packs/0a-b_c.r1", **bound}
    return keeper._client.generate_presigned_url(operation, Params=parameters, ExpiresIn=600)


@pytest.mark.parametrize("bucket", ["weddings", "wed.dings"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_signed_urls_are_those_of_amazons_library(
    bucket: str, endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = keeper(bucket=bucket, endpoint=endpoint)
    name = "packs/0a-b_c.r1"
    [get] = one.sign_gets([name])
    assert _parts(get.url) == _parts(theirs(one, get, monkeypatch, "get_object", {}))
    [put] = one.sign_puts([PutIntent(name, 17, bytes(range(32)))])
    checksum = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    bound = {"IfNoneMatch": "*", "ChecksumSHA256": checksum, "ContentLength": 17}
    assert _parts(put.url) == _parts(theirs(one, put, monkeypatch, "put_object", bound))
    assert put.headers == {
        "If-None-Match": "*",
        "x-amz-checksum-sha256": checksum,
        "Content-Length": "17",
    }
    assert one.address == f"bucket {bucket} at {one._client.meta.endpoint_url}"
    one.close()


def test_r2_signs_for_a_region_of_its_own() -> None:
    one = keeper(provider=Provider.R2, endpoint="https://a.r2.cloudflarestorage.com")
    assert "%2Fauto%2Fs3%2Faws4_request" in one.sign_gets(["format"])[0].url


def test_all_of_amazons_regions_are_where_its_library_finds_them() -> None:
    session = boto3.session.Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("s3", partition):
            if region in {"us-east-1", "aws-global"}:  # whose old name has no region in it
                continue
            one = keeper(region=region)
            assert one.address == f"bucket weddings at {one._client.meta.endpoint_url}"
            break
    assert keeper(region="us-east-1").address.endswith("https://s3.us-east-1.amazonaws.com")


@pytest.mark.parametrize(
    "fields",
    [{"endpoint": "s3.example.com"}, {"endpoint": "https://"}, {"region": "Europe/Zürich"}],
)
def test_an_address_that_is_none_is_said_at_once(fields: Mapping[str, str]) -> None:
    with pytest.raises(UnsupportedError, match="access to location here makes no sense"):
        open_keeper(access(**fields), CREDENTIALS)


@given(
    prefix=st.text("abcXYZ019/-_.~ +=&ä%", max_size=20),
    token=st.text("ABC/+=", min_size=1, max_size=10),
)
@pytest.mark.parametrize("endpoint", ["https://s3.example.com", "http://[::1]:9000"])
def test_a_listings_signature_is_that_of_amazons_library(
    endpoint: str, prefix: str, token: str
) -> None:
    query = {"list-type": "2", "prefix": prefix, "continuation-token": token}
    headers = {"x-amz-optional-object-attributes": "RestoreStatus"}
    key = CREDENTIALS["accessKeyId"], CREDENTIALS["secretAccessKey"]
    signer = v4.amazon(*key, "eu-west-2")
    _, ours = v4.signed_get(signer, endpoint, "weddings", query, headers, now=NOW)
    request = AWSRequest("GET", f"{endpoint}/weddings", headers, params=query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda *_, **__: NOW)
        auth.S3SigV4Auth(Credentials(*key), "s3", "eu-west-2").add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]
    assert ours["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]


PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>weddings</Name>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><KeyCount>2</KeyCount>
<NextContinuationToken>1/+=&amp;</NextContinuationToken>
<Contents><Key>vault/a%2Bb+c%C3%A4</Key><LastModified>2026-12-05T14:30:07.000Z</LastModified>
<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><Size>17</Size>
<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>
<RestoreExpiryDate>2026-12-12T00:00:00.000Z</RestoreExpiryDate></RestoreStatus></Contents>
<Contents><Key>vault/d</Key><LastModified>2026-12-05T14:30:08Z</LastModified>
<ETag>"0123456789abcdef0123456789abcdef-2"</ETag><Size>0</Size>
<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus></Contents>
</ListBucketResult>"""


def test_a_page_says_of_each_object_what_there_is_to_say_and_how_to_go_on() -> None:
    first, second = (
        s3list.Listed(
            "vault/a+b cä", 17, NOW, bytes.fromhex("0123456789abcdef" * 2), "GLACIER", True, False
        ),
        s3list.Listed("vault/d", 0, NOW.replace(second=8), None, "", False, True),
    )
    assert s3list.parse(PAGE) == ([first, second], "1/+=&")


def test_a_last_page_ends() -> None:
    last = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    assert s3list.parse(last) == ([], None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>Log in first</html>",
        PAGE[:-30],
        PAGE.replace(b"<Size>17</Size>", b""),
        PAGE.replace(b"<Size>17</Size>", b"<Size/>"),
        PAGE.replace(b"2026-12-05T14:30:08Z", b"yesterday"),
        PAGE.replace(b"2026-12-05T14:30:08Z", b"2026-12-05T14:30:08"),
        PAGE.replace(b"UTF-8", b"rot13").replace(b"<Size>0</Size>", b""),
        PAGE.replace(b"<NextContinuationToken>1/+=&amp;</NextContinuationToken>", b""),
    ],
)
def test_what_is_no_page_never_looks_like_an_empty_bucket(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  all that parse raises
        s3list.parse(body)


def test_a_listing_that_goes_in_circles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    here = keeper()
    monkeypatch.setattr(here._wire, "get", lambda *_, **__: PAGE)
    with pytest.raises(TransientError, match="again and again"):
        list(here.list(""))
    here.close()


def test_signing_and_listing_need_no_sdk() -> None:
    """Making a client of Amazon's costs more than a small backup does."""
    script = (
        "import sys; from weddingbackup.stores.s3 import S3Keeper; "
        "from weddingbackup.resources.tasks import LocationAccess; "
        "access = LocationAccess(name='a', provider='S3', bucket='abc', region='eu-west-2'); "
        "keeper = S3Keeper(access, {'accessKeyId': 'a', 'secretAccessKey': 'b'}); "
        "keeper.sign_gets(['format']); keeper.close(); print(*sys.modules)"
    )
    path = [entry for entry in sys.path if entry.endswith("operator")]
    done = run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path[0]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"boto3", "botocore"} & set(done.stdout.split()) == set()


def _parts(url: str) -> tuple[str, frozenset[str]]:
    """A URL whose parameters stand in any order."""
    path, _, query = url.partition("?")
    return path, frozenset(query.split("&"))
