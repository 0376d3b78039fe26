"""Which organisations may use what belongs to others: locations, and another namespace's recovery points."""

from collections.abc import Mapping, Sequence

from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import Grant, WeddingBackupPolicy
from weddingbackup.rules.conditions import Verdict
from weddingbackup.rules.placement import matches


def allowed_namespaces(location: BackupLocation, labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels may keep copies at a location, and read what it kept there."""
    selector = location.spec.allowed_namespaces
    return selector is None or matches(selector, labels)


def may_recover(policy: WeddingBackupPolicy, namespace: str, uid: str) -> bool:
    """Whether RecoveryRequests of this namespace may bring a policy's data back."""
    return namespace == policy.metadata.namespace or (
        namespace in policy.spec.recovery.allowed_namespaces
        and Grant(namespace=namespace, uid=uid) in policy.status.grants
    )


def is_grant_pending(policy: WeddingBackupPolicy, namespace: str) -> bool:
    """Whether the spec names a namespace that the status has not got yet, under any UID.

    So it is until the policy is next reconciled: where the name is new, and after an upgrade from an
    operator that wrote no grants down.
    """
    return namespace in policy.spec.recovery.allowed_namespaces and all(
        grant.namespace != namespace for grant in policy.status.grants
    )


def grants(policy: WeddingBackupPolicy, uids: Mapping[str, str]) -> list[Grant]:
    """Whom the spec names, each with the UID that its namespace had when it was first seen.

    A name alone is no organisation: it is free again once its namespace is deleted. So a row is
    never brought up to date; it goes when the name is taken out of the spec.

    Args:
        policy: the policy.
        uids: of the namespaces that are there, by name.
    """
    seen = {**uids, **{grant.namespace: grant.uid for grant in policy.status.grants}}
    named = policy.spec.recovery.allowed_namespaces
    return [Grant(namespace=name, uid=seen[name]) for name in named if name in seen]


def granted(
    policy: WeddingBackupPolicy, rows: Sequence[Grant], uids: Mapping[str, str]
) -> list[Verdict]:
    """Whether all whom the spec names may recover; nothing where it names nobody."""
    named = policy.spec.recovery.allowed_namespaces
    if not named:
        return []
    replaced = [row.namespace for row in rows if uids.get(row.namespace, row.uid) != row.uid]
    if replaced:
        message = (
            f"Deleted and made anew since this policy let them recover: {', '.join(replaced)}. They may "
            "be other organisations now, and are refused. Take them out of "
            "spec.recovery.allowedNamespaces; if they shall recover, put them in again once "
            "status.grants does not name them."
        )
        return [Verdict("Granted", status=False, reason="NamespaceReplaced", message=message)]
    missing = [name for name in named if name not in uids]
    if missing:
        message = (
            f"There is no namespace {', '.join(missing)}. Whoever makes the first one of that name may "
            "recover: take out of spec.recovery.allowedNamespaces whom you do not expect."
        )
        return [Verdict("Granted", status=False, reason="NamespaceNotFound", message=message)]
    message = f"{', '.join(named)} may recover."
    return [Verdict("Granted", status=True, reason="Granted", message=message)]
