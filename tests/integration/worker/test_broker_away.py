"""A broker that goes away in the middle of a job delays it: no location pays for it, nothing is lost."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]

AWAY_SECONDS = 65
"""More than a location has before it is given up: the broker's time must not count as its own."""


def stay_away(worker: Pod) -> None:
    """For so long; it is the length of the outage that is tried here."""
    worker.broker.stop()
    threading.Event().wait(AWAY_SECONDS)
    worker.broker.start()


def test_a_backup_waits_for_a_broker_that_is_away_and_no_location_fails(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=24, size=8 * trees.MIB)
    for location in three:  # so that it is not done before the broker is gone
        location.proxy.toxic("bandwidth", "upstream", rate=12_000)
    job = worker.start("backup", worker.backup_task(worker.volume(source)))
    for location in three:
        worker.wait_for(location.name, "packs/")
    stay_away(worker)
    made = job.wait()
    assert made.code == 0, made
    assert set(made.phases.values()) == {"Committed"}, made
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source))


def test_a_restore_waits_for_a_broker_that_is_away(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=24, size=8 * trees.MIB)
    made = worker.backup(worker.volume(source))
    target = tmp_path / "back"
    job = worker.begin_restore(made.point, target, until=".weddingbackup-*")
    stay_away(worker)
    back = job.wait()
    assert (back.code, trees.facts(target)) == (0, trees.facts(source)), back
    assert back.report.get("damaged", []) == []


def test_a_broker_that_comes_late_is_waited_for(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    task = worker.backup_task(worker.volume(source))
    worker.broker.stop()
    job = worker.start("backup", task)
    threading.Event().wait(3)
    worker.broker.start()
    made = job.wait()
    assert made.code == 0, made
    assert set(made.phases.values()) == {"Committed"}


def test_progress_reaches_the_broker(pod: MakePod, three: list[Location], tmp_path: Path) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=6, size=8 * trees.MIB)
    for location in three:
        location.proxy.toxic("bandwidth", "upstream", rate=4000)
    worker.backup(worker.volume(source))
    told = worker.broker.jobs.progress
    assert told
    assert told[-1].bytes_total == 48 * trees.MIB
    assert set(told[-1].locations) <= {location.name for location in three}
    assert len(told) < 60


def test_what_a_worker_says_holds_no_token_and_no_url(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    said = str(made.lines) + made.stderr + str(made.report)
    for secret in ("X-Amz-", "Bearer", worker.token_file.read_text().strip(), "/v1/"):
        assert secret not in said
