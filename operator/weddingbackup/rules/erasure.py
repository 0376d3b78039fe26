"""What the status of a policy says while its vault is erased, until the policy itself is gone."""

from datetime import datetime

from weddingbackup.resources.wedding_backup_policy import Phase, Status, WeddingBackupPolicy
from weddingbackup.rules.conditions import State, Verdict, merge, summary


def erasing(policy: WeddingBackupPolicy, message: str, *, now: datetime) -> Status:
    """The status of a policy whose deletion erases its vault: from here on nothing is protected."""
    generation = policy.metadata.generation
    verdicts = [
        *summary(State.RECONCILING, "Erasing", message),
        Verdict("Protected", status=False, reason="Erasing", message=message),
    ]
    return policy.status.model_copy(
        update={
            "observed_generation": generation,
            "phase": Phase.ERASING,
            "message": message[:4096],
            "conditions": merge(policy.status.conditions, verdicts, generation=generation, now=now),
            "next_backup_time": None,
        }
    )
