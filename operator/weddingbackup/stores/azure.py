"""Keeps a container of Azure Blob Storage."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import quote

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    BlobSasPermissions,
    ContainerClient,
    ExponentialRetry,
    generate_blob_sas,
)

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import answers, names
from weddingbackup.stores.api import LIFETIME, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.errors import DeniedError

_RETRY = ExponentialRetry(initial_backoff=0, increment_base=2, retry_total=2, random_jitter_range=1)
_CREATE = BlobSasPermissions(create=True)  # not `write`: that may overwrite
_READ = BlobSasPermissions(read=True)


class AzureKeeper:
    """A `Keeper` for Azure Blob Storage. Credentials: `accountName`, `accountKey`.

    `endpoint` is the account's blob endpoint, as Azure's portal shows it. A signature here binds
    name and rights only. Content-MD5 goes along, so that what is damaged on its way is refused;
    who wants to store other bytes can.
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
        self._account, self._key = credentials["accountName"], credentials["accountKey"]
        base64.b64decode(self._key, validate=True)
        endpoint = access.endpoint or f"https://{self._account}.blob.core.windows.net"
        self._container = ContainerClient(
            endpoint,
            access.bucket,
            credential={"account_name": self._account, "account_key": self._key},
            connection_timeout=5,
            read_timeout=20,
            retry_policy=_RETRY,
            connection_verify=access.ca_file or True,
        )
        self.address = f"container {access.bucket} at {endpoint}"

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects; only the name and "create" are in the signature."""
        return [self._sign("PUT", put.name, _CREATE, _put_headers(put)) for put in puts]

    def sign_gets(self, names_: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        return [self._sign("GET", name, _READ, {}) for name in names_]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in byte order of the names."""
        start = len(self._prefix)
        with self._errors():
            for blob in self._container.list_blobs(self._prefix + names.check_prefix(prefix)):
                yield ObjectInfo(blob.name[start:], blob.size, blob.last_modified)

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        with self._errors(name):
            found = self._container.get_blob_client(self._path(name)).get_blob_properties()
        return ObjectInfo(name, found.size, found.last_modified)

    def delete(self, name: str) -> None:
        """Remove an object and its old versions."""
        path = self._path(name)
        with self._errors(name):
            self._delete(path)
            if self._has_versions:
                for blob in self._container.list_blobs(path, include=["versions"]):
                    if blob.name == path:
                        self._delete(path, blob.version_id)

    def versioning(self) -> tuple[bool, bool]:
        """Whether old versions are kept, and locks; False where we may not ask."""
        try:
            with self._errors():
                found = self._container.get_container_properties()
        except DeniedError:
            return False, False
        return self._has_versions, bool(
            found.immutable_storage_with_versioning_enabled or found.has_immutability_policy
        )

    def close(self) -> None:
        """Close the connections."""
        self._container.close()

    @cached_property
    def _has_versions(self) -> bool:
        """Whether blobs carry version ids: the setting itself is not for an account key to read."""
        with self._errors():
            first = next(self._container.list_blobs(include=["versions"], results_per_page=1), None)
        return first is not None and first.version_id is not None

    def _sign(
        self, method: str, name: str, permission: BlobSasPermissions, headers: dict[str, str]
    ) -> SignedRequest:
        expires_at = datetime.now(UTC) + self._lifetime
        path = self._path(name)
        token = generate_blob_sas(
            self._account,
            self._container.container_name,
            path,
            account_key=self._key,
            permission=permission,
            expiry=expires_at,
        )
        return SignedRequest(
            method, f"{self._container.url}/{quote(path)}?{token}", headers, expires_at
        )

    def _path(self, name: str) -> str:
        return self._prefix + names.check(name)

    def _delete(self, path: str, version_id: str | None = None) -> None:
        try:
            self._container.delete_blob(path, version_id=version_id)
        except ResourceNotFoundError:
            return

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        where = {"location": self.location, "address": self.address, "name": name}
        try:
            yield
        except HttpResponseError as error:
            code = getattr(error, "error_code", None) or ""  # an enum where the SDK knows it
            text = str(getattr(code, "value", code))
            answer = answers.Answer(error.status_code or 0, text, str(error.reason))
            raise answers.error(answer, **where) from error
        except AzureError as error:
            raise answers.no_answer(error, "no connection", **where) from error


def _put_headers(put: PutIntent) -> dict[str, str]:
    assert put.md5 is not None  # binds_md5 asks for it
    return {
        "x-ms-blob-type": "BlockBlob",
        "If-None-Match": "*",  # says "exists" where the signature alone would say "denied"
        "Content-MD5": base64.b64encode(put.md5).decode(),
        "Content-Length": str(put.size),
    }
