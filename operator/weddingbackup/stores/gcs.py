"""Keeps a bucket of Google Cloud Storage."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules import tiers
from weddingbackup.stores import answers, names, v4
from weddingbackup.stores.api import LIFETIME, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.base import BaseKeeper
from weddingbackup.stores.errors import DeniedError

_SCOPES = [
    "https://www.googleapis.com/auth/devstorage.read_write",
    "https://www.googleapis.com/auth/iam",  # for signBlob; what may be done, roles say
]
_SIGN_BLOB = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:signBlob"
_SIGNING_THREADS = 32  # signBlob takes one at a time, and some 50 ms for each
_TIMEOUT = (5, 20)  # to connect, to read; seconds
_RETRY = DEFAULT_RETRY.with_timeout(10)
_FIELDS = "name,size,updated,generation,md5Hash,storageClass"


class ForeignCredentials(service_account.Credentials):
    """Credentials for a service elsewhere that speaks GCS's protocol."""

    def _is_regional_access_boundary_lookup_required(self) -> bool:
        """Whether to ask Google, whom such a service has nothing to do with, where data may rest."""
        return False


class GCSKeeper(BaseKeeper):
    """A `Keeper` for Google Cloud Storage.

    Credentials: `serviceAccount.json`, a key file; without it, Application Default Credentials, as
    Google's workload identity gives them to a pod, list and delete. Who signs is the first of:
    an HMAC key (`hmacAccessId`, `hmacSecret`), the key file, and IAM's signBlob on behalf of the
    account `serviceAccountEmail`.

    GCS verifies MD5 and CRC32C of what arrives, no SHA-256; so MD5 is what a signature binds.
    """

    binds_md5 = True

    def __init__(
        self,
        access: LocationAccess,
        credentials: Mapping[str, str],
        *,
        prefix: str = "",
        lifetime: timedelta = LIFETIME,
    ) -> None:
        super().__init__(access, prefix, lifetime)
        self._signers: ThreadPoolExecutor | None = None
        self._session: AuthorizedSession
        self._signer, holder, project = self._open(credentials, foreign=access.endpoint is not None)
        self._session = AuthorizedSession(holder)  # type: ignore[no-untyped-call]
        self._session.mount("https://", HTTPAdapter(pool_maxsize=_SIGNING_THREADS))
        self._session.verify = access.ca_file or True
        self._client = storage.Client(
            project,
            holder,
            _http=self._session,
            client_options={"api_endpoint": access.endpoint} if access.endpoint else None,
        )
        self._endpoint = (access.endpoint or "https://storage.googleapis.com").rstrip("/")
        self._bucket = self._client.bucket(access.bucket)
        self.address = f"bucket {access.bucket} at {self._endpoint}"

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects; length, MD5 and create-only are in the signature."""
        return list(self._sign("PUT", [(put.name, _put_headers(put)) for put in puts]))

    def sign_gets(self, names_: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        return list(self._sign("GET", [(name, {}) for name in names_]))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in byte order of the names."""
        with self._errors():
            for blob in self._blobs(self._prefix + names.check_prefix(prefix)):
                yield _info(blob.name[len(self._prefix) :], blob)

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        blob = self._blob(name)
        with self._errors(name):
            blob.reload(timeout=_TIMEOUT, retry=_RETRY)
        return _info(name, blob)

    def delete(self, name: str) -> None:
        """Remove an object and its old versions."""
        path = self._blob(name).name
        with self._errors(name):
            # A version at a time: removing just the name would leave it as an old version.
            for blob in self._blobs(path, versions=True):
                if blob.name == path:
                    self._delete(blob)

    def set_tier(self, name: str, tier: Tier) -> None:
        """Have an object written anew in the class of this tier, by Google itself.

        What was there becomes an old version where the bucket keeps those, and is removed.
        """
        blob = self._blob(name)
        with self._errors(name):
            blob.reload(timeout=_TIMEOUT, retry=_RETRY)
            before = blob.generation
            blob.update_storage_class(
                tiers.storage_class(Provider.GCS, tier).name,
                if_generation_match=before,  # what was removed meanwhile stays so
                timeout=_TIMEOUT,
                retry=_RETRY,
            )
            if self._has_versions:
                self._delete(self._bucket.blob(blob.name, generation=before))

    def request_return(self, name: str) -> None:
        """Nothing: all classes are read at once."""

    def versioning(self) -> tuple[bool, bool]:
        """Whether the bucket keeps old versions, and locks; False where we may not ask."""
        try:
            with self._errors():
                self._bucket.reload(timeout=_TIMEOUT, retry=_RETRY)
        except DeniedError:
            return False, False
        return self._bucket.versioning_enabled, self._bucket.object_retention_mode == "Enabled"

    @cached_property
    def _has_versions(self) -> bool:
        return self.versioning()[0]

    def close(self) -> None:
        """Close the connections."""
        if self._signers:
            self._signers.shutdown()
        self._client.close()

    def _open(
        self, credentials: Mapping[str, str], *, foreign: bool
    ) -> tuple[v4.Signer, Any, str | None]:
        """Who signs; what lists and deletes; and the project, where that is known."""
        signer = None
        if "hmacAccessId" in credentials:
            signer = v4.google_hmac(credentials["hmacAccessId"], credentials["hmacSecret"])
        if "serviceAccount.json" in credentials:
            account = json.loads(credentials["serviceAccount.json"])
            kind = ForeignCredentials if foreign else service_account.Credentials
            key = kind.from_service_account_info(  # type: ignore[no-untyped-call]
                account, scopes=_SCOPES
            )
            signer = signer or v4.google_rsa(key.signer_email, key.sign_bytes)
            return signer, key, account.get("project_id")
        if signer is None:
            email = credentials["serviceAccountEmail"]
            signer = v4.google_rsa(email, lambda text: self._sign_by_iam(email, text))
            self._signers = ThreadPoolExecutor(_SIGNING_THREADS, "sign")
        try:
            return signer, *google.auth.default(scopes=_SCOPES)
        except DefaultCredentialsError as error:
            raise ValueError(
                f"it has no serviceAccount.json, and there is no other credential: {error}"
            ) from error

    def _sign(
        self, method: str, wanted: Sequence[tuple[str, Mapping[str, str]]]
    ) -> Iterator[SignedRequest]:
        def sign(one: tuple[str, Mapping[str, str]]) -> SignedRequest:
            name, headers = one
            now = datetime.now(UTC)
            url = v4.signed_url(
                self._signer,
                method,
                self._endpoint,
                f"{self._bucket.name}/{self._path(name)}",
                headers,
                seconds=int(self._lifetime.total_seconds()),
                now=now,
            )
            return SignedRequest(method, url, headers, now + self._lifetime)

        return self._signers.map(sign, wanted) if self._signers else map(sign, wanted)

    def _sign_by_iam(self, email: str, text: bytes) -> bytes:
        about = {"location": self.location, "address": f"signing as {email}"}
        payload = {"payload": base64.b64encode(text).decode()}
        try:
            answer = self._session.post(
                _SIGN_BLOB.format(email), json=payload, timeout=_TIMEOUT[1], verify=True
            )
        except RefreshError as error:
            raise answers.error(answers.Answer(401, "", str(error)), **about) from error
        except (requests.RequestException, TransportError) as error:
            raise answers.no_answer(error, "no connection", **about) from error
        if not answer.ok:
            # An account that is not there must not be taken for an object that is not.
            status = 403 if answer.status_code == requests.codes.not_found else answer.status_code
            raise answers.error(answers.Answer(status, "", _iam_message(answer)), **about)
        return base64.b64decode(answer.json()["signedBlob"])

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._path(name))

    def _blobs(self, prefix: str, *, versions: bool = False) -> Iterator[storage.Blob]:
        found: Iterator[storage.Blob] = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            versions=versions,
            fields=f"items({_FIELDS}),nextPageToken",
            timeout=_TIMEOUT,
            retry=_RETRY,
        )
        return found

    def _delete(self, blob: storage.Blob) -> None:
        try:
            self._bucket.delete_blob(
                blob.name, generation=blob.generation, timeout=_TIMEOUT, retry=_RETRY
            )
        except NotFound:
            return

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        where = self._about(name)
        try:
            yield
        except GoogleAPICallError as error:
            code = "NoSuchBucket" if error.code == 404 and not name else ""  # noqa: PLR2004  HTTP
            detail = str(error.message).rpartition(": ")[2]  # before it stands the URL
            answer = answers.Answer(int(error.code or 0), code, detail)
            raise answers.error(answer, **where) from error
        except RefreshError as error:
            if error.retryable:
                raise answers.no_answer(
                    error, "its token service has a problem", **where
                ) from error
            raise answers.error(answers.Answer(401, "", str(error)), **where) from error
        except (requests.RequestException, TransportError, RetryError) as error:
            raise answers.no_answer(error, "no connection", **where) from error


def _info(name: str, blob: storage.Blob) -> ObjectInfo:
    return ObjectInfo(
        name,
        blob.size,
        blob.updated,
        _md5(blob),
        tier=tiers.tier_of(Provider.GCS, blob.storage_class or ""),
        since=blob.updated,  # moving it was storing it
    )


def _md5(blob: storage.Blob) -> bytes | None:
    return base64.b64decode(blob.md5_hash) if blob.md5_hash else None  # composed ones have none


def _put_headers(put: PutIntent) -> dict[str, str]:
    assert put.md5 is not None  # binds_md5 asks for it
    return {
        "x-goog-if-generation-match": "0",
        "Content-MD5": base64.b64encode(put.md5).decode(),
        "Content-Length": str(put.size),
    }


def _iam_message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (KeyError, TypeError, ValueError):
        return answer.text
