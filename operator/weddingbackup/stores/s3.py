"""Keeps a bucket that speaks Amazon's S3: AWS itself, Cloudflare R2, and whoever else does.

Backups and recoveries sign and list, which is done here: seven of Amazon's clients take longer to
make than a small wedding takes to back up. For everything else there is Amazon's client, made when
it is first needed.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules import tiers
from weddingbackup.stores import answers, names, s3list, v4
from weddingbackup.stores.api import LIFETIME, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.base import BaseKeeper
from weddingbackup.stores.errors import (
    ArchivedError,
    DeniedError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_ATTEMPTS = 3
_BACK_DAYS = 7
"""So long what was asked back of an archive can be read: time for a recovery, and for another try."""
_RETRY = Retry(deadline_seconds=3)
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}
"""Amazon's domains by the beginnings of regions: those that are not amazonaws.com."""
_HOST_LABEL = re.compile("[a-z0-9-]+")


class S3Keeper(BaseKeeper):
    """A `Keeper` for S3 and R2. Credentials: `accessKeyId`, `secretAccessKey`."""

    binds_md5 = False  # SHA-256 is in the signature, which is better

    def __init__(
        self,
        access: LocationAccess,
        credentials: Mapping[str, str],
        *,
        prefix: str = "",
        lifetime: timedelta = LIFETIME,
    ) -> None:
        super().__init__(access, prefix, lifetime)
        self._access = access
        self._credentials = credentials["accessKeyId"], credentials["secretAccessKey"]
        self._bucket = access.bucket
        self._provider = access.provider
        # R2 signs for "auto" wherever the bucket is.
        self._region = "auto" if access.provider is Provider.R2 else access.region
        self._signer = v4.amazon(*self._credentials, self._region)
        service = access.endpoint or _endpoint(access.region)
        self._host, self._base = _host_and_base(service, access)
        self.address = f"bucket {access.bucket} at {service}"
        self._wire = Wire(location=access.name, address=self.address, ca_file=access.ca_file)

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects; length, SHA-256 and create-only are in the signature."""
        return [self._sign_put(put) for put in puts]

    def sign_gets(self, names_: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        return [self._sign("GET", name, {}) for name in names_]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so, in byte order of the names."""
        asked = {
            "list-type": "2",
            "prefix": self._prefix + names.check_prefix(prefix),
            "encoding-type": "url",
        }
        start = len(self._prefix)
        while True:
            page, following = self._page(asked)
            for found in page:
                info = ObjectInfo(found.key[start:], found.size, found.modified, found.md5)
                yield self._info(
                    info,
                    found.class_name,
                    is_back=found.is_back,
                    is_returning=found.is_returning,
                )
            if following is None:
                return
            if following == asked.get("continuation-token"):  # it would go on for ever
                raise TransientError(
                    f"{self.address} gives the same part of a listing again and again",
                    location=self.location,
                )
            asked["continuation-token"] = following

    def head(self, name: str) -> ObjectInfo:
        """One object's facts."""
        with self._errors(name):
            found = self._client.head_object(**self._where(name), ChecksumMode="ENABLED")
        restored = found.get("Restore", "")
        return self._info(
            ObjectInfo(
                name,
                found["ContentLength"],
                found["LastModified"],
                s3list.md5_of(found.get("ETag", "")),
                _sha256(found.get("ChecksumSHA256", "")),
            ),
            found.get("StorageClass"),
            is_back='ongoing-request="false"' in restored,
            is_returning='ongoing-request="true"' in restored,
        )

    def delete(self, name: str) -> None:
        """Remove an object and its old versions."""
        where = self._where(name)
        with self._errors(name):
            if not self._has_versions:
                self._client.delete_object(**where)
                return
        self._delete_versions(where)

    def set_tier(self, name: str, tier: Tier) -> None:
        """Copy an object onto itself in the class of this tier: S3 knows no other way.

        What was there becomes an old version where the bucket keeps those, and is removed. A lock
        would forbid that until it ends, and both would be paid: such a bucket is refused.
        """
        where = self._where(name)
        if self._locks:
            raise UnsupportedError(
                f"{self.address} has an object lock, which would keep and charge every moved object"
                " twice until it ends: have a lifecycle rule of the bucket move them",
                location=self.location,
                name=name,
            )
        with self._errors(name):
            self._client.copy_object(
                **where,
                CopySource={"Bucket": self._bucket, "Key": where["Key"]},
                StorageClass=tiers.storage_class(self._provider, tier).name,  # type: ignore[arg-type]
            )
        if self._has_versions:
            self._delete_versions(where, old_only=True)

    def request_return(self, name: str) -> None:
        """Have an archived object's bytes laid out for some days."""
        if self._provider is Provider.R2:
            return  # it has no archive
        try:
            with self._errors(name):
                self._client.restore_object(
                    **self._where(name),
                    RestoreRequest={
                        "Days": _BACK_DAYS,
                        "GlacierJobParameters": {"Tier": "Standard"},
                    },
                )
        except ArchivedError:  # "invalid state" says here that its class is none to come back from
            return
        except StoreError as error:
            from botocore.exceptions import ClientError  # noqa: PLC0415  see the module's docstring

            cause = error.__cause__
            if not isinstance(cause, ClientError) or (
                cause.response["Error"].get("Code") != "RestoreAlreadyInProgress"
            ):
                raise

    def versioning(self) -> tuple[bool, bool]:
        """Whether the bucket keeps old versions, and locks; False where we may not ask."""
        return self._has_versions, self._has_lock()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> "S3Client":
        import boto3  # noqa: PLC0415  see the module's docstring

        access_key_id, secret_access_key = self._credentials
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._access.endpoint,
            region_name=self._region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            verify=self._access.ca_file,
            config=_config(path_style=self._access.endpoint is not None),
        )

    def _page(self, asked: Mapping[str, str]) -> tuple[Sequence[s3list.Listed], str | None]:
        def ask() -> bytes:
            url, headers = v4.signed_get(
                self._signer,
                self._host,
                self._base,
                asked,
                self._asking_for_returns,
                now=datetime.now(UTC),
            )
            signed = SignedRequest("GET", url, headers, self._expiry())
            return self._wire.get(signed, name="")

        answer = _RETRY.call(ask)
        try:
            return s3list.parse(answer)
        except ValueError as error:
            raise TransientError(
                f"{self.address} answered something else than a listing: {error}",
                location=self.location,
            ) from None

    def _delete_versions(self, where: Mapping[str, Any], *, old_only: bool = False) -> None:
        pages = self._client.get_paginator("list_object_versions")
        with self._errors(where["Key"].removeprefix(self._prefix)):
            for page in pages.paginate(Bucket=self._bucket, Prefix=where["Key"]):
                for found in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                    if found["Key"] == where["Key"] and not (old_only and found["IsLatest"]):
                        self._client.delete_object(**where, VersionId=found["VersionId"])

    @property
    def _asking_for_returns(self) -> dict[str, str]:
        """Have a listing say what was asked back; R2, which has no archive, need not understand it."""
        if self._provider is Provider.R2:
            return {}
        return {"x-amz-optional-object-attributes": "RestoreStatus"}

    def _info(
        self, found: ObjectInfo, class_name: str | None, *, is_back: bool, is_returning: bool
    ) -> ObjectInfo:
        """Add how an object lies. Who names no class means the usual one."""
        tier = tiers.tier_of(self._provider, class_name or "STANDARD")
        away = tier is not None and tiers.return_seconds(self._provider, tier) > 0
        return replace(
            found,
            tier=tier,
            since=found.modified,  # moving it was storing it
            at_hand=is_back or not away,
            returning=is_returning,
        )

    def _sign_put(self, put: PutIntent) -> SignedRequest:
        headers = {
            "If-None-Match": "*",
            "x-amz-checksum-sha256": base64.b64encode(put.sha256).decode(),
            "Content-Length": str(put.size),
        }
        return self._sign("PUT", put.name, headers)

    def _sign(self, method: str, name: str, headers: Mapping[str, str]) -> SignedRequest:
        now = datetime.now(UTC)
        url = v4.signed_url(
            self._signer,
            method,
            self._host,
            f"{self._base}/{self._path(name)}".lstrip("/"),
            headers,
            seconds=int(self._lifetime.total_seconds()),
            now=now,
        )
        return SignedRequest(method, url, headers, now + self._lifetime)

    def _where(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._path(name)}

    @cached_property
    def _has_versions(self) -> bool:
        try:
            with self._errors():
                status = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
        except (DeniedError, UnsupportedError):  # R2 has none, and says so
            return False
        return status is not None  # suspended: the versions from before are still there

    @cached_property
    def _locks(self) -> bool:
        return self._has_lock()

    def _has_lock(self) -> bool:
        try:
            with self._errors():
                found = self._client.get_object_lock_configuration(Bucket=self._bucket)
        except StoreError:  # "not found" here is the lock, not the bucket
            return False
        return found["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        from botocore.exceptions import (  # noqa: PLC0415  see the module's docstring
            BotoCoreError,
            ClientError,
            ParamValidationError,
        )

        where = self._about(name)
        try:
            yield
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            said = error.response["Error"]
            answer = answers.Answer(status, said.get("Code", ""), said.get("Message", ""))
            raise answers.error(answer, **where) from error
        except ParamValidationError as error:
            raise UnsupportedError(f"{self.address}: {error}", location=self.location) from error
        except BotoCoreError as error:
            raise answers.no_answer(error, "no connection", **where) from error


def _endpoint(region: str) -> str:
    """Amazon's own in a region.

    Raises:
        ValueError: the region cannot be one.
    """
    if not _HOST_LABEL.fullmatch(region):
        raise ValueError(f"{region} is no region of Amazon's")
    domains = (domain for begin, domain in _DOMAINS.items() if region.startswith(begin))
    return f"https://s3.{region}.{next(domains, 'amazonaws.com')}"


def _host_and_base(service: str, access: LocationAccess) -> tuple[str, str]:
    """Where a bucket is: scheme and host, and the path there, without slashes at its ends.

    Amazon's buckets are hosts, but those with a dot in the name, for which no certificate would be
    good; with everybody else they are paths.

    Raises:
        ValueError: the service's address is none.
    """
    parts = urlsplit(service)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"its endpoint {service} is no address")
    if access.endpoint is None and _HOST_LABEL.fullmatch(access.bucket):
        return f"{parts.scheme}://{access.bucket}.{parts.netloc}", ""
    return f"{parts.scheme}://{parts.netloc}", f"{parts.path.strip('/')}/{access.bucket}".lstrip(
        "/"
    )


def _sha256(checksum: str) -> bytes | None:
    """The SHA-256; of what was stored in parts it is that of their digests, with a hyphen."""
    return base64.b64decode(checksum) if checksum and "-" not in checksum else None


def _config(*, path_style: bool) -> "Config":
    from botocore.config import Config  # noqa: PLC0415  see the module's docstring

    return Config(
        # Without this, requests to an endpoint that isn't Amazon's are signed the old way.
        signature_version="s3v4",
        s3={"addressing_style": "path" if path_style else "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
