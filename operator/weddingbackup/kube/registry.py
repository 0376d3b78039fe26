"""The registry of vaults: one Secret a policy in the operator's namespace, never owned by the policy.

It is found by the UID of the policy's namespace and the policy's name. So a policy made anew adopts its
vault, and a namespace of the same name that belongs to somebody else never does. Who deletes the Secret
has erased the vault.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from weddingbackup.kube import organisations
from weddingbackup.kube.client import SECRETS, Cluster, ConflictError, Object
from weddingbackup.resources import names
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules import kits
from weddingbackup.vault.kit import Kit

_KEY = "kit.json"
_IMPORTED = f"{names.GROUP}/vault-imported"
"""On a vault that was brought from another cluster: its bytes are older than its Secret."""
_NAMESPACE = f"{names.GROUP}/namespace"
_POLICY = f"{names.GROUP}/policy-name"
_PREFIX = f"{names.GROUP}/vault-prefix"
"""The vault's place, beside its id: told without the keys, which a damaged Secret has no more."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A policy's vault.

    Attributes:
        secret: the name of its Secret.
        founded: when it was; the beginning of time for one from another cluster, whose bytes are of any age.
        exported: what is recorded of its recovery kits.
    """

    kit: Kit
    secret: str
    founded: datetime
    exported: tuple[KitRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a vault lies at each location: what its erasure takes.

    Attributes:
        prefix: opaque; below each location's own prefix.
        exported: what is recorded of its recovery kits.
    """

    vault_id: str
    prefix: str
    exported: tuple[KitRecord, ...] = ()


def secret_name(namespace_uid: str, policy: str) -> str:
    """The name of a policy's vault Secret."""
    return f"vault-{hashlib.sha256(f'{namespace_uid}/{policy}'.encode()).hexdigest()[:20]}"


async def find(
    cluster: Cluster, home: str, *, namespace: str, policy: str, uid: str | None = None
) -> Registered | None:
    """The vault of a policy in `namespace`, registered in `home`; None where it has none.

    Args:
        cluster: the API server.
        home: the operator's namespace.
        namespace: the policy's.
        policy: its name.
        uid: the namespace's, where the caller has just read it.

    Raises:
        VaultError: the Secret holds no kit.
    """
    uid = uid or (await organisations.read(cluster, namespace)).uid
    secret = await cluster.get(SECRETS, secret_name(uid, policy), home)
    return None if secret is None else registered(secret)


async def locate(cluster: Cluster, home: str, *, namespace: str, policy: str) -> Place | None:
    """The place of a policy's vault, for which its keys need not be whole; None where it has none.

    Raises:
        VaultError: the Secret holds no kit, and does not name the place either.
    """
    uid = (await organisations.read(cluster, namespace)).uid
    secret = await cluster.get(SECRETS, secret_name(uid, policy), home)
    if secret is None:
        return None
    vault_id = (secret["metadata"].get("labels") or {}).get(names.LABEL_VAULT)
    annotations = secret["metadata"].get("annotations") or {}
    exported = tuple(kits.recorded(annotations))
    prefix = annotations.get(_PREFIX)
    if vault_id and prefix:
        return Place(vault_id, prefix, exported)
    kit = registered(secret).kit
    return Place(kit.vault_id, kit.prefix, exported)


async def adopt(
    cluster: Cluster, home: str, *, namespace: str, policy: str, uid: str | None = None
) -> Registered:
    """The vault of a policy in `namespace`, registered in `home`; founded now if there is none.

    Founding is one create: who loses the race (another process of the operator, on its way out) takes
    the winner's vault. Nothing is stored anywhere before the Secret is, so a crash leaves no orphan.
    Arguments as for `find`.

    Raises:
        VaultError: the Secret holds no kit.
    """
    namespace_uid = uid or (await organisations.read(cluster, namespace)).uid
    name = secret_name(namespace_uid, policy)
    secret = await cluster.get(SECRETS, name, home)
    if secret is None:
        body = _describe(
            Kit.found(), name, home, uid=namespace_uid, namespace=namespace, policy=policy
        )
        try:
            secret = await cluster.create(SECRETS, body)
        except ConflictError:
            secret = await cluster.get(SECRETS, name, home)
            if secret is None:
                raise
    return registered(secret)


async def bring(
    cluster: Cluster, home: str, kit: Kit, record: KitRecord, *, namespace: str, policy: str
) -> None:
    """Register a vault that another cluster had as that of a policy here, which is then to adopt it.

    The kit's file is recorded with it, in one create: there is no moment at which nobody knows of it.

    Raises:
        ConflictError: the policy has a vault already.
    """
    uid = (await organisations.read(cluster, namespace)).uid
    body = _describe(
        kit, secret_name(uid, policy), home, uid=uid, namespace=namespace, policy=policy
    )
    body["metadata"]["annotations"] |= {_IMPORTED: "true", **dict([kits.annotation(record)])}
    await cluster.create(SECRETS, body)


async def every(cluster: Cluster, home: str) -> list[Object]:
    """The Secrets of all vaults, also of policies and namespaces that are gone."""
    secrets = await cluster.list(
        SECRETS, home, labels={"app.kubernetes.io/managed-by": names.MANAGER}
    )
    return [s for s in secrets if names.LABEL_VAULT in s["metadata"]["labels"]]


async def record(cluster: Cluster, home: str, secret: str, told: KitRecord) -> bool:
    """Write down on a vault's Secret what becomes of a kit; False where there is no such Secret any more.

    Each kit and person has an annotation of its own, so people who export at once lose nothing of each other.
    """
    patch = {"metadata": {"annotations": dict([kits.annotation(told)])}}
    return await cluster.patch(SECRETS, secret, home, patch) is not None


def owner(secret: Object) -> tuple[str, str]:
    """Namespace and name of the policy that a vault's Secret was made for."""
    annotations = secret["metadata"].get("annotations") or {}
    return annotations.get(_NAMESPACE, "unknown"), annotations.get(_POLICY, "unknown")


def registered(secret: Object) -> Registered:
    """What a vault's Secret says.

    Raises:
        VaultError: it holds no kit.
    """
    kit = Kit.from_json(base64.b64decode((secret.get("data") or {}).get(_KEY, "")))
    metadata = secret["metadata"]
    annotations = metadata.get("annotations") or {}
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    founded = datetime.min.replace(tzinfo=UTC) if _IMPORTED in annotations else created
    return Registered(kit, metadata["name"], founded, tuple(kits.recorded(annotations)))


def _describe(kit: Kit, name: str, home: str, *, uid: str, namespace: str, policy: str) -> Object:
    return {
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
                _NAMESPACE: namespace,
                f"{names.GROUP}/namespace-uid": uid,
                _POLICY: policy,
            },
        },
        "data": {_KEY: base64.b64encode(kit.to_json()).decode()},
    }


async def destroy(cluster: Cluster, home: str, *, namespace: str, policy: str) -> None:
    """Destroy the vault's keys: from now on nobody can read any copy of it."""
    uid = (await organisations.read(cluster, namespace)).uid
    await cluster.delete(SECRETS, secret_name(uid, policy), home)
