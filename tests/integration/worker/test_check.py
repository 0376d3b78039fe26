"""A vault is looked over and mended by a worker with credentials and without keys."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location
from weddingbackup.resources.tasks import CheckTask
from weddingbackup.resources.words import CheckLevel

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


def check_task(worker: Pod, level: CheckLevel = CheckLevel.FULL) -> CheckTask:
    return CheckTask(vault=worker.vault, locations=worker.accesses, level=level)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_damage_at_two_locations_is_found_and_mended(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    first, second = three[0].name, three[1].name
    packs = sorted(worker.objects(first, "packs/"))
    for location in (first, second):
        for name in packs[:: max(1, len(packs) // 2)]:
            flip(worker.objects(location, "packs/")[name])
    next(iter(worker.objects(second, "index/").values())).unlink()
    [key, *_] = worker.objects(first, "keys/").values()
    key.write_bytes(b"")

    done = worker.run("check", check_task(worker))
    assert done.code == 0, done
    rows = {row["name"]: row for row in done.report["locations"]}
    for location in (first, second):
        row = rows[location]
        assert row["replaced"] == row.get("damaged", 0) + row.get("missing", 0) >= 2, done
        assert "error" not in row
    assert rows[second]["missing"] == 1
    assert done.report.get("lost", []) == []

    again = worker.run("check", check_task(worker))
    for row in again.report["locations"]:
        assert not {"missing", "damaged", "replaced", "error"} & {k for k, v in row.items() if v}
    three[2].proxy.cut()
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source)), back


def test_what_is_good_nowhere_is_named_and_a_location_that_is_away_is_told(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    name = min(worker.objects(three[0].name, "packs/"))
    for location in three:
        flip(worker.objects(location.name, "packs/")[name])
    three[2].proxy.cut()
    away = worker.run("check", check_task(worker))
    assert away.code == 0, away
    assert [row["name"] for row in away.report["locations"] if row.get("error")] == [three[2].name]
    assert away.report.get("lost", []) == []

    three[2].proxy.heal()
    done = worker.run("check", check_task(worker))
    assert done.report["lost"] == [name], done
    assert done.report["lossy"] == [made.point.manifest]
    # What is left of it may still be of use to a person.
    assert all(name in worker.objects(location.name) for location in three)
    three[0].proxy.cut()
    three[1].proxy.cut()
    three[2].proxy.cut()
    nobody = worker.run("check", check_task(worker, CheckLevel.PROVIDER))
    assert (nobody.code, nobody.error) == (4, "LocationUnavailable"), nobody
