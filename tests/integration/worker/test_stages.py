"""A worker of a later stage: it is ready before its turn, moves nothing until then, and then goes on."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import RestoreTask

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


class Gate(dict[str, DataClass]):
    """Stages that jobs wait for. Tells when a worker has been told for the third time that it waits."""

    def __init__(self, job: str) -> None:
        super().__init__({job: DataClass.TIMELINE})
        self.told = 0
        self.waits = Event()

    def get(self, job: str, default: DataClass | None = None) -> DataClass | None:  # type: ignore[override]
        stage = super().get(job, default)
        if stage is not None:
            self.told += 1
            if self.told > 2:
                self.waits.set()
        return stage


def close(worker: Pod, task: RestoreTask) -> Gate:
    """Have this task's worker wait for its turn."""
    gate = Gate(f"job-of-{task.request.uid}")
    worker.broker.jobs.waiting = gate
    return gate


def test_a_worker_waits_in_place_and_goes_on_when_its_turn_comes(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    worker.broker.jobs.progress.clear()
    target = tmp_path / "back"
    task = worker.restore_task(made.point, target)
    gate = close(worker, task)
    job = worker.start("restore", task)
    assert gate.waits.wait(60)
    assert list(target.rglob("*")) == []
    assert not any(told.bytes_done or told.locations for told in worker.broker.jobs.progress)
    gate.clear()
    back = job.wait()
    assert (back.code, trees.facts(target)) == (0, trees.facts(source)), back
    assert [line["reason"] for line in back.lines if line["event"] == "waiting"] == [
        "waits for stage Timeline"
    ]


def test_a_broker_that_starts_anew_meanwhile_costs_no_attempt(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    task = worker.restore_task(made.point, tmp_path / "back")
    gate = close(worker, task)
    job = worker.start("restore", task)
    assert gate.waits.wait(60)
    worker.broker.stop()
    gate.clear()
    worker.broker.start()
    back = job.wait()
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source)), back


def test_a_worker_that_waits_ends_when_its_job_is_over(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    task = worker.restore_task(made.point, tmp_path / "back")
    gate = close(worker, task)
    job = worker.start("restore", task)
    assert gate.waits.wait(60)
    worker.broker.jobs.scopes.clear()
    back = job.wait()
    assert back.code != 0
    assert "none of a worker's" in back.message
    assert list((tmp_path / "back").rglob("*")) == []


def test_a_worker_that_waits_can_be_told_to_stop(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    task = worker.restore_task(made.point, tmp_path / "back")
    gate = close(worker, task)
    job = worker.start("restore", task)
    assert gate.waits.wait(60)
    ended = job.stop()
    assert (ended.code, ended.error) == (4, "Interrupted")
