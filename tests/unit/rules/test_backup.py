from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, backup, placed, policy, running
from weddingbackup.resources.backup_job import BackupJob, Phase, Status
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.reports import BackupReport, ProgressLine
from weddingbackup.rules.backup import Action, admit, assess, percent, waiting
from weddingbackup.rules.conditions import find
from weddingbackup.rules.workload import Problem, Workload

READY = policy(status=placed("a", "b", "c"))


def report(*committed: str, lagging: tuple[str, ...] = (), **more: Any) -> str:
    rows = [{"name": name, "phase": "Committed", "bytes": 5} for name in committed]
    rows += [{"name": name, "phase": "Lagging", "message": "slow"} for name in lagging]
    return BackupReport.model_validate(
        {
            "manifest": "snapshots/m",
            "sha256": "ab" * 32,
            "startedAt": NOON,
            "finishedAt": NOON,
            "pointTime": NOON,
            "locations": rows,
            "sources": [{"name": "p", "dataClass": "Portfolio", "bytes": 7, "warnings": ["w"]}],
            **more,
        }
    ).to_json()


def status_of(status: Status, kind: str) -> ConditionStatus | None:
    found = find(status.conditions, kind)
    return found.status if found else None


def refused(job: BackupJob, *rivals: BackupJob) -> str:
    answer = admit(job, READY, rivals, now=NOON)
    assert isinstance(answer, Problem)
    return answer.reason


class TestAdmission:
    def test_a_backup_is_planned_before_it_runs(self) -> None:
        planned = admit(backup(), READY, [], now=NOON)
        assert isinstance(planned, Status)
        assert planned.phase is Phase.RUNNING
        assert [row.name for row in planned.locations] == ["a", "b", "c"]
        assert (planned.quorum, planned.committed_copies) == (2, "0/3")
        assert status_of(planned, "Reconciling") is ConditionStatus.TRUE

    def test_what_stands_in_the_way(self) -> None:
        for found, reason in (
            (None, "PolicyNotFound"),
            (policy(), "PolicyNotReady"),
            (policy(status=placed("a", phase="Blocked")), "PolicyNotReady"),
            # Edited since: the edit may have excluded where copies went before.
            (policy(status=placed("a", observedGeneration=0)), "PolicyNotReady"),
        ):
            answer = admit(backup(), found, [], now=NOON)
            assert isinstance(answer, Problem)
            assert answer.reason == reason

    def test_one_backup_of_a_policy_runs_at_a_time_the_oldest_first(self) -> None:
        older = backup("z", meta={"creationTimestamp": "2026-12-05T10:00:00Z"})
        younger = backup("a", meta={"creationTimestamp": "2026-12-05T11:30:00Z"})
        assert refused(backup(), older) == "WaitingForEarlierBackup"
        assert refused(older, backup(status=running("a"))) == "WaitingForEarlierBackup"
        for rival in (younger, backup(), backup("z", status={"phase": "Failed"})):
            assert isinstance(admit(backup(), READY, [rival], now=NOON), Status)

    @given(st.permutations(["a", "b", "c"]), st.lists(st.integers(0, 9), min_size=3, max_size=3))
    def test_of_several_that_wait_exactly_one_may_start(
        self, names: list[str], minutes: list[int]
    ) -> None:
        jobs = [
            backup(name, meta={"creationTimestamp": f"2026-12-05T11:0{minute}:00Z"})
            for name, minute in zip(names, minutes, strict=True)
        ]
        answers = [admit(job, READY, jobs, now=NOON) for job in jobs]
        assert sum(isinstance(answer, Status) for answer in answers) == 1

    def test_waiting_says_whether_a_person_has_to_act(self) -> None:
        passing = waiting(backup(), Problem("WaitingForEarlierBackup", ""), now=NOON)
        stuck = waiting(backup(), Problem("PolicyNotFound", ""), now=NOON)
        assert status_of(passing, "Reconciling") is ConditionStatus.TRUE
        assert status_of(stuck, "Stalled") is ConditionStatus.TRUE
        cancelled = waiting(backup(cancel=True), Problem("PolicyNotFound", ""), now=NOON)
        assert cancelled.phase is Phase.CANCELLED


class TestRunning:
    RUNNING = backup(status=running("a", "b", "c"))

    def test_a_job_that_is_not_there_is_made_again(self) -> None:
        decision = assess(self.RUNNING, None, None, now=NOON)
        assert (decision.action, decision.status.phase) == (Action.CREATE, Phase.RUNNING)

    def test_progress_is_shown_a_row_a_location(self) -> None:
        said = ProgressLine(bytes_done=50, bytes_total=200, locations={"a": 9, "x": 1})
        status = assess(self.RUNNING, Workload(), said, now=NOON).status
        assert status.progress is not None
        assert status.progress.percent == 25
        rows = {row.name: (row.phase, row.bytes) for row in status.locations}
        assert rows["a"] == (LocationPhase.UPLOADING, 9)
        assert rows["b"] == (LocationPhase.PENDING, 0)
        assert set(rows) == {"a", "b", "c"}

    def test_a_commit_is_pinned_with_its_rows(self) -> None:
        ended = Workload(finished=True, succeeded=True, message=report("a", "b", lagging=("c",)))
        status = assess(self.RUNNING, ended, None, now=NOON).status
        assert status.phase is Phase.COMPLETED
        assert status.manifest is not None
        assert (status.manifest.name, status.manifest.sha256) == ("snapshots/m", "ab" * 32)
        assert status.committed_copies == "2/3"
        assert status_of(status, "Ready") is ConditionStatus.TRUE
        assert status_of(status, "Complete") is ConditionStatus.TRUE
        assert status_of(status, "Replicated") is ConditionStatus.FALSE
        assert status.sources[0].message == "w"

    @pytest.mark.parametrize(
        "said",
        [
            report("a"),
            report("a", "x", "y"),
            report("a", "a"),
            report("a", "b", manifest=None),
            report("a", "b", sha256=None),
        ],
    )
    def test_less_than_a_quorum_of_the_planned_locations_is_no_commit(self, said: str) -> None:
        ended = Workload(finished=True, succeeded=True, message=said)
        status = assess(self.RUNNING, ended, None, now=NOON).status
        assert status.phase is Phase.FAILED
        assert status.manifest is None
        assert status_of(status, "Failed") is ConditionStatus.TRUE

    def test_a_success_without_a_report_is_done_again(self) -> None:
        for lost in (None, "", "Traceback"):
            ended = Workload(finished=True, succeeded=True, message=lost)
            decision = assess(self.RUNNING, ended, None, now=NOON)
            assert (decision.action, decision.status.phase) == (Action.DELETE, Phase.RUNNING)

    def test_a_failure_says_what_the_worker_said(self) -> None:
        said = report(manifest=None, error={"code": "TableMissing", "message": "no table guests"})
        ended = Workload(finished=True, message=said, problem=Problem("WorkerFailed", "x"))
        status = assess(self.RUNNING, ended, None, now=NOON).status
        assert (status.phase, status.message) == (Phase.FAILED, "no table guests")
        ready = find(status.conditions, "Ready")
        assert ready is not None
        assert ready.reason == "TableMissing"
        assert {row.phase for row in status.locations} == {LocationPhase.FAILED}

    def test_what_the_last_attempt_said_is_told_while_the_next_one_runs(self) -> None:
        said = report(manifest=None, error={"code": "NoQuorum", "message": "paris is silent"})
        status = assess(self.RUNNING, Workload(message=said), None, now=NOON).status
        assert status.phase is Phase.RUNNING
        assert "paris is silent" in (status.message or "")
        ready = find(status.conditions, "Ready")
        assert ready is not None
        assert ready.reason == "NoQuorum"
        assert status_of(status, "Reconciling") is ConditionStatus.TRUE
        killed = Workload(message=said, problem=Problem("OutOfMemory", "more memory"))
        assert assess(self.RUNNING, killed, None, now=NOON).status.message == "more memory"

    def test_a_worker_that_died_without_a_word_leaves_its_last_words(self) -> None:
        ended = Workload(finished=True, message="Killed by something")
        assert "Killed by something" in (
            assess(self.RUNNING, ended, None, now=NOON).status.message or ""
        )

    def test_cancelling_stops_the_job_and_only_then_counts(self) -> None:
        cancelled = backup(status=running("a", "b"), cancel=True)
        going = assess(cancelled, Workload(), None, now=NOON)
        assert (going.action, going.status.phase) == (Action.DELETE, Phase.RUNNING)
        gone = assess(cancelled, None, None, now=NOON)
        assert (gone.action, gone.status.phase) == (Action.NOTHING, Phase.CANCELLED)
        assert {row.phase for row in gone.status.locations} == {LocationPhase.FAILED}

    def test_a_backup_that_committed_before_it_was_cancelled_is_completed(self) -> None:
        cancelled = backup(status=running("a", "b"), cancel=True)
        ended = Workload(finished=True, succeeded=True, message=report("a", "b"))
        assert assess(cancelled, ended, None, now=NOON).status.phase is Phase.COMPLETED

    def test_deciding_the_same_again_changes_nothing(self) -> None:
        said = ProgressLine(bytes_done=5, locations={"a": 1})
        first = assess(self.RUNNING, Workload(), said, now=NOON).status
        again = self.RUNNING.model_copy(update={"status": first})
        later = NOON + timedelta(minutes=1)
        assert assess(again, Workload(), said, now=later).status == first


@given(st.integers(0, 10**15), st.none() | st.integers(0, 10**15))
def test_percentages_stay_between_nothing_and_all(done: int, total: int | None) -> None:
    share = percent(done, total)
    assert share is None or 0 <= share <= 100
