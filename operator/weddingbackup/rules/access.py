"""Which organisations may use what belongs to others: locations, and another namespace's recovery points."""

from collections.abc import Mapping

from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules.placement import matches


def allowed_namespaces(location: BackupLocation, labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels may keep copies at a location, and read what it kept there."""
    selector = location.spec.allowed_namespaces
    return selector is None or matches(selector, labels)


def may_recover(policy: WeddingBackupPolicy, namespace: str) -> bool:
    """Whether RecoveryRequests of this namespace may bring a policy's data back."""
    return namespace == policy.metadata.namespace or (
        namespace in policy.spec.recovery.allowed_namespaces
    )
