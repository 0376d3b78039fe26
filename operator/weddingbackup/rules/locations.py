"""What a probe says about a location, in phase and conditions.

A single failed probe of a location that was well is not believed until a second one, made at once, says
the same: one lost packet must not send copies elsewhere.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from weddingbackup.resources.backup_location import (
    AccessMode,
    BackupLocation,
    Capabilities,
    Phase,
    Status,
)
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.rules.conditions import State, Verdict, find, merge, summary
from weddingbackup.rules.placement import Candidate, Health

REFRESH = timedelta(minutes=5)
"""How old what the status shows may get while nothing changes."""

RECHECK = timedelta(seconds=5)
"""How soon a location that answered until now, and failed once, is probed again."""

BELIEVED_FAILURES = 2


class Fault(Enum):
    """What is wrong with a location, as a condition's reason."""

    NONE = "ProbeSucceeded"
    UNREACHABLE = "Unreachable"
    DENIED = "AccessDenied"
    MISSING = "BucketMissing"
    OVERWRITES = "NoCreateOnly"
    MISCONFIGURED = "CredentialsMissing"
    OTHER = "ProbeFailed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found.

    Attributes:
        fault: NONE where the location can be used as its access mode says.
        readable: what lies there can be listed, whatever else is wrong.
        message: what is wrong, and what to do.
        failures: how many probes in a row failed, this one included.
    """

    fault: Fault
    reachable: bool = False
    readable: bool = False
    writable: bool = False
    latency_milliseconds: int | None = None
    capabilities: Capabilities | None = None
    message: str = ""
    failures: int = 0


def judge(location: BackupLocation, finding: Finding, *, now: datetime) -> Status:
    """The location's next status; the present one, untouched, where nothing new is to be said."""
    before = location.status
    if (
        finding.fault is Fault.UNREACHABLE
        and finding.failures < BELIEVED_FAILURES
        and before.phase in {Phase.HEALTHY, Phase.READ_ONLY}
    ):
        return before
    phase = _phase(location, finding)
    message = finding.message or _WELL[phase]
    verdicts = [
        *summary(_state(phase, finding.fault), finding.fault.value, message),
        Verdict("Reachable", finding.reachable, finding.fault.value, finding.message),
        Verdict("Readable", finding.readable, finding.fault.value, finding.message),
        Verdict(
            "Writable",
            finding.writable if finding.reachable else None,
            finding.fault.value,
            finding.message,
        ),
        _create_only(finding, before),
    ]
    status = Status(
        observed_generation=location.metadata.generation,
        conditions=merge(
            before.conditions, verdicts, generation=location.metadata.generation, now=now
        ),
        message=message[:4096],
        phase=phase,
        last_probe_time=before.last_probe_time,
        latency_milliseconds=before.latency_milliseconds,
        # What the service can do is remembered over an outage.
        capabilities=finding.capabilities or before.capabilities,
    )
    stale = before.last_probe_time is None or now - before.last_probe_time >= REFRESH
    if status == before and not stale:
        return before
    return status.model_copy(
        update={
            "last_probe_time": now.replace(microsecond=0),
            "latency_milliseconds": finding.latency_milliseconds,
        }
    )


def is_readable(location: BackupLocation) -> bool:
    """Whether a recovery reads from a location: also from one that only takes nothing new any more."""
    if location.status.phase is Phase.UNAVAILABLE:
        readable = find(location.status.conditions, "Readable")
        return readable is not None and readable.status is ConditionStatus.TRUE
    return location.status.phase is not Phase.PENDING


def is_unprobed(location: BackupLocation) -> bool:
    """Whether nothing is known of a location yet; within a probe's timeout something will be."""
    return not location.status.conditions


def candidate(location: BackupLocation) -> Candidate:
    """The location as placement sees it."""
    spec, status = location.spec, location.status
    health, problem = _HEALTH[status.phase]
    if spec.access_mode is AccessMode.READ_ONLY:
        health, problem = Health.UNFIT, "its accessMode is ReadOnly"
    return Candidate(
        name=location.metadata.name,
        provider=spec.provider,
        region=spec.region,
        country=spec.country,
        labels=location.metadata.labels,
        health=health,
        problem=f"{problem}: {status.message}" if status.message else problem,
    )


_HEALTH = {
    Phase.PENDING: (Health.UNFIT, "it has not been probed yet"),
    Phase.HEALTHY: (Health.GOOD, ""),
    Phase.UNAVAILABLE: (Health.DOWN, "it is Unavailable"),
    Phase.READ_ONLY: (Health.UNFIT, "it is ReadOnly"),
    Phase.REFUSED: (Health.UNFIT, "it is Refused"),
}

_WELL = {
    Phase.PENDING: "Not probed yet.",
    Phase.HEALTHY: "Reachable, writable and create-only.",
    Phase.UNAVAILABLE: "Unavailable.",
    Phase.READ_ONLY: "Reachable; accessMode ReadOnly keeps new backups away.",
    Phase.REFUSED: "Refused.",
}


def _phase(location: BackupLocation, finding: Finding) -> Phase:
    if finding.fault is Fault.OVERWRITES:
        return Phase.REFUSED
    if finding.fault is not Fault.NONE:
        return Phase.UNAVAILABLE
    if location.spec.access_mode is AccessMode.READ_ONLY:
        return Phase.READ_ONLY
    return Phase.HEALTHY


def _state(phase: Phase, fault: Fault) -> State:
    if phase in {Phase.HEALTHY, Phase.READ_ONLY}:
        return State.READY
    # An outage passes by itself; wrong credentials or a missing bucket want a person.
    return State.RECONCILING if fault is Fault.UNREACHABLE else State.STALLED


def _create_only(finding: Finding, before: Status) -> Verdict:
    known = finding.capabilities or before.capabilities
    if known is None:
        return Verdict("CreateOnly", None, "NotTried", "No probe has come so far yet.")
    if known.create_only:
        return Verdict("CreateOnly", True, "SecondWriteRefused")
    return Verdict("CreateOnly", False, Fault.OVERWRITES.value, finding.message)
