"""The registry of vaults: one Secret a policy in the operator's namespace, never owned by the policy.

It is found by the UID of the policy's namespace and the policy's name. So a policy made anew adopts its
vault, and a namespace of the same name that belongs to somebody else never does. Who deletes the Secret
has erased the vault.

Beside them is one Secret an organisation with the bytes that each of its vaults takes: the operator may not
list Secrets, and vaults outlive the policies that they could be found by.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from weddingbackup.kube import organisations
from weddingbackup.kube.client import SECRETS, Cluster, ConflictError, Object
from weddingbackup.resources import names
from weddingbackup.resources.base import Model
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules import kits
from weddingbackup.rules.measures import Measured
from weddingbackup.vault.kit import Kit

_KEY = "kit.json"
_IMPORTED = f"{names.GROUP}/vault-imported"
"""On a vault that was brought from another cluster: its bytes are older than its Secret."""
_NAMESPACE = f"{names.GROUP}/namespace"
_NAMESPACE_UID = f"{names.GROUP}/namespace-uid"
_MEASURED = f"{names.GROUP}/measured"
_POLICY = f"{names.GROUP}/policy-name"
_PREFIX = f"{names.GROUP}/vault-prefix"
"""The vault's place, beside its id: told without the keys, which a damaged Secret has no more."""


class Row(Model):
    """What counts of one vault in its organisation's account."""

    bytes: Annotated[int, Field(ge=0)] = 0
    """What it takes at each location."""
    began: list[str] = Field(default_factory=list)
    """UIDs of BackupJobs that were let in since it was last looked at; what they store is not in `bytes`."""
    settled: bool = True
    """Whether another look would tell the same."""

    def after(self, measured: Measured, covered: Collection[str]) -> "Row":
        """The row after a look, which saw all that these BackupJobs stored."""
        return Row(
            bytes=self.bytes if measured.bytes is None else measured.bytes,
            began=[uid for uid in self.began if uid not in covered],
            settled=measured.settled,
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """A policy's vault.

    Attributes:
        secret: the name of its Secret.
        founded: when it was; the beginning of time for one from another cluster, whose bytes are of any age.
        exported: what is recorded of its recovery kits.
        organisation: the UID of the policy's namespace.
        measured: what it takes.
    """

    kit: Kit
    secret: str
    founded: datetime
    exported: tuple[KitRecord, ...] = ()
    organisation: str = ""
    measured: Measured = field(default_factory=Measured)

    @property
    def imported(self) -> bool:
        """Whether it was brought from another cluster."""
        return self.founded == _OF_OLD


_OF_OLD = datetime.min.replace(tzinfo=UTC)


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


async def secret(cluster: Cluster, home: str, name: str) -> Object | None:
    """A vault's Secret, by its name."""
    return await cluster.get(SECRETS, name, home)


async def measure(
    cluster: Cluster, home: str, vault: Registered, measured: Measured, covered: Collection[str]
) -> None:
    """Write down what a vault takes, for itself and for the sum of its organisation.

    Killed in between, it is measured again.

    Args:
        cluster: the API server.
        home: the operator's namespace.
        vault: the vault.
        measured: what was seen.
        covered: UIDs of the BackupJobs all of whose bytes were seen.
    """
    # The account last: a mark that stays too long costs a look, and one that is lost hides what was stored.
    patch = {"metadata": {"annotations": {_MEASURED: measured.to_json()}}}
    if (
        await cluster.patch(SECRETS, vault.secret, home, patch) is not None
    ):  # else it was erased meanwhile
        await _account(cluster, home, vault, lambda row: row.after(measured, covered))


async def begin(cluster: Cluster, home: str, vault: Registered, backup: str) -> None:
    """Write down that a BackupJob is about to store in a vault, so that the vault is looked at after it."""

    def begun(row: Row) -> Row:
        began = list(dict.fromkeys([*row.began, backup]))
        return row.model_copy(update={"began": began, "settled": False})

    await _account(cluster, home, vault, begun)


async def account(cluster: Cluster, home: str, uid: str) -> dict[str, Row]:
    """What counts of all vaults of an organisation, also those of policies that are gone.

    Args:
        cluster: the API server.
        home: the operator's namespace.
        uid: that of the organisation's namespace.

    Returns:
        the rows by the names of the vaults' Secrets.
    """
    return _rows(await cluster.get(SECRETS, _account_name(uid), home))


def _rows(body: Object | None) -> dict[str, Row]:
    data = ((body or {}).get("data") or {}).items()
    return {name: _row(base64.b64decode(row)) for name, row in data}


def _row(text: bytes) -> Row:
    """A row; of an older operator it says no more than how many bytes."""
    return Row(bytes=int(text)) if text.isdigit() else Row.model_validate_json(text)


async def _account(
    cluster: Cluster, home: str, vault: Registered, change: Callable[[Row], Row]
) -> None:
    """Change a vault's row in its organisation's account."""
    name = _account_name(vault.organisation)
    while True:
        body = await cluster.get(SECRETS, name, home) or await _open_account(
            cluster, home, vault.organisation
        )
        row = change(_rows(body).get(vault.secret, Row()))
        patch = {
            "metadata": {"resourceVersion": body["metadata"]["resourceVersion"]},
            "data": {vault.secret: base64.b64encode(row.to_json().encode()).decode()},
        }
        with suppress(ConflictError):  # another policy's reconcile has just written
            if await cluster.patch(SECRETS, name, home, patch) is not None:
                return


async def _open_account(cluster: Cluster, home: str, uid: str) -> Object:
    name = _account_name(uid)
    body = {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {
            "name": name,
            "namespace": home,
            "labels": {"app.kubernetes.io/managed-by": names.MANAGER},
            "annotations": {_NAMESPACE_UID: uid},
        },
    }
    try:
        return await cluster.create(SECRETS, body)
    except ConflictError:  # another policy's reconcile has just made it
        return await cluster.get(SECRETS, name, home) or body


def _account_name(uid: str) -> str:
    return f"stored-{hashlib.sha256(uid.encode()).hexdigest()[:20]}"


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
    return Registered(
        kit,
        metadata["name"],
        founded=_OF_OLD if _IMPORTED in annotations else created,
        exported=tuple(kits.recorded(annotations)),
        organisation=annotations.get(_NAMESPACE_UID, ""),
        measured=_measured(annotations),
    )


def _measured(annotations: Mapping[str, str]) -> Measured:
    try:
        return Measured.model_validate_json(annotations.get(_MEASURED, "{}"))
    except ValidationError:
        return Measured()  # measured again


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
                _NAMESPACE_UID: uid,
                _POLICY: policy,
            },
        },
        "data": {_KEY: base64.b64encode(kit.to_json()).decode()},
    }


async def destroy(cluster: Cluster, home: str, *, namespace: str, policy: str) -> None:
    """Destroy the vault's keys: from now on nobody can read any copy of it."""
    uid = (await organisations.read(cluster, namespace)).uid
    name = secret_name(uid, policy)
    await cluster.delete(SECRETS, name, home)
    await cluster.patch(SECRETS, _account_name(uid), home, {"data": {name: None}})


async def replace_kit(cluster: Cluster, home: str, secret: Object, kit: Kit) -> bool:
    """Put a vault's new kit in the place of the one that was read in `secret`, in one write.

    Returns:
        False where the vault was rotated or erased meanwhile: nothing was written.
    """
    read = secret["data"][_KEY]
    name = secret["metadata"]["name"]
    now: Object | None = secret
    while now is not None and (now.get("data") or {}).get(_KEY) == read:
        patch = {
            "metadata": {"resourceVersion": now["metadata"]["resourceVersion"]},
            "data": {_KEY: base64.b64encode(kit.to_json()).decode()},
        }
        try:
            return await cluster.patch(SECRETS, name, home, patch) is not None
        except ConflictError:  # a kit was recorded, perhaps, which is no rotation
            now = await cluster.get(SECRETS, name, home)
    return False
