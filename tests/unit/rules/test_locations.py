from datetime import timedelta

import pytest

from tests.unit.rules.facts import NOON, location
from weddingbackup.resources.backup_location import BackupLocation, Capabilities, Phase, Status
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.rules.conditions import find
from weddingbackup.rules.locations import REFRESH, Fault, Finding, candidate, is_readable, judge
from weddingbackup.rules.placement import Health

WELL = Finding(
    Fault.NONE,
    reachable=True,
    readable=True,
    writable=True,
    latency_milliseconds=12,
    capabilities=Capabilities(create_only=True),
)


def failing(fault: Fault, failures: int = 1, *, reachable: bool = False) -> Finding:
    return Finding(fault, reachable=reachable, message="it says", failures=failures)


def after(there: BackupLocation, status: Status) -> BackupLocation:
    return there.model_copy(update={"status": status})


def is_true(status: Status, kind: str) -> bool:
    found = find(status.conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def test_a_location_that_does_all_is_healthy() -> None:
    status = judge(location("a", "Pending"), WELL, now=NOON)
    assert status.phase is Phase.HEALTHY
    assert all(is_true(status, kind) for kind in ("Ready", "Reachable", "Writable", "CreateOnly"))
    assert (status.latency_milliseconds, status.last_probe_time) == (12, NOON)


@pytest.mark.parametrize(
    ("fault", "reachable", "phase", "stalled"),
    [
        (Fault.UNREACHABLE, False, Phase.UNAVAILABLE, False),
        (Fault.DENIED, True, Phase.UNAVAILABLE, True),
        (Fault.MISSING, True, Phase.UNAVAILABLE, True),
        (Fault.MISCONFIGURED, False, Phase.UNAVAILABLE, True),
        (Fault.OVERWRITES, True, Phase.REFUSED, True),
    ],
)
def test_what_is_wrong_decides_whether_a_person_has_to_act(
    fault: Fault, reachable: bool, phase: Phase, stalled: bool
) -> None:
    status = judge(location("a", "Pending"), failing(fault, reachable=reachable), now=NOON)
    assert status.phase is phase
    assert is_true(status, "Stalled") is stalled
    assert is_true(status, "Reconciling") is not stalled
    assert status.message == "it says"


def test_one_lost_packet_changes_nothing_and_two_do() -> None:
    there = after(location("a"), judge(location("a", "Pending"), WELL, now=NOON))
    once = judge(there, failing(Fault.UNREACHABLE, 1), now=NOON)
    twice = judge(there, failing(Fault.UNREACHABLE, 2), now=NOON)
    assert once is there.status
    assert twice.phase is Phase.UNAVAILABLE


def test_nothing_is_written_while_nothing_is_new_but_every_few_minutes() -> None:
    there = after(location("a"), judge(location("a", "Pending"), WELL, now=NOON))
    soon = judge(there, WELL, now=NOON + REFRESH - timedelta(seconds=1))
    late = judge(there, WELL, now=NOON + REFRESH)
    assert soon is there.status
    assert late.last_probe_time == NOON + REFRESH


def test_what_a_service_can_do_is_remembered_over_an_outage() -> None:
    there = after(location("a"), judge(location("a", "Pending"), WELL, now=NOON))
    down = judge(there, failing(Fault.UNREACHABLE, 2), now=NOON)
    assert is_true(down, "CreateOnly")
    assert down.latency_milliseconds is None


def test_read_only_by_choice_is_no_fault() -> None:
    there = location("a", "Pending", accessMode="ReadOnly")
    status = judge(there, Finding(Fault.NONE, reachable=True, readable=True), now=NOON)
    assert status.phase is Phase.READ_ONLY
    assert is_true(status, "Ready")
    assert candidate(after(there, status)).health is Health.UNFIT
    assert is_readable(after(there, status))


def test_where_only_writing_is_denied_recoveries_read_on() -> None:
    denied = Finding(Fault.DENIED, reachable=True, readable=True, message="it says", failures=1)
    there = location("a", "Pending")
    status = judge(there, denied, now=NOON)
    assert status.phase is Phase.UNAVAILABLE
    assert is_true(status, "Readable")
    assert candidate(after(there, status)).health is Health.DOWN
    assert is_readable(after(there, status))
    blind = judge(there, failing(Fault.DENIED, reachable=True), now=NOON)
    assert not is_readable(after(there, blind))


@pytest.mark.parametrize(
    ("phase", "health", "readable"),
    [
        ("Pending", Health.UNFIT, False),
        ("Healthy", Health.GOOD, True),
        ("Unavailable", Health.DOWN, False),
        ("Refused", Health.UNFIT, True),
    ],
)
def test_what_a_phase_means_for_placement_and_recovery(
    phase: str, health: Health, readable: bool
) -> None:
    assert candidate(location("a", phase)).health is health
    assert is_readable(location("a", phase)) is readable
