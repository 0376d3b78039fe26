"""What people and controllers would like to make: as small as the API server takes it, and never run."""

import secrets
from typing import Any

Object = dict[str, Any]


def pod_spec(service_account: str) -> Object:
    # On no node: pods are made, and never run.
    return {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "nodeSelector": {"no-such-node": "true"},
        "containers": [{"name": "c", "image": "example.invalid/image"}],
    }


def pod(name: str, service_account: str = "someone", **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": pod_spec(service_account),
    }


def job(
    name: str,
    service_account: str = "someone",
    *,
    labels: Object | None = None,
    inner: Object | None = None,
    **spec: Any,
) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            **spec,
            "template": {"metadata": {"labels": inner or {}}, "spec": pod_spec(service_account)},
        },
    }


def account(name: str) -> Object:
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def owner(kind: str, api_version: str = "batch/v1") -> list[Object]:
    uid = "4b4cd0b8-4f1c-4a5e-8a64-0b6f3c0f9a11"
    reference = {"apiVersion": api_version, "kind": kind, "name": "some", "uid": uid}
    return [{**reference, "controller": True}]


def workload(kind: str, service_account: str, labels: Object | None = None) -> Object:
    """One of the group apps, whose pods run under this account and carry these labels."""
    name = f"{kind.lower()}-{secrets.token_hex(3)}"
    spec = {**pod_spec(service_account), "restartPolicy": "Always"}
    if kind == "DaemonSet":
        del spec["nodeSelector"]  # no pod would be asked for
    mine = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": mine},
            "template": {"metadata": {"labels": {**mine, **(labels or {})}}, "spec": spec},
        },
    }
