"""Keeps a bucket of Google Cloud Storage."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import answers, names
from weddingbackup.stores.api import LIFETIME, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.errors import DeniedError

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_TIMEOUT = (5, 20)  # to connect, to read; seconds
_RETRY = DEFAULT_RETRY.with_timeout(10)


class ForeignCredentials(service_account.Credentials):
    """Credentials for a service elsewhere that speaks GCS's protocol."""

    def _is_regional_access_boundary_lookup_required(self) -> bool:
        """Whether to ask Google, whom such a service has nothing to do with, where data may rest."""
        return False


class GCSKeeper:
    """A `Keeper` for Google Cloud Storage. Credentials: `serviceAccount.json`, a key file.

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
        self.location = access.name
        self._prefix = names.below(access.prefix, prefix)
        self._lifetime = lifetime
        account = json.loads(credentials["serviceAccount.json"])
        kind = ForeignCredentials if access.endpoint else service_account.Credentials
        key = kind.from_service_account_info(  # type: ignore[no-untyped-call]
            account, scopes=[_SCOPE]
        )
        session = AuthorizedSession(key)  # type: ignore[no-untyped-call]
        session.verify = access.ca_file or True
        self._client = storage.Client(
            account.get("project_id"),
            key,
            _http=session,
            client_options={"api_endpoint": access.endpoint} if access.endpoint else None,
        )
        self._endpoint = access.endpoint or "https://storage.googleapis.com"
        self._bucket = self._client.bucket(access.bucket)
        self.address = f"bucket {access.bucket} at {self._endpoint}"

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects; length, MD5 and create-only are in the signature."""
        return [self._sign("PUT", put.name, _put_headers(put)) for put in puts]

    def sign_gets(self, names_: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        return [self._sign("GET", name, {}) for name in names_]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in byte order of the names."""
        with self._errors():
            for blob in self._blobs(self._prefix + names.check_prefix(prefix)):
                yield ObjectInfo(blob.name[len(self._prefix) :], blob.size, blob.updated)

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        blob = self._blob(name)
        with self._errors(name):
            blob.reload(timeout=_TIMEOUT, retry=_RETRY)
        return ObjectInfo(name, blob.size, blob.updated)

    def delete(self, name: str) -> None:
        """Remove an object and its old versions."""
        path = self._blob(name).name
        with self._errors(name):
            # A version at a time: removing just the name would leave it as an old version.
            for blob in self._blobs(path, versions=True):
                if blob.name == path:
                    self._delete(blob)

    def versioning(self) -> tuple[bool, bool]:
        """Whether the bucket keeps old versions, and locks; False where we may not ask."""
        try:
            with self._errors():
                self._bucket.reload(timeout=_TIMEOUT, retry=_RETRY)
        except DeniedError:
            return False, False
        return self._bucket.versioning_enabled, self._bucket.object_retention_mode == "Enabled"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _sign(self, method: str, name: str, headers: dict[str, str]) -> SignedRequest:
        expires_at = datetime.now(UTC) + self._lifetime
        url = self._blob(name).generate_signed_url(
            version="v4",
            method=method,
            expiration=self._lifetime,
            headers=dict(headers),  # it adds one of its own
            api_access_endpoint=self._endpoint,
        )
        return SignedRequest(method, url, headers, expires_at)

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._prefix + names.check(name))

    def _blobs(self, prefix: str, *, versions: bool = False) -> Iterator[storage.Blob]:
        found: Iterator[storage.Blob] = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            versions=versions,
            fields="items(name,size,updated,generation),nextPageToken",
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
        where = {"location": self.location, "address": self.address, "name": name}
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


def _put_headers(put: PutIntent) -> dict[str, str]:
    assert put.md5 is not None  # binds_md5 asks for it
    return {
        "x-goog-if-generation-match": "0",
        "Content-MD5": base64.b64encode(put.md5).decode(),
        "Content-Length": str(put.size),
    }
