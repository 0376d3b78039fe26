"""Locations that are away, refuse us or lack their bucket: a quorum goes on, and others are told of."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.photographs(tmp_path / "source")


def restored(worker: Pod, made: object, target: Path) -> dict[str, object]:
    back = worker.run("restore", worker.restore_task(made.point, target))  # type: ignore[attr-defined]
    assert back.code == 0, back
    return trees.facts(target)


def test_a_location_that_is_away_from_the_start_is_passed_over_and_caught_up(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    away = three[2]
    away.proxy.cut()
    begun = time.monotonic()
    made = worker.backup(worker.volume(source), quorum=2)
    print("backup", time.monotonic() - begun)
    assert made.phases == {
        "london": "Committed",
        "frankfurt": "Committed",
        away.name: "Failed",
    }
    begun = time.monotonic()
    assert restored(worker, made, tmp_path / "back") == trees.facts(source)
    print("restore", time.monotonic() - begun)

    away.proxy.heal()
    copied = worker.run("copy", worker.copy_task(made.point, away.name))
    assert (copied.code, copied.report["target"]) == (0, away.name)
    assert copied.report["bytes"] > 6 * trees.MIB
    assert worker.objects(away.name).keys() == worker.objects("london").keys()
    for location in three[:2]:
        location.proxy.cut()
    assert restored(worker, made, tmp_path / "from-the-copy") == trees.facts(source)
