"""The Kubernetes API in plain JSON objects.

Of the official client only the transport is used (TLS, kubeconfig, tokens that are read again when
they are rotated): our own models describe what we read, so its generated ones would be a second
description of the same objects.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio import client as transport
from kubernetes.aio import config

from weddingbackup.resources import names

Object = dict[str, Any]
"""One Kubernetes object, or a patch of one, as JSON says it."""

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
_PAGE = 500


class ApiError(Exception):
    """The API server refused a request, or could not be reached (status 0).

    Attributes:
        status: the HTTP status.
        reason: the server's word for it, for example AlreadyExists.
    """

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ConflictError(ApiError):
    """The name is taken, or the object changed since it was read (409)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API: where its objects are found."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What objects carry as apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path below the server's address."""
        root = "/apis" if self.group else "/api"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = [f"{root}/{self.api_version}{place}/{self.plural}", name, subresource]
        return "/".join(part for part in parts if part)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Resource("", "v1", "secrets", "Secret")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PODS = Resource("", "v1", "pods", "Pod")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
JOBS = Resource("batch", "v1", "jobs", "Job")
SUBJECTS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)
"""Who the caller is, as the API server knows them."""
TOKEN_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False
)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ADMISSION_POLICIES = Resource(
    *("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"),
    kind="ValidatingAdmissionPolicy",
    namespaced=False,
)
ADMISSION_BINDINGS = Resource(
    *("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"),
    kind="ValidatingAdmissionPolicyBinding",
    namespaced=False,
)
DEFINITIONS = Resource(
    *("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    namespaced=False,
)
LOCATIONS = Resource(
    names.GROUP, names.VERSION, "backuplocations", "BackupLocation", namespaced=False
)
POLICIES = Resource(names.GROUP, names.VERSION, "weddingbackuppolicies", "WeddingBackupPolicy")
BACKUPS = Resource(names.GROUP, names.VERSION, "backupjobs", "BackupJob")
REQUESTS = Resource(names.GROUP, names.VERSION, "recoveryrequests", "RecoveryRequest")
DATABASES = Resource(
    names.GROUP, names.VERSION, "backupdatabases", "BackupDatabase", namespaced=False
)
ALERTS = Resource(names.GROUP, names.VERSION, "backupalerts", "BackupAlert")

OUR_KINDS = (LOCATIONS, DATABASES, POLICIES, BACKUPS, REQUESTS, ALERTS)


class Cluster:
    """The API server, with one connection pool. Made by `connect`."""

    def __init__(self, client: transport.ApiClient) -> None:
        self._client = client

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None
    ) -> Object | None:
        """One object; None where there is none."""
        try:
            return await self._json("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> list[Object]:
        """All objects that carry these labels and field values, page by page."""
        query: dict[str, Any] = {"limit": _PAGE}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in labels.items())
        if fields:
            query["fieldSelector"] = ",".join(f"{key}={value}" for key, value in fields.items())
        found: list[Object] = []
        while True:
            page = await self._json("GET", resource.path(namespace), query=query)
            found += page.get("items") or []
            query["continue"] = page["metadata"].get("continue")
            if not query["continue"]:
                return found

    async def create(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; or only hear whether that would be allowed.

        Raises:
            ConflictError: the name is taken.
        """
        namespace = body["metadata"].get("namespace")
        query = {"fieldManager": names.MANAGER, "dryRun": "All" if dry_run else None}
        return await self._json("POST", resource.path(namespace), body=body, query=query)

    async def token(self, account: str, namespace: str, audience: str) -> str:
        """A token of a ServiceAccount for ten minutes, the shortest that there is.

        Raises:
            ApiError: nobody gives one to us; status 404 where there is no such account.
        """
        spec = {"audiences": [audience], "expirationSeconds": 600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = SERVICE_ACCOUNTS.path(namespace, account, "token")
        told = await self._json("POST", path, body={**body, "metadata": {}})
        given: str = told["status"]["token"]
        return given

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Object,
        *,
        subresource: str = "",
    ) -> Object | None:
        """Merge a patch into an object (RFC 7386); None where there is no such object.

        Raises:
            ConflictError: the patch names a resourceVersion that is no longer the newest.
        """
        try:
            return await self._json(
                "PATCH",
                resource.path(namespace, name, subresource),
                body=patch,
                query={"fieldManager": names.MANAGER},
                content_type=_MERGE_PATCH,
            )
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, uid: str | None = None
    ) -> None:
        """Delete an object and, behind it, what it owns; one that is gone is no error.

        With a `uid`, only this very object is deleted, not a later one of the same name.
        """
        body: Object = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", resource.path(namespace, name), body=body)
        except ConflictError:
            return
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _json(self, method: str, path: str, **request: Any) -> Object:
        body: Object = json.loads(await self._request(method, path, **request))
        return body

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        parameters = await self._client.param_serialize(
            method,
            path,
            query_params=[(key, value) for key, value in (query or {}).items() if value],
            header_params={"Accept": f"{_JSON}, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._client.call_api(*parameters, _request_timeout=_TIMEOUT)
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(
                f"{method} {path}: the API server did not answer: {error!r}",
                status=0,
                reason="Unreachable",
            ) from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise _failure(method, path, response.status, data)
        return data


def _failure(method: str, path: str, status: int, data: bytes) -> ApiError:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = {}
    message = f"{method} {path}: {answer.get('message') or data[:300].decode(errors='replace')}"
    kind = ConflictError if status == HTTPStatus.CONFLICT else ApiError
    return kind(message, status=status, reason=answer.get("reason") or str(status))


@asynccontextmanager
async def connect(kubeconfig: str | None = None) -> AsyncIterator[Cluster]:
    """The cluster that this process runs in, or the one that a kubeconfig file names.

    Args:
        kubeconfig: path of a file; by default the pod's service account, or else `KUBECONFIG`.
    """
    settings = transport.Configuration()
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        # Reads the token again every minute: a bound token lives for an hour.
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, client_configuration=settings
        )
    async with transport.ApiClient(settings) as client:
        yield Cluster(client)
