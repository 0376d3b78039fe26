"""What one organisation may use: annotations of its namespace, or else the fleet's defaults.

Three limits: jobs at once, bytes that its vaults take, each at the location where it takes the most, and
locations a policy. A limit that nobody can read lets nothing pass: it was meant to hold something back. Who
has bytes left is admitted, and held by the broker to what is left (broker/spending.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from weddingbackup.resources import names
from weddingbackup.resources.backup_job import MOST_BESIDE, BackupJob, QuotaStatus
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.quantity import quantity
from weddingbackup.resources.recovery_request import Phase as RecoveryPhase
from weddingbackup.resources.recovery_request import RecoveryRequest, Urgency
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules.workload import Problem

JOBS = f"{names.GROUP}/quota-jobs"
BYTES = f"{names.GROUP}/quota-bytes"
LOCATIONS = f"{names.GROUP}/quota-locations"

EXCEEDED = "QuotaExceeded"


class QuotaError(ValueError):
    """A limit that cannot be read; the message says which, and what to write."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """An organisation's limits; None where there is none."""

    jobs: int | None = None
    bytes: int | None = None
    locations: int | None = None


def read(found: Mapping[str, str], defaults: Quotas) -> Quotas:
    """The limits of the namespace that carries these annotations.

    Raises:
        QuotaError: one of them says nothing that can be read.
    """
    return Quotas(
        jobs=_limit(found, JOBS, defaults.jobs),
        bytes=_limit(found, BYTES, defaults.bytes),
        locations=_limit(found, LOCATIONS, defaults.locations),
    )


def too_many_copies(policy: WeddingBackupPolicy, quotas: Quotas) -> Problem | None:
    """Whether a policy asks for more locations than its organisation may use."""
    copies, limit = policy.spec.redundancy.copies, quotas.locations
    if limit is None or copies <= limit:
        return None
    return Problem(
        EXCEEDED,
        f"spec.redundancy.copies is {copies}, and this namespace may use {limit} locations a policy: "
        f"ask for {limit} copies or less, or have an administrator raise {LOCATIONS} on the Namespace.",
    )


def admit(
    quotas: Quotas,
    backups: Sequence[BackupJob],
    recoveries: Sequence[RecoveryRequest],
    *,
    stored: int,
    unmeasured: Collection[str],
) -> Problem | QuotaStatus | None:
    """Why another backup of an organisation has to wait, or what it may store; None: as much as it likes.

    Recoveries count and never wait; those in an emergency do not even count.

    Args:
        quotas: its limits.
        backups: its BackupJobs.
        recoveries: its RecoveryRequests.
        stored: bytes that its vaults take, each where it takes the most, also those that policies left behind.
        unmeasured: UIDs of BackupJobs that may have stored what is not in `stored`.
    """
    running = sum(backup.status.phase is BackupPhase.RUNNING for backup in backups) + sum(
        recovery.status.phase is RecoveryPhase.RECOVERING
        and recovery.spec.urgency is not Urgency.EMERGENCY
        for recovery in recoveries
    )
    if quotas.jobs is not None and running >= quotas.jobs:
        return Problem(
            EXCEEDED,
            f"{running} jobs of this namespace are under way, and it may have {quotas.jobs} at once; "
            f"this backup starts when one has ended. An administrator can raise {JOBS} on the Namespace.",
        )
    if quotas.bytes is None:
        return None
    if stored >= quotas.bytes:
        return Problem(
            EXCEEDED,
            f"The vaults of this namespace take {stored} bytes, each at the location where it takes the most, "
            f"those that deleted policies left behind too, and it may have {quotas.bytes}: {_ADVICE}",
        )
    if len(unmeasured) > MOST_BESIDE:
        return Problem(
            EXCEEDED,
            f"{len(unmeasured)} backups of this namespace are under way or not measured yet, of which a limit "
            f"on bytes bears {MOST_BESIDE}; this backup starts when they are.",
        )
    return QuotaStatus(limit=quotas.bytes, stored=stored, beside=sorted(unmeasured))


def exhausted(found: QuotaStatus) -> Problem:
    """Why a backup that was admitted is granted nothing more."""
    return Problem(
        EXCEEDED,
        f"The vaults of this namespace took {found.stored} bytes when this backup began, each at the location "
        f"where it took the most, and may take {found.limit}; with it, and others that began since, they would "
        f"take more: {_ADVICE}",
    )


_ADVICE = (
    "erase policies that are needed no more (retention.deletionPolicy Erase, then delete them; make one "
    f"that is gone again under its name), or have an administrator raise {BYTES} on the Namespace."
)


def _limit(found: Mapping[str, str], key: str, default: int | None) -> int | None:
    if key not in found:
        return default
    try:
        return quantity(found[key])
    except ValueError:
        raise QuotaError(
            f"The Namespace's annotation {key} says {found[key]!r}: have an administrator write a "
            "whole number there, or a quantity like 500Gi."
        ) from None
