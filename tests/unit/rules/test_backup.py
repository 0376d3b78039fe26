from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, backup, placed, policy, running
from weddingbackup.resources.backup_job import BackupJob, Phase, Status
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.common import LocationPhase
from weddingbackup.resources.reports import BackupReport
from weddingbackup.rules.backup import Action, admit, assess, percent, waiting, worked
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
        # A worker is handed the keys of these classes, and of no others.
        assert [(row.name, row.data_class) for row in planned.sources] == [("p", "Portfolio")]
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


ANNOUNCED = backup(
    status=running(
        "a",
        "b",
        "c",
        announced={"name": "snapshots/m", "sha256": "ab" * 32, "pod": "u", "at": NOON},
        sources=[{"name": "p", "dataClass": "Portfolio"}],
    )
)


class TestRunning:
    RUNNING = backup(status=running("a", "b", "c"))

    def test_a_job_that_is_not_there_is_made_again(self) -> None:
        decision = assess(self.RUNNING, None, now=NOON)
        assert (decision.action, decision.status.phase) == (Action.CREATE, Phase.RUNNING)

    def test_progress_is_shown_a_row_a_location(self) -> None:
        told = {"at": NOON, "bytesDone": 50, "bytesTotal": 200, "locations": {"a": 9, "x": 1}}
        going = backup(status=running("a", "b", "c", reported=told))
        status = assess(going, Workload(), now=NOON).status
        assert status.progress is not None
        assert status.progress.percent == 25
        rows = {row.name: (row.phase, row.bytes) for row in status.locations}
        assert rows["a"] == (LocationPhase.UPLOADING, 9)
        assert rows["b"] == (LocationPhase.PENDING, 0)
        assert set(rows) == {"a", "b", "c"}

    def test_the_end_of_a_worker_is_written_down_and_commits_nothing(self) -> None:
        ended = Workload(
            finished=True, succeeded=True, message=report("a", "b", "x", lagging=("c",))
        )
        decision = assess(ANNOUNCED, ended, now=NOON)
        status = decision.status
        assert (decision.action, status.phase) == (Action.NOTHING, Phase.RUNNING)
        assert status.manifest is None
        end = worked(status)
        assert end is not None
        assert (end.reason, end.last_transition_time) == ("WorkerEnded", NOON)
        assert {row.name: (row.phase, row.bytes) for row in status.locations} == {
            "a": (LocationPhase.PENDING, 5),
            "b": (LocationPhase.PENDING, 5),
            "c": (LocationPhase.PENDING, 0),
        }
        [source] = status.sources  # those that were planned, whatever it claims
        assert (source.name, source.bytes, source.message) == ("p", 7, "w")

    @pytest.mark.parametrize("said", [None, "", "Traceback", report("a", "b", "c")])
    def test_what_was_never_announced_is_no_commit(self, said: str | None) -> None:
        ended = Workload(finished=True, succeeded=True, message=said)
        status = assess(self.RUNNING, ended, now=NOON).status
        assert (status.phase, status.manifest) == (Phase.FAILED, None)
        ready = find(status.conditions, "Ready")
        assert ready is not None
        assert ready.reason == "NothingAnnounced"

    def test_an_announced_manifest_is_looked_for_however_its_worker_ended(self) -> None:
        lost = Workload(finished=True, succeeded=True)
        killed = Workload(finished=True, problem=Problem("OutOfMemory", "more memory"))
        for ended, reason in ((lost, "WorkerEnded"), (killed, "OutOfMemory")):
            end = worked(assess(ANNOUNCED, ended, now=NOON).status)
            assert end is not None
            assert end.reason == reason

    def test_what_the_last_attempt_said_is_told_while_the_next_one_runs(self) -> None:
        said = report(manifest=None, error={"code": "NoQuorum", "message": "paris is silent"})
        status = assess(self.RUNNING, Workload(message=said), now=NOON).status
        assert status.phase is Phase.RUNNING
        assert "paris is silent" in (status.message or "")
        ready = find(status.conditions, "Ready")
        assert ready is not None
        assert ready.reason == "NoQuorum"
        assert status_of(status, "Reconciling") is ConditionStatus.TRUE
        killed = Workload(message=said, problem=Problem("OutOfMemory", "more memory"))
        assert assess(self.RUNNING, killed, now=NOON).status.message == "more memory"

    def test_a_worker_that_died_without_a_word_leaves_its_last_words(self) -> None:
        ended = Workload(finished=True, message="Killed by something")
        assert "Killed by something" in (assess(self.RUNNING, ended, now=NOON).status.message or "")

    def test_cancelling_stops_the_job_and_only_then_counts(self) -> None:
        cancelled = backup(status=running("a", "b"), cancel=True)
        going = assess(cancelled, Workload(), now=NOON)
        assert (going.action, going.status.phase) == (Action.DELETE, Phase.RUNNING)
        gone = assess(cancelled, None, now=NOON)
        assert (gone.action, gone.status.phase) == (Action.NOTHING, Phase.CANCELLED)
        assert {row.phase for row in gone.status.locations} == {LocationPhase.FAILED}

    def test_deciding_the_same_again_changes_nothing(self) -> None:
        told = {"at": NOON, "bytesDone": 5, "locations": {"a": 1}}
        going = backup(status=running("a", "b", reported=told))
        first = assess(going, Workload(), now=NOON).status
        again = going.model_copy(update={"status": first})
        assert assess(again, Workload(), now=NOON + timedelta(minutes=1)).status == first


@given(st.integers(0, 10**15), st.none() | st.integers(0, 10**15))
def test_percentages_stay_between_nothing_and_all(done: int, total: int | None) -> None:
    share = percent(done, total)
    assert share is None or 0 <= share <= 100
