"""What the API server says to a manifest: mostly asked by a dry run, which stores nothing."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from kubernetes import client, config

from tests.cluster import Cluster
from weddingbackup.resources.names import GROUP, VERSION
from weddingbackup.resources.schema import KINDS

Object = dict[str, Any]

_DEFINITIONS = {kind.definition.kind: kind.definition for kind in KINDS}


class ApiServer:
    """Asks a real API server whether it takes an object of one of our kinds."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        connection = config.new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
        self._objects = client.CustomObjectsApi(connection)

    def accepts(self, body: Mapping[str, Any]) -> Object:
        """The object as the server would store it, defaults filled in."""
        return self._create(body, dry_run="All")

    def refusal(self, body: Mapping[str, Any]) -> str:
        """What the server says when it refuses the object."""
        with pytest.raises(client.ApiException) as refused:
            self.accepts(body)
        return _message(refused.value)

    def create(self, body: Mapping[str, Any]) -> Object:
        """Store the object, for rules that compare it with what was there before."""
        return self._create(body)

    def change(self, body: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
        """The stored object after a merge patch, by a dry run."""
        return self._patch(body, patch, dry_run="All")

    def refused_change(self, body: Mapping[str, Any], patch: Mapping[str, Any]) -> str:
        """What the server says when it refuses the patch."""
        with pytest.raises(client.ApiException) as refused:
            self.change(body, patch)
        return _message(refused.value)

    def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Write a stored object's status, as the operator does."""
        return self._patch(body, {"status": status}, subresource="_status")

    def delete(self, body: Mapping[str, Any]) -> None:
        """Remove a stored object."""
        method = f"delete_{self._scope(body)}"
        getattr(self._objects, method)(**self._where(body), name=body["metadata"]["name"])

    def _create(self, body: Mapping[str, Any], **options: str) -> Object:
        method = getattr(self._objects, f"create_{self._scope(body)}")
        created: Object = method(
            **self._where(body), body=body, field_validation="Strict", **options
        )
        return created

    def _patch(
        self,
        body: Mapping[str, Any],
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        **options: str,
    ) -> Object:
        method = getattr(self._objects, f"patch_{self._scope(body)}{subresource}")
        patched: Object = method(
            **self._where(body),
            name=body["metadata"]["name"],
            body=patch,
            field_validation="Strict",
            _content_type="application/merge-patch+json",
            **options,
        )
        return patched

    def _scope(self, body: Mapping[str, Any]) -> str:
        return f"{_DEFINITIONS[body['kind']].scope.lower()}_custom_object"

    def _where(self, body: Mapping[str, Any]) -> dict[str, str]:
        definition = _DEFINITIONS[body["kind"]]
        where = {"group": GROUP, "version": VERSION, "plural": definition.plural}
        return where | ({"namespace": self.namespace} if definition.scope == "Namespaced" else {})


def _message(error: client.ApiException) -> str:
    message: str = json.loads(error.body or "{}")["message"]
    # A rule that breaks on a field that is not there refuses good objects as well.
    assert "no such key" not in message
    return message


@pytest.fixture(scope="session")
def api(crds: Cluster) -> ApiServer:
    """For dry runs, which store nothing and so can share a namespace."""
    return ApiServer(crds, "default")


@pytest.fixture
def own_api(crds: Cluster, namespace: str) -> ApiServer:
    """With a namespace of the test's own, for what has to be stored."""
    return ApiServer(crds, namespace)
