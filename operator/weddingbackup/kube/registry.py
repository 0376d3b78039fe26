"""The registry of vaults: one Secret a policy in the operator's namespace, never owned by the policy.

It is found by the UID of the policy's namespace and the policy's name. So a policy made anew adopts its
vault, and a namespace of the same name that belongs to somebody else never does. Who deletes the Secret
has erased the vault.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from weddingbackup.kube.client import (
    NAMESPACES,
    SECRETS,
    ApiError,
    Cluster,
    ConflictError,
    Object,
)
from weddingbackup.resources import names
from weddingbackup.vault.kit import Kit

_KEY = "kit.json"
_PREFIX = f"{names.GROUP}/vault-prefix"
"""The vault's place, beside its id: told without the keys, which a damaged Secret has no more."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A policy's vault.

    Attributes:
        secret: the name of its Secret.
        founded: when it was.
    """

    kit: Kit
    secret: str
    founded: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where a vault lies at each location: what its erasure takes.

    Attributes:
        prefix: opaque; below each location's own prefix.
    """

    vault_id: str
    prefix: str


def secret_name(namespace_uid: str, policy: str) -> str:
    """The name of a policy's vault Secret."""
    return f"vault-{hashlib.sha256(f'{namespace_uid}/{policy}'.encode()).hexdigest()[:20]}"


async def find(cluster: Cluster, home: str, *, namespace: str, policy: str) -> Registered | None:
    """The vault of a policy in `namespace`, registered in `home`; None where it has none.

    Raises:
        VaultError: the Secret holds no kit.
    """
    uid = await _namespace_uid(cluster, namespace)
    secret = await cluster.get(SECRETS, secret_name(uid, policy), home)
    return None if secret is None else _registered(secret)


async def locate(cluster: Cluster, home: str, *, namespace: str, policy: str) -> Place | None:
    """The place of a policy's vault, for which its keys need not be whole; None where it has none.

    Raises:
        VaultError: the Secret holds no kit, and does not name the place either.
    """
    uid = await _namespace_uid(cluster, namespace)
    secret = await cluster.get(SECRETS, secret_name(uid, policy), home)
    if secret is None:
        return None
    vault_id = (secret["metadata"].get("labels") or {}).get(names.LABEL_VAULT)
    prefix = (secret["metadata"].get("annotations") or {}).get(_PREFIX)
    if vault_id and prefix:
        return Place(vault_id, prefix)
    kit = _registered(secret).kit
    return Place(kit.vault_id, kit.prefix)


async def adopt(cluster: Cluster, home: str, *, namespace: str, policy: str) -> Registered:
    """The vault of a policy in `namespace`, registered in `home`; founded now if there is none.

    Founding is one create: who loses the race (another process of the operator, on its way out) takes
    the winner's vault. Nothing is stored anywhere before the Secret is, so a crash leaves no orphan.

    Raises:
        VaultError: the Secret holds no kit.
    """
    namespace_uid = await _namespace_uid(cluster, namespace)
    name = secret_name(namespace_uid, policy)
    secret = await cluster.get(SECRETS, name, home)
    if secret is None:
        kit = Kit.found()
        body = {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {
                "name": name,
                "namespace": home,
                "labels": {
                    "app.kubernetes.io/managed-by": names.MANAGER,
                    names.LABEL_VAULT: kit.vault_id,
                },
                "annotations": {
                    _PREFIX: kit.prefix,
                    f"{names.GROUP}/namespace": namespace,
                    f"{names.GROUP}/namespace-uid": namespace_uid,
                    f"{names.GROUP}/policy-name": policy,
                },
            },
            "data": {_KEY: base64.b64encode(kit.to_json()).decode()},
        }
        try:
            secret = await cluster.create(SECRETS, body)
        except ConflictError:
            secret = await cluster.get(SECRETS, name, home)
            if secret is None:
                raise
    return _registered(secret)


async def destroy(cluster: Cluster, home: str, *, namespace: str, policy: str) -> None:
    """Destroy the vault's keys: from now on nobody can read any copy of it."""
    uid = await _namespace_uid(cluster, namespace)
    await cluster.delete(SECRETS, secret_name(uid, policy), home)


async def _namespace_uid(cluster: Cluster, namespace: str) -> str:
    found = await cluster.get(NAMESPACES, namespace)
    if found is None:
        raise ApiError(f"namespace {namespace} is gone", status=404, reason="NotFound")
    uid: str = found["metadata"]["uid"]
    return uid


def _registered(secret: Object) -> Registered:
    kit = Kit.from_json(base64.b64decode((secret.get("data") or {}).get(_KEY, "")))
    metadata = secret["metadata"]
    return Registered(kit, metadata["name"], datetime.fromisoformat(metadata["creationTimestamp"]))
