"""What kubectl wait, Flux and Argo CD make of every status that the operator writes.

kstatus is their common reading of conditions
(https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md). `reading` is a
model of it, made from its documentation; the statuses come from the rules that decide them.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from types import ModuleType

import pytest

from tests import objects
from weddingbackup.resources import (
    backup_job,
    backup_location,
    recovery_request,
    wedding_backup_policy,
)
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.base import Condition, ConditionStatus
from weddingbackup.resources.common import DataClass, LocationPhase
from weddingbackup.resources.kind import KindStatus
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy
from weddingbackup.rules import backup, erasure, locations, policy, recovery
from weddingbackup.rules.conditions import State, summary
from weddingbackup.rules.workload import Problem

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
GENERATION = 3
PROBLEM = Problem("SecretNotFound", "There is no Secret wedsync-db; make it.")
PASSING = Problem("WaitingForEarlierBackup", "Another one goes first.")


class Reading(Enum):
    """What a tool does: go on, wait, or give up and say so."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"


def reading(status: KindStatus, generation: int) -> Reading:
    """kstatus's rules for an object that is not being deleted."""
    if status.observed_generation != generation:
        return Reading.IN_PROGRESS
    is_true = {
        condition.type
        for condition in status.conditions
        if condition.status is ConditionStatus.TRUE
    }
    if "Reconciling" in is_true:
        return Reading.IN_PROGRESS
    if "Stalled" in is_true:
        return Reading.FAILED
    return Reading.CURRENT if "Ready" in is_true else Reading.IN_PROGRESS


def obeys(status: KindStatus) -> None:
    """What must be so in any status, whatever it says."""
    assert status.observed_generation == GENERATION
    types = [condition.type for condition in status.conditions]
    assert len(types) == len(set(types))
    assert {"Ready", "Reconciling", "Stalled"} <= set(types)
    assert len(_true(status.conditions) & {"Ready", "Reconciling", "Stalled"}) == 1
    # A status that the schema refuses could never be written.
    type(status).model_validate(status.dump())
    for condition in status.conditions:
        assert condition.observed_generation == GENERATION
        assert condition.last_transition_time <= NOW


def _true(conditions: Iterable[Condition]) -> set[str]:
    return {each.type for each in conditions if each.status is ConditionStatus.TRUE}


def _metadata(body: objects.Object) -> objects.Object:
    named = body["metadata"] | {"generation": GENERATION, "creationTimestamp": NOW.isoformat()}
    return body | {"metadata": named}


JOB = BackupJob.model_validate(
    _metadata(objects.backup_job())
    | {"status": {"phase": "Running", "quorum": 1, "locations": [{"name": "a"}, {"name": "b"}]}}
)
REQUEST = RecoveryRequest.model_validate(_metadata(objects.recovery_request()))
POLICY = WeddingBackupPolicy.model_validate(_metadata(objects.policy()))
LOCATION = BackupLocation.model_validate(_metadata(objects.location()))
READ_ONLY = BackupLocation.model_validate(_metadata(objects.location(accessMode="ReadOnly")))


def job_rows(*phases: LocationPhase) -> list[backup_job.LocationStatus]:
    return [
        backup_job.LocationStatus(name=f"l{number}", phase=phase)
        for number, phase in enumerate(phases)
    ]


def job_completed(*phases: LocationPhase) -> backup_job.Status:
    status = JOB.status.model_copy(update={"phase": backup_job.Phase.COMPLETED})
    done = JOB.model_copy(update={"status": status})
    return backup.complete(done, job_rows(*phases), now=NOW)


def recovered(*phases: recovery_request.SourcePhase) -> recovery_request.Status:
    rows = [
        recovery_request.SourceStatus(name=f"s{n}", data_class=DataClass.OTHER, phase=phase)
        for n, phase in enumerate(phases)
    ]
    status = REQUEST.status.model_copy(
        update={"phase": recovery_request.Phase.RECOVERING, "sources": rows}
    )
    return recovery.assess(REQUEST.model_copy(update={"status": status}), {}, now=NOW)


def assessed(
    problems: list[Problem], known: list[BackupLocation] | None = None, *, suspend: bool = False
) -> wedding_backup_policy.Status:
    facts = policy.Facts(
        problems, {each.metadata.name: each for each in known or []}, [], ("0" * 32, NOW)
    )
    schedule = POLICY.spec.schedule.model_copy(update={"suspend": suspend})
    spec = POLICY.spec.model_copy(update={"schedule": schedule})
    return policy.assess(POLICY.model_copy(update={"spec": spec}), facts, now=NOW)


def registered(phase: backup_location.Phase) -> list[BackupLocation]:
    return [
        BackupLocation.model_validate(
            objects.location(f"l{number}", region=f"r{number}") | {"status": {"phase": phase}}
        )
        for number in range(3)
    ]


def probed(fault: locations.Fault, location: BackupLocation = LOCATION) -> backup_location.Status:
    well = fault is locations.Fault.NONE
    finding = locations.Finding(fault, well, well, well, 20, backup_location.Capabilities(), "", 3)
    return locations.judge(location, finding, now=NOW)


RECOVERED, BROKEN = recovery_request.SourcePhase.COMPLETED, recovery_request.SourcePhase.FAILED
COMMITTED, LAGGING = LocationPhase.COMMITTED, LocationPhase.LAGGING
WELL = registered(backup_location.Phase.HEALTHY)
UNPROBED = registered(backup_location.Phase.PENDING)
REQUEST_PHASE = recovery_request.Phase

STATUSES: list[tuple[str, KindStatus, str, Reading]] = [
    ("a job waits its turn", backup.waiting(JOB, PASSING, now=NOW), "Pending", Reading.IN_PROGRESS),
    ("a job cannot start", backup.waiting(JOB, PROBLEM, now=NOW), "Pending", Reading.FAILED),
    ("a job runs", backup.assess(JOB, None, now=NOW).status, "Running", Reading.IN_PROGRESS),
    ("a job is done everywhere", job_completed(COMMITTED, COMMITTED), "Completed", Reading.CURRENT),
    ("a job is done at a quorum", job_completed(COMMITTED, LAGGING), "Completed", Reading.CURRENT),
    ("a job failed", backup.failed(JOB, PROBLEM, now=NOW), "Failed", Reading.FAILED),
    (
        "a job was cancelled",
        backup.waiting(
            JOB.model_copy(update={"spec": JOB.spec.model_copy(update={"cancel": True})}),
            PASSING,
            now=NOW,
        ),
        "Cancelled",
        Reading.FAILED,
    ),
    (
        "a request looks for its point",
        recovery.under_way(REQUEST, REQUEST_PHASE.PLANNING, PASSING, now=NOW),
        "Planning",
        Reading.IN_PROGRESS,
    ),
    (
        "a request runs",
        recovered(recovery_request.SourcePhase.RUNNING, RECOVERED),
        "Recovering",
        Reading.IN_PROGRESS,
    ),
    ("a request is done", recovered(RECOVERED, RECOVERED), "Completed", Reading.CURRENT),
    ("a request is half done", recovered(RECOVERED, BROKEN), "PartiallyFailed", Reading.FAILED),
    ("a request failed", recovered(BROKEN), "Failed", Reading.FAILED),
    ("a request cannot be done", recovery.failed(REQUEST, PROBLEM, now=NOW), "Failed", Reading.FAILED),
    ("a request was cancelled", recovery.cancelled(REQUEST, now=NOW), "Cancelled", Reading.FAILED),
    ("a policy names what is not there", assessed([PROBLEM]), "Blocked", Reading.FAILED),
    ("a policy finds no locations", assessed([]), "Blocked", Reading.FAILED),
    ("a policy is placed", assessed([], WELL), "Active", Reading.CURRENT),
    ("a policy is suspended", assessed([], WELL, suspend=True), "Suspended", Reading.CURRENT),
    ("a policy waits for probes", assessed([], UNPROBED), "Pending", Reading.IN_PROGRESS),
    ("a policy is not served", policy.blocked(POLICY, PROBLEM, now=NOW), "Blocked", Reading.FAILED),
    ("a policy is erased", erasure.erasing(POLICY, "", now=NOW), "Erasing", Reading.IN_PROGRESS),
    ("a location is well", probed(locations.Fault.NONE), "Healthy", Reading.CURRENT),
    ("a location is read-only", probed(locations.Fault.NONE, READ_ONLY), "ReadOnly", Reading.CURRENT),
    (
        "a location is away",
        probed(locations.Fault.UNREACHABLE),
        "Unavailable",
        Reading.IN_PROGRESS,
    ),
    ("a location denies us", probed(locations.Fault.DENIED), "Unavailable", Reading.FAILED),
    ("a location overwrites", probed(locations.Fault.OVERWRITES), "Refused", Reading.FAILED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "phase", "expected"),
    [case[1:] for case in STATUSES],
    ids=[case[0] for case in STATUSES],
)
def test_phase_and_conditions_say_the_same(
    status: KindStatus, phase: str, expected: Reading
) -> None:
    obeys(status)
    assert status.dump()["phase"] == phase
    assert reading(status, GENERATION) is expected


@pytest.mark.parametrize("status", [case[1] for case in STATUSES], ids=[c[0] for c in STATUSES])
def test_a_changed_spec_is_waited_for(status: KindStatus) -> None:
    assert reading(status, GENERATION + 1) is Reading.IN_PROGRESS


@pytest.mark.parametrize(
    ("kind", "unwritten"),
    [
        (backup_job, set()),
        # Before the first look there is no status at all.
        (recovery_request, {"Pending"}),
        (backup_location, {"Pending"}),
        (wedding_backup_policy, set()),
    ],
)
def test_every_phase_is_shown_above(kind: ModuleType, unwritten: set[str]) -> None:
    shown = {phase for _, status, phase, _ in STATUSES if isinstance(status, kind.Status)}
    assert shown == {str(phase) for phase in kind.Phase} - unwritten


@pytest.mark.parametrize("state", State)
def test_exactly_one_of_the_three_is_true(state: State) -> None:
    verdicts = summary(state, "Because")
    assert [verdict.type for verdict in verdicts if verdict.status] == [state.value]
    assert {verdict.type for verdict in verdicts} == {"Ready", "Reconciling", "Stalled"}
