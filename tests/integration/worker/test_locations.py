"""Locations that are away, refuse us or lack their bucket: a quorum goes on, and others are told of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Ended, Pod
from tests.servers.locations import Location

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.photographs(tmp_path / "source")


def restored(worker: Pod, made: Ended, target: Path) -> dict[str, object]:
    back = worker.run("restore", worker.restore_task(made.point, target))
    assert back.code == 0, back
    return trees.facts(target)


def test_a_location_that_is_away_from_the_start_is_passed_over_and_caught_up(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    away = three[2]
    away.proxy.cut()
    made = worker.backup(worker.volume(source), quorum=2)
    assert made.phases == {
        "london": "Committed",
        "frankfurt": "Committed",
        away.name: "Failed",
    }
    assert restored(worker, made, tmp_path / "back") == trees.facts(source)

    away.proxy.heal()
    copied = worker.run("copy", worker.copy_task(made.point, away.name))
    assert (copied.code, copied.report["target"]) == (0, away.name)
    assert copied.report["bytes"] > 6 * trees.MIB
    assert worker.objects(away.name).keys() == worker.objects("london").keys()
    for location in three[:2]:
        location.proxy.cut()
    assert restored(worker, made, tmp_path / "from-the-copy") == trees.facts(source)


def test_a_location_that_drops_out_half_way_does_not_stop_the_quorum(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=5, size=8 * trees.MIB)
    leaving = three[2]
    # So slow that it cannot be done by the time that it leaves.
    leaving.proxy.toxic("bandwidth", "upstream", rate=2000)
    job = worker.start("backup", worker.backup_task(worker.volume(source), quorum=2))
    worker.wait_for("london", "packs/")
    leaving.proxy.cut()
    made = job.wait()
    assert made.code == 0, made
    assert made.phases["london"] == made.phases["frankfurt"] == "Committed"
    assert made.phases[leaving.name] in {"Failed", "Lagging"}
    assert worker.objects(leaving.name, "snapshots/") == {}
    assert restored(worker, made, tmp_path / "back") == trees.facts(source)


def test_a_location_that_drops_out_of_a_restore_is_done_without(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=5, size=8 * trees.MIB)
    made = worker.backup(worker.volume(source))
    target = tmp_path / "back"
    job = worker.begin_restore(made.point, target, until="*.jpg")
    three[0].proxy.cut()
    three[1].proxy.cut()
    back = job.wait()
    assert (back.code, trees.facts(target)) == (0, trees.facts(source)), back


def test_wrong_credentials_are_told_and_do_not_stop_the_quorum(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    wrong = {**three[0].credentials, "secretAccessKey": "not-the-key"}
    worker.reach(replace(three[0], credentials=wrong))
    made = worker.backup(worker.volume(source), quorum=2)
    [london] = [row for row in made.report["locations"] if row["name"] == "london"]
    # In the broker's own words: what the provider says is the administrators' business.
    told = "location london is denied to the operator; the broker's log says more"
    assert (london["phase"], london["message"]) == ("Failed", told)
    assert restored(worker, made, tmp_path / "back") == trees.facts(source)


def test_a_location_that_the_broker_cannot_open_is_told_and_does_not_stop_the_quorum(
    pod: MakePod, three: list[Location], source: Path
) -> None:
    worker = pod(three)
    worker.reach(replace(three[0], credentials={}))
    made = worker.backup(worker.volume(source), quorum=2)
    [london] = [row for row in made.report["locations"] if row["name"] == "london"]
    assert (london["phase"], "no access" in london["message"]) == ("Failed", True)


def test_a_bucket_that_is_missing_is_told_and_does_not_stop_the_quorum(
    pod: MakePod, three: list[Location], source: Path
) -> None:
    worker = pod(three)
    elsewhere = three[0].access.model_copy(update={"bucket": "no-such-bucket"})
    worker.reach(replace(three[0], access=elsewhere))
    made = worker.backup(worker.volume(source), quorum=2)
    [london] = [row for row in made.report["locations"] if row["name"] == "london"]
    told = "location london is not there; the broker's log says more"
    assert (london["phase"], london["message"]) == ("Failed", told)


def test_without_a_quorum_nothing_is_committed_and_trying_again_helps(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    task = worker.backup_task(worker.volume(source), quorum=2)
    three[0].proxy.cut()
    three[1].proxy.cut()
    ended = worker.run("backup", task)
    assert (ended.code, ended.error) == (4, "QuorumUnreachable")
    assert "london" in ended.message
    assert "frankfurt" in ended.message
    assert worker.objects("paris", "snapshots/") == {}

    three[0].proxy.heal()
    made = worker.run("backup", task)
    assert made.code == 0, made
    assert restored(worker, made, tmp_path / "back") == trees.facts(source)


def test_a_restore_without_any_location_may_be_tried_again(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(source))
    for location in three:
        location.proxy.cut()
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert back.code == 4, back
    assert list(tmp_path.glob("back/*")) == []
