from datetime import timedelta

from tests.unit.rules.facts import NOON, backup, location
from weddingbackup.resources.backup_job import LocationStatus
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.reports import CopyReport, ErrorReport
from weddingbackup.rules.backup import complete
from weddingbackup.rules.commit import UNVERIFIED
from weddingbackup.rules.conditions import find
from weddingbackup.rules.replication import PAUSE, catch_up, held
from weddingbackup.rules.workload import Problem, Workload

ROW = LocationStatus(name="a", phase=LocationPhase.LAGGING, bytes=3, message="was slow")
UP, DOWN = location("a"), location("a", "Unavailable")


def test_a_healthy_location_gets_its_copy() -> None:
    decision = catch_up(ROW, UP, None, now=NOON)
    assert (decision.create, decision.delete) == (True, False)
    assert decision.row.phase is LocationPhase.LAGGING


def test_a_location_that_is_down_is_waited_for_without_a_job() -> None:
    for workload, delete in ((None, False), (Workload(), True)):
        decision = catch_up(ROW, DOWN, workload, now=NOON)
        assert (decision.create, decision.delete) == (False, delete)
        assert "Unavailable" in (decision.row.message or "")


def test_a_copy_that_is_done_commits_the_row_wherever_its_location_is_now() -> None:
    done = Workload(
        finished=True, succeeded=True, message=CopyReport(target="a", bytes=4, seconds=2).to_json()
    )
    for there in (UP, DOWN, None):
        row = catch_up(ROW, there, done, now=NOON).row
        assert (row.phase, row.bytes, row.message) == (LocationPhase.COMMITTED, 7, None)


def test_a_copy_that_failed_is_tried_again_after_a_pause() -> None:
    said = CopyReport(target="a", error=ErrorReport(code="X", message="no room")).to_json()
    failed = Workload(finished=True, finished_at=NOON, message=said)
    early = catch_up(ROW, UP, failed, now=NOON)
    late = catch_up(ROW, UP, failed, now=NOON + PAUSE)
    assert (early.delete, early.row.message) == (False, "no room")
    assert late.delete
    assert not late.create


def test_what_holds_a_copy_up_is_said() -> None:
    stuck = Workload(problem=Problem("Unschedulable", "no node"))
    assert catch_up(ROW, UP, stuck, now=NOON + timedelta(1)).row.message == "no node"


def test_a_copy_that_waits_for_its_turn_says_so_until_its_job_is_there() -> None:
    for told in ("was slow", UNVERIFIED):
        row = ROW.model_copy(update={"message": told})
        asked = catch_up(row, UP, None, now=NOON)
        assert asked.create
        waiting = held(asked.row, "Waits for its turn.")
        for _ in range(2):  # looked at again, it says the same
            assert "Waits for its turn." in (waiting.message or "")
            assert "being" not in (waiting.message or "")
            assert waiting.phase is LocationPhase.LAGGING
            waiting = held(catch_up(waiting, UP, None, now=NOON).row, "Waits for its turn.")
        made = catch_up(waiting, UP, None, now=NOON).row
        # Killed before that is written: what is there speaks for itself.
        for row in (made, catch_up(waiting, UP, Workload(), now=NOON).row):
            assert "Waits" not in (row.message or "")
            assert (row.message == UNVERIFIED) is (told == UNVERIFIED)


def test_a_location_that_is_gone_is_given_up() -> None:
    row = catch_up(ROW, None, None, now=NOON).row
    assert row.phase is LocationPhase.FAILED
    assert "no longer" in (row.message or "")


def test_a_location_that_is_gone_is_not_said_to_be_caught_up() -> None:
    committed = LocationStatus(name="a", phase=LocationPhase.COMMITTED)
    gone = LocationStatus(name="b", phase=LocationPhase.FAILED)
    behind = LocationStatus(name="c", phase=LocationPhase.LAGGING)
    for rows, reason in (
        ([committed], "AllLocationsCommitted"),
        ([committed, gone], "LocationGone"),
        ([committed, gone, behind], "CatchingUp"),
    ):
        status = complete(backup(), rows, now=NOON)
        replicated = find(status.conditions, "Replicated")
        assert replicated is not None
        assert replicated.reason == reason
        assert ("no longer: b" in replicated.message) is (gone in rows)
