"""Keeps a container of Azure Blob Storage."""

import base64
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import quote

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential, WorkloadIdentityCredential
from azure.storage.blob import (
    BlobProperties,
    BlobSasPermissions,
    BlobServiceClient,
    ExponentialRetry,
    UserDelegationKey,
    generate_blob_sas,
)

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules import tiers
from weddingbackup.stores import answers, names
from weddingbackup.stores.api import LIFETIME, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.base import BaseKeeper
from weddingbackup.stores.errors import ArchivedError, DeniedError, StoreError

_CREATE = BlobSasPermissions(create=True)  # not `write`: that may overwrite
_READ = BlobSasPermissions(read=True)
_KEY_LIFE = timedelta(hours=6)  # seven days are allowed
_KEY_RENEWAL = timedelta(hours=2)  # before its end
_KEY_AGAIN = timedelta(minutes=1)
_CLOCK_SKEW = timedelta(minutes=15)


class AzureKeeper(BaseKeeper):
    """A `Keeper` for Azure Blob Storage.

    Credentials: `accountName`, and one of: `accountKey`; `tenantId`, `clientId`, `clientSecret` of
    an application; neither, which is workload identity as Azure gives it to a pod. All but the
    account key sign by user delegation. `authorityHost` names the login of another cloud.

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
        super().__init__(access, prefix, lifetime)
        self._account = credentials["accountName"]
        endpoint = access.endpoint or f"https://{self._account}.blob.core.windows.net"
        self._service = BlobServiceClient(
            endpoint,
            credential=_credential(credentials),
            connection_timeout=5,
            read_timeout=20,
            retry_policy=_retry(),
            connection_verify=access.ca_file or True,
        )
        self._container = self._service.get_container_client(access.bucket)
        self._key: Callable[[], str | UserDelegationKey]
        if "accountKey" in credentials:
            account_key = credentials["accountKey"]
            self._key = lambda: account_key
        else:
            self._key = DelegationKey(self._delegate)
        self.address = f"container {access.bucket} at {endpoint}"

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects; only the name and "create" are in the signature."""
        key = self._key()
        return [self._sign(key, "PUT", put.name, _CREATE, _put_headers(put)) for put in puts]

    def sign_gets(self, names_: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        key = self._key()
        return [self._sign(key, "GET", name, _READ, {}) for name in names_]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in byte order of the names."""
        start = len(self._prefix)
        with self._errors():
            for blob in self._container.list_blobs(self._prefix + names.check_prefix(prefix)):
                yield _info(blob.name[start:], blob)

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        with self._errors(name):
            found = self._container.get_blob_client(self._path(name)).get_blob_properties()
        return _info(name, found)

    def delete(self, name: str) -> None:
        """Remove an object and its old versions."""
        path = self._path(name)
        with self._errors(name):
            self._delete(path)
            if self._has_versions:
                for blob in self._container.list_blobs(path, include=["versions"]):
                    if blob.name == path:
                        self._delete(path, blob.version_id)

    def set_tier(self, name: str, tier: Tier) -> None:
        """Set a blob's tier: it is the same version before and after, and a lock does not mind."""
        wanted = tiers.storage_class(Provider.AZURE, tier).name
        with self._errors(name):
            client = self._container.get_blob_client(self._path(name))
            client.set_standard_blob_tier(wanted)

    def request_return(self, name: str) -> None:
        """Set an archived blob's tier to hot, which it gets when it is back."""
        if not self.head(name).at_hand:
            with suppress(ArchivedError):  # it is on its way
                self.set_tier(name, Tier.HOT)

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
        self._service.close()

    @cached_property
    def _has_versions(self) -> bool:
        """Whether blobs carry version ids: the setting itself is not for an account key to read."""
        with self._errors():
            first = next(self._container.list_blobs(include=["versions"], results_per_page=1), None)
        return first is not None and first.version_id is not None

    def _delegate(self, start: datetime, expiry: datetime) -> UserDelegationKey:
        with self._errors():
            return self._service.get_user_delegation_key(start, expiry)

    def _sign(
        self,
        key: str | UserDelegationKey,
        method: str,
        name: str,
        permission: BlobSasPermissions,
        headers: dict[str, str],
    ) -> SignedRequest:
        expires_at = self._expiry()
        path = self._path(name)
        token = generate_blob_sas(
            self._account,
            self._container.container_name,
            path,
            account_key=key if isinstance(key, str) else None,
            user_delegation_key=None if isinstance(key, str) else key,
            permission=permission,
            expiry=expires_at,
        )
        return SignedRequest(
            method, f"{self._container.url}/{quote(path)}?{token}", headers, expires_at
        )

    def _delete(self, path: str, version_id: str | None = None) -> None:
        try:
            self._container.delete_blob(path, version_id=version_id)
        except ResourceNotFoundError:
            return

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        where = self._about(name)
        try:
            yield
        except ClientAuthenticationError as error:
            answer = answers.Answer(error.status_code or 401, "", error.message)
            raise answers.error(answer, **where) from error
        except HttpResponseError as error:
            code = getattr(error, "error_code", None) or ""  # an enum where the SDK knows it
            text = str(getattr(code, "value", code))
            answer = answers.Answer(error.status_code or 0, text, str(error.reason))
            raise answers.error(answer, **where) from error
        except AzureError as error:
            raise answers.no_answer(error, "no connection", **where) from error


class DelegationKey:
    """A key to sign with on an identity's behalf: fetched once, and renewed long before its end.

    Safe to call from threads: one fetches, the others wait for it. Where a key cannot be renewed,
    the one at hand serves as long as whatever it signs is good for.
    """

    def __init__(
        self,
        fetch: Callable[[datetime, datetime], UserDelegationKey],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._key: UserDelegationKey | None = None
        self._expiry = self._next = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> UserDelegationKey:
        """The key.

        Raises:
            StoreError: there is none, and none could be had.
        """
        with self._lock:
            now = self._now()
            if self._key is not None and now < self._next:
                return self._key
            self._next = now + _KEY_AGAIN
            try:
                self._key = self._fetch(now - _CLOCK_SKEW, now + _KEY_LIFE)
            except StoreError:
                if self._key is None or self._expiry - now < LIFETIME:
                    raise
            else:
                self._expiry = now + _KEY_LIFE
                self._next = self._expiry - _KEY_RENEWAL
            return self._key


def _retry() -> ExponentialRetry:
    # One a service: a policy leads to the next in its pipeline, which ends with the credentials, and
    # one that two services share sends the requests of both with those of the later one.
    return ExponentialRetry(
        initial_backoff=0, increment_base=2, retry_total=2, random_jitter_range=1
    )


def _credential(credentials: Mapping[str, str]) -> Any:
    if "accountKey" in credentials:
        base64.b64decode(credentials["accountKey"], validate=True)
        return {
            "account_name": credentials["accountName"],
            "account_key": credentials["accountKey"],
        }
    options: dict[str, Any] = {"retry_total": 2, "connection_timeout": 5, "read_timeout": 20}
    if "authorityHost" in credentials:
        options["authority"] = credentials["authorityHost"]
        options["disable_instance_discovery"] = True
    if "clientSecret" in credentials:
        return ClientSecretCredential(
            credentials["tenantId"], credentials["clientId"], credentials["clientSecret"], **options
        )
    return WorkloadIdentityCredential(
        tenant_id=credentials.get("tenantId"), client_id=credentials.get("clientId"), **options
    )


def _info(name: str, blob: BlobProperties) -> ObjectInfo:
    tier = tiers.tier_of(Provider.AZURE, str(getattr(blob.blob_tier, "value", blob.blob_tier)))
    return ObjectInfo(
        name,
        blob.size,
        blob.last_modified,
        _md5(blob),
        tier=tier,
        since=blob.blob_tier_change_time or blob.last_modified,
        at_hand=tier is not Tier.ARCHIVE,
        returning=bool(blob.archive_status),
    )


def _md5(blob: BlobProperties) -> bytes | None:
    told = blob.content_settings.content_md5
    return bytes(told) if told else None


def _put_headers(put: PutIntent) -> dict[str, str]:
    assert put.md5 is not None  # binds_md5 asks for it
    return {
        "x-ms-blob-type": "BlockBlob",
        "If-None-Match": "*",  # says "exists" where the signature alone would say "denied"
        "Content-MD5": base64.b64encode(put.md5).decode(),
        "Content-Length": str(put.size),
    }
