from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, backup, location, running
from weddingbackup.resources.backup_job import (
    BackupJob,
    LocationStatus,
    ManifestStatus,
    Phase,
    Status,
)
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import LocationPhase
from weddingbackup.rules import backup as backups
from weddingbackup.rules.commit import BRIEF, LONG, VERIFIED, Sight, judge, rows, waits
from weddingbackup.rules.conditions import find

THERE, ABSENT, SILENT = Sight.THERE, Sight.ABSENT, Sight.SILENT


def bound(name: str, *, checks: bool = True) -> BackupLocation:
    plain = location(name)
    status = {"phase": "Healthy", "capabilities": {"createOnly": True, "boundChecksums": checks}}
    return BackupLocation.model_validate({**plain.dump(), "status": status})


LOCATIONS = {name: bound(name) for name in "abc"}


def ended(reason: str = "WorkerEnded", **status: Any) -> BackupJob:
    """A backup whose worker has ended at noon."""
    worked = {
        "type": "Worked",
        "status": "True",
        "reason": reason,
        "message": "its last words",
        "lastTransitionTime": NOON,
    }
    announced = {"name": "snapshots/m", "sha256": "ab" * 32, "pod": "u", "at": NOON}
    parts = {"announced": announced, "conditions": [worked], **status}
    return backup(status=running("a", "b", "c", **parts))


def look(
    sights: dict[str, Sight],
    *,
    order: BackupJob | None = None,
    locations: Any = None,
    waited: timedelta = timedelta(),
) -> Status:
    order = order or ended()
    known = LOCATIONS if locations is None else locations
    found = rows(order.status.locations, sights, known)
    moment = NOON if THERE in sights.values() else None
    return judge(order, found, sights, moment, now=NOON + waited)


def reason_of(status: Status) -> str:
    ready = find(status.conditions, "Ready")
    assert ready is not None
    return ready.reason


def test_a_quorum_that_was_seen_is_the_commit() -> None:
    status = look({"a": THERE, "b": THERE, "c": ABSENT})
    assert (status.phase, status.committed_copies) == (Phase.COMPLETED, "2/3")
    assert status.manifest == ManifestStatus(name="snapshots/m", sha256="ab" * 32)
    assert status.point_time == NOON
    assert {row.name: row.phase for row in status.locations}["c"] is LocationPhase.LAGGING
    assert backups.worked(status) is None


def test_less_than_a_quorum_is_none_whatever_the_worker_said() -> None:
    claimed = [{"name": name, "bytes": 5} for name in "abc"]
    status = look({"a": THERE, "b": ABSENT, "c": ABSENT}, order=ended(locations=claimed))
    assert (status.phase, status.manifest) == (Phase.FAILED, None)
    assert reason_of(status) == "NoQuorum"


def test_who_is_silent_is_asked_again_for_a_while() -> None:
    sights = {"a": THERE, "b": SILENT, "c": ABSENT}
    early = look(sights, waited=LONG - timedelta(seconds=1))
    assert (early.phase, reason_of(early)) == (Phase.RUNNING, "Confirming")
    assert "b did not answer" in (early.message or "")
    late = look(sights, waited=LONG)
    assert (late.phase, reason_of(late)) == (Phase.FAILED, "NoQuorum")
    assert "b did not answer" in (late.message or "")


def test_a_quorum_elsewhere_waits_for_the_silent_only_briefly() -> None:
    sights = {"a": THERE, "b": THERE, "c": SILENT}
    assert look(sights).phase is Phase.RUNNING
    status = look(sights, waited=BRIEF)
    assert status.phase is Phase.COMPLETED
    assert {row.name: row.phase for row in status.locations}["c"] is LocationPhase.LAGGING


def test_what_was_seen_stays_seen_while_others_are_asked_again() -> None:
    first = look({"a": THERE, "b": SILENT, "c": SILENT})
    again = ended().model_copy(update={"status": first})
    status = look({"b": THERE, "c": SILENT}, order=again, waited=BRIEF)
    assert (status.phase, status.point_time) == (Phase.COMPLETED, NOON)


@pytest.mark.parametrize("held", [0, 1])
def test_a_location_that_checks_nothing_on_arrival_counts_only_after_its_verification(
    held: int,
) -> None:
    locations = {name: bound(name, checks=name == "a" and held == 1) for name in "abc"}
    status = look({"a": THERE, "b": THERE, "c": THERE}, locations=locations, waited=LONG * 9)
    assert (status.phase, reason_of(status)) == (Phase.RUNNING, "Verifying")
    assert sum(row.phase is LocationPhase.COMMITTED for row in status.locations) == held


def test_a_backup_that_is_never_verified_ends_or_can_be_ended() -> None:
    unbound = {name: bound(name, checks=False) for name in "abc"}
    sights = {"a": THERE, "b": THERE, "c": THERE}
    late = look(sights, locations=unbound, waited=VERIFIED)
    assert (late.phase, reason_of(late)) == (Phase.FAILED, "NoQuorum")
    order = ended()
    cancelled = order.model_copy(update={"spec": order.spec.model_copy(update={"cancel": True})})
    assert look(sights, order=cancelled, locations=unbound).phase is Phase.CANCELLED
    assert look(sights, order=cancelled).phase is Phase.COMPLETED  # a commit cannot be taken back


@pytest.mark.parametrize("reason", ["WorkerEnded", "OutOfMemory"])
def test_where_only_the_verification_lacks_it_is_said_and_why(reason: str) -> None:
    order = ended(reason)
    locations = {name: bound(name, checks=name == "a") for name in "abc"}
    sights = {"a": THERE, "b": THERE, "c": ABSENT}
    found = [
        row.model_copy(update={"message": "Waits for its turn."}) if row.name == "b" else row
        for row in rows(order.status.locations, sights, locations)
    ]
    status = judge(order, found, sights, NOON, now=NOON + VERIFIED)
    assert (status.phase, reason_of(status)) == (Phase.FAILED, "NoQuorum")
    told = status.message or ""
    assert "What lies at b was not verified in time, within 24 hours" in told
    assert "b: Waits for its turn." in told
    assert "seen to hold" not in told


def test_what_lacks_more_than_a_verification_is_not_said_to_lack_that() -> None:
    unbound = {name: bound(name, checks=False) for name in "abc"}
    status = look({"a": THERE, "b": ABSENT, "c": ABSENT}, locations=unbound, waited=VERIFIED)
    assert reason_of(status) == "NoQuorum"
    assert "in time" not in (status.message or "")


def test_a_commit_waits_for_verifications_until_its_quorum_is_held() -> None:
    found = [
        LocationStatus(name=name, phase=phase)
        for name, phase in zip(
            "abc",
            [LocationPhase.COMMITTED, LocationPhase.COMMITTED, LocationPhase.LAGGING],
            strict=True,
        )
    ]
    assert [waits(found, quorum) for quorum in (2, 3)] == [False, True]


def test_a_location_of_which_nothing_is_known_is_not_believed() -> None:
    [row] = rows([LocationStatus(name="a")], {"a": THERE}, {"a": location("a")})
    assert row.phase is LocationPhase.LAGGING


def test_a_location_that_is_registered_no_longer_is_given_up() -> None:
    status = look({"a": THERE, "b": THERE}, locations={name: LOCATIONS[name] for name in "ab"})
    assert status.phase is Phase.COMPLETED
    assert {row.name: row.phase for row in status.locations}["c"] is LocationPhase.FAILED


def test_a_worker_that_failed_after_its_commit_has_committed() -> None:
    order = ended("OutOfMemory")
    assert look({"a": THERE, "b": THERE, "c": ABSENT}, order=order).phase is Phase.COMPLETED
    status = look({"a": THERE, "b": ABSENT, "c": ABSENT}, order=order)
    assert (reason_of(status), status.message) == ("OutOfMemory", "its last words")


@given(
    st.fixed_dictionaries({name: st.sampled_from(Sight) for name in "abc"}),
    st.sets(st.sampled_from("abc")),
    st.integers(0, 300),
)
def test_completed_means_a_quorum_of_intact_copies_was_seen(
    sights: dict[str, Sight], binding: set[str], seconds: int
) -> None:
    locations = {name: bound(name, checks=name in binding) for name in "abc"}
    status = look(sights, locations=locations, waited=timedelta(seconds=seconds))
    vouched = {name for name in binding if sights[name] is THERE}
    committed = {row.name for row in status.locations if row.phase is LocationPhase.COMMITTED}
    assert committed == vouched
    assert (status.phase is Phase.COMPLETED) <= (len(vouched) >= 2)
    assert (status.manifest is not None) is (status.phase is Phase.COMPLETED)
