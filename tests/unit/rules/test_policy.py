from datetime import datetime, timedelta
from typing import Any

from tests.unit.rules.facts import NOON, backup, location, policy
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.wedding_backup_policy import Phase, Status
from weddingbackup.rules import policy as rules
from weddingbackup.rules.conditions import find
from weddingbackup.rules.policy import Facts
from weddingbackup.rules.workload import Problem

KEY = "backup.wedsync.io/manual-trigger"
PROBED = [{"type": "Ready", "status": "True", "lastTransitionTime": NOON, "reason": "R"}]


def probed(name: str, phase: str = "Healthy") -> Any:
    there = location(name, phase)
    status = {"phase": phase, "conditions": PROBED}
    return there.model_validate({**there.dump(), "status": status})


LOCATIONS = {name: probed(name) for name in "abc"}


def completed(name: str, hours: int, *held: str, vault: str = "v") -> BackupJob:
    moment = NOON + timedelta(hours=hours)
    rows = [{"name": each, "phase": "Committed"} for each in held]
    status = {
        "phase": "Completed",
        "vault": {"id": vault, "prefix": "x"},
        "manifest": {"name": f"m-{name}", "sha256": "ab" * 32},
        "locations": rows,
        "sources": [{"name": "p", "dataClass": "Portfolio"}],
        "pointTime": moment,
        "completedAt": moment,
    }
    return backup(name, status=status, meta={"creationTimestamp": moment})


def assess(*jobs: BackupJob, locations: Any = None, problems: Any = (), **spec: Any) -> Status:
    facts = Facts(
        problems=problems,
        locations=LOCATIONS if locations is None else locations,
        backups=jobs,
        vault=("v", NOON - timedelta(days=1)),
    )
    return rules.assess(policy(**spec), facts, now=NOON)


def condition(status: Status, kind: str) -> tuple[ConditionStatus, str]:
    found = find(status.conditions, kind)
    assert found is not None
    return found.status, found.reason


class TestStatus:
    def test_a_placed_policy_is_active(self) -> None:
        status = assess()
        assert status.phase is Phase.ACTIVE
        assert condition(status, "Ready")[0] is ConditionStatus.TRUE
        assert condition(status, "Placed")[0] is ConditionStatus.TRUE
        assert condition(status, "Protected") == (ConditionStatus.FALSE, "NoRecoveryPoint")
        assert {row.name for row in status.locations} == {"a", "b", "c"}
        assert status.next_backup_time == datetime.fromisoformat("2026-12-06T11:00:00Z")

    def test_a_reference_that_leads_nowhere_blocks_it(self) -> None:
        status = assess(problems=[Problem("SecretNotFound", "no Secret db")])
        assert (status.phase, status.message) == (Phase.BLOCKED, "no Secret db")
        assert condition(status, "Stalled") == (ConditionStatus.TRUE, "SecretNotFound")

    def test_it_waits_for_the_first_probes(self) -> None:
        status = assess(
            locations={**LOCATIONS, "d": location("d", "Pending")}, redundancy={"copies": 4}
        )
        assert status.phase is Phase.PENDING
        assert condition(status, "Reconciling") == (ConditionStatus.TRUE, "WaitingForProbes")

    def test_too_few_locations_are_told_and_a_quorum_works_on(self) -> None:
        some = assess(redundancy={"copies": 5, "quorum": 3})
        none = assess(redundancy={"copies": 5, "quorum": 4})
        assert (some.phase, none.phase) == (Phase.ACTIVE, Phase.BLOCKED)
        for status in (some, none):
            assert condition(status, "Placed") == (ConditionStatus.FALSE, "NotEnoughLocations")
            assert condition(status, "Stalled")[0] is ConditionStatus.TRUE

    def test_suspended_is_ready_and_has_no_next_time(self) -> None:
        status = assess(schedule={"suspend": True})
        assert (status.phase, status.next_backup_time) == (Phase.SUSPENDED, None)
        assert condition(status, "Ready")[0] is ConditionStatus.TRUE

    def test_the_newest_point_and_its_copies(self) -> None:
        status = assess(completed("new", -1, "a", "b", "c"), completed("old", -30, "a", "b"))
        assert status.newest_point is not None
        assert status.newest_point.backup_job == "new"
        assert status.copies == "3/3"
        assert condition(status, "Protected")[0] is ConditionStatus.TRUE

    def test_a_point_that_is_dated_in_the_future_is_no_newer_than_its_end(self) -> None:
        ahead = completed("ahead", -30, "a", "b", "c")
        far = {"pointTime": NOON + timedelta(days=900)}
        ahead = backup("ahead", status={**ahead.status.dump(), **far})
        status = assess(ahead, completed("new", -1, "a", "b", "c"))
        assert status.newest_point is not None
        assert status.newest_point.backup_job == "new"
        told = {"newestPoint": {**status.newest_point.dump(), "time": NOON + timedelta(days=900)}}
        facts = Facts((), LOCATIONS, [completed("new", -1, "a")], ("v", NOON - timedelta(days=1)))
        after = rules.assess(policy(status=told), facts, now=NOON)
        assert after.newest_point == status.newest_point

    def test_a_copy_at_a_location_that_is_gone_counts_no_longer(self) -> None:
        locations = {name: LOCATIONS[name] for name in "bc"}
        status = assess(completed("new", -1, "a", "b", "c"), locations=locations)
        assert condition(status, "Protected") == (ConditionStatus.FALSE, "TooFewCopies")

    def test_a_copy_that_cannot_be_reached_counts_only_once_it_can_again(self) -> None:
        point = completed("new", -1, "a", "b", "c")
        status = assess(point, locations={**LOCATIONS, "c": probed("c", "Unavailable")})
        assert condition(status, "Protected") == (ConditionStatus.FALSE, "TooFewCopies")
        found = find(status.conditions, "Protected")
        assert found is not None
        assert "out of reach or damaged: c" in found.message
        assert status.copies == "2/3"
        again = rules.assess(
            policy().model_copy(update={"status": status}),
            Facts((), LOCATIONS, (point,), ("v", NOON - timedelta(days=1))),
            now=NOON,
        )
        assert condition(again, "Protected")[0] is ConditionStatus.TRUE
        assert again.copies == "3/3"

    def test_more_copies_than_are_asked_for_are_as_many_as_asked_for(self) -> None:
        status = assess(completed("new", -1, "a", "b", "c"), redundancy={"copies": 2})
        assert status.copies == "2/2"

    def test_a_source_that_is_newer_than_the_newest_point_is_not_protected(self) -> None:
        guests = {"name": "g", "dataClass": "Guests", "volume": {"claimName": "guests"}}
        sources = [*policy().dump()["spec"]["sources"], guests]
        status = assess(completed("new", -1, "a", "b", "c"), sources=sources)
        assert condition(status, "Protected") == (ConditionStatus.FALSE, "SourcesNotInPoint")
        found = find(status.conditions, "Protected")
        assert found is not None
        assert ": g." in found.message

    def test_points_of_a_vault_that_was_erased_are_no_points(self) -> None:
        jobs = [completed("old", -1, "a", "b", "c", vault="erased"), completed("new", -9, "a", "b")]
        mine = rules.of_vault([*jobs, backup("waiting")], "v")
        assert [job.metadata.name for job in mine] == ["new", "waiting"]

    def test_a_point_outlives_its_backup_job_and_its_copies_are_then_unknown(self) -> None:
        first = assess(completed("new", -1, "a", "b", "c"))
        facts = Facts((), LOCATIONS, (), ("v", NOON - timedelta(days=1)))
        later = policy().model_copy(update={"status": first})
        status = rules.assess(later, facts, now=NOON)
        assert status.newest_point == first.newest_point
        assert condition(status, "Protected") == (ConditionStatus.UNKNOWN, "CopiesUnknown")
        assert status.copies is None


class TestOrders:
    def test_a_slot_is_due_when_no_backup_is_under_way(self) -> None:
        slot = datetime.fromisoformat("2026-12-05T11:00:00Z")
        assert rules.due_slot(policy(), [], now=NOON) == slot
        waiting = backup(meta={"creationTimestamp": "2026-12-04T11:00:00Z"})
        assert rules.due_slot(policy(), [waiting], now=NOON) is None
        assert rules.due_slot(policy(schedule={"suspend": True}), [], now=NOON) is None

    def test_a_backup_on_demand_serves_the_slots_before_it_unless_it_failed(self) -> None:
        done = completed("manual", 0, "a", "b")
        assert rules.due_slot(policy(), [done], now=NOON) is None
        failed = backup(status={"phase": "Failed"})
        assert rules.due_slot(policy(), [failed], now=NOON) is not None

    def test_a_backup_that_failed_is_made_up_for_after_an_hour_once(self) -> None:
        end = NOON - timedelta(minutes=59)
        failed = backup("f", status={"phase": "Failed", "completedAt": end})
        served = policy(status={"lastScheduledTime": NOON - timedelta(hours=1)})
        assert rules.due_slot(served, [failed], now=NOON) is None
        late = NOON + timedelta(minutes=7)
        slot = rules.due_slot(served, [failed], now=late)
        assert slot == NOON + timedelta(minutes=1)
        assert rules.due_slot(served, [failed], now=late + timedelta(minutes=9)) == slot
        again = backup("g", status={"phase": "Running"}, meta={"creationTimestamp": late})
        assert rules.due_slot(served, [failed, again], now=late) is None
        done = completed("g", 1, "a", "b")
        assert rules.due_slot(served, [failed, done], now=NOON + timedelta(hours=3)) is None

    def test_history_is_kept_within_bounds_and_the_newest_point_always(self) -> None:
        newest = completed("newest", -99, "a", "b")
        failures = [
            backup(
                f"f{number}",
                status={"phase": "Failed"},
                meta={"creationTimestamp": NOON + timedelta(minutes=number)},
            )
            for number in range(rules.HISTORY + 5)
        ]
        behind = completed("behind", -98, "a")
        row = {"name": "b", "phase": "Lagging"}
        rows = [*behind.status.dump()["locations"], row]
        behind = backup("behind", status={**behind.status.dump(), "locations": rows})
        jobs = [newest, behind, *failures, backup("pending")]
        names = [job.metadata.name for job in rules.expendable(jobs, "ab")]
        assert names == [f"f{number}" for number in range(5)]
        assert rules.expendable(failures[: rules.HISTORY], "ab") == []

    def test_what_waits_for_a_location_that_is_gone_is_history(self) -> None:
        status = completed("x", 0, "a", "b").status.dump()
        rows = [*status["locations"], {"name": "gone", "phase": "Failed"}]
        jobs = [
            backup(
                f"b{number}",
                status={**status, "pointTime": moment, "completedAt": moment, "locations": rows},
                meta={"creationTimestamp": moment},
            )
            for number in range(rules.HISTORY + 2)
            for moment in [NOON + timedelta(minutes=number)]
        ]
        names = [job.metadata.name for job in rules.expendable(jobs, "ab")]
        assert names == ["b0", "b1"]
        assert rules.expendable(jobs, ["a", "b", "gone"]) == []  # it can be caught up

    def test_each_new_text_of_the_trigger_makes_one_backup(self) -> None:
        def due(text: str, last: tuple[int, str] | None, *orders: tuple[int, str]) -> str | None:
            status = {"lastManualGeneration": last[0], "lastManualTrigger": last[1]} if last else {}
            mine = policy(status=status, trigger={"manual": text})
            jobs = [
                backup(f"m{generation}", meta={"annotations": {KEY: f"{uid}/{generation}/{each}"}})
                for uid, generation, each in (
                    *((mine.metadata.uid, *order) for order in orders),
                    ("a-namesake-before-it", 99, text),
                )
            ]
            return rules.due_trigger(mine, jobs, KEY)

        assert due("one", None) == "one"
        assert due("one", (1, "one")) is None
        assert due("one", None, (1, "one")) is None  # killed before the status was written
        assert due("two", (1, "one"), (1, "one"), (2, "two")) is None  # likewise
        assert due("one", (2, "two"), (1, "one"), (2, "two")) == "one"  # it returns
        assert due("one", (1, "one"), (1, "one"), (2, "two")) == "one"  # both
        assert due("two", (2, "two"), (1, "one")) is None  # the BackupJob was deleted
        assert due("one", (2, "two"), (1, "one")) == "one"  # deleted, and a text returns
        assert rules.due_trigger(policy(), [], KEY) is None

    def test_what_is_ordered_is_remembered_by_its_annotation(self) -> None:
        mine = policy(trigger={"manual": "a/b"})
        made = backup(meta={"annotations": {KEY: rules.trigger_edit(mine, "a/b")}})
        assert rules.due_trigger(mine, [made], KEY) is None
