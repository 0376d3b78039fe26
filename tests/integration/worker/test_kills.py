"""Workers that are killed or stopped: the next one goes on, and nothing half-done looks whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location
from tests.servers.process import wait_until
from weddingbackup.vault.catalog import points

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]

# Slow enough that a backup at such a location cannot end before the test lets it.
CRAWL = 200
PACKS = 3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.photographs(tmp_path / "source", count=6, size=8 * trees.MIB)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(("keys/", 1, 3), id="before the first pack"),
        pytest.param(("packs/", 1, 3), id="after the first pack"),
        pytest.param(("packs/", PACKS, 3), id="after the last pack"),
        pytest.param(("index/", 1, 3), id="after the index"),
        pytest.param(("snapshots/", 1, 2), id="after the commit"),
    ],
)
def test_a_killed_backup_goes_on_with_what_it_stored(
    pod: MakePod,
    three: list[Location],
    source: Path,
    tmp_path: Path,
    moment: tuple[str, int, int],
) -> None:
    landed, count, quorum = moment
    worker = pod(three)
    task = worker.backup_task(worker.volume(source), quorum=quorum)
    three[2].proxy.toxic("bandwidth", "upstream", rate=CRAWL)
    job = worker.start("backup", task)
    worker.wait_for("london", landed, count)
    worker.wait_for("frankfurt", landed, count)
    job.kill()
    committed = landed == "snapshots/"
    stores = [location.open_store(worker.kit.prefix) for location in three]
    assert [point.committed for point in points(stores)] == [True] * committed

    three[2].proxy.heal()
    before = {location.name: worker.stored(location.name) for location in three}
    made = worker.run("backup", task)
    assert made.code == 0, made
    for location in ("london", "frankfurt"):
        # Every byte that is there was sent once; a manifest may be offered again.
        grown = worker.stored(location) - before[location]
        assert made.sent[location] <= grown + 4096
        assert made.sent[location] < worker.stored(location) or not before[location]
    assert len(worker.objects("london", "snapshots/")) == 1
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source))


def test_a_killed_restore_leaves_no_file_that_is_not_whole(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(source))
    target = tmp_path / "back"
    job = worker.begin_restore(made.point, target, until=".weddingbackup-*", rate=3000)
    job.kill()
    whole = trees.facts(source)
    found = trees.facts(target)
    begun = {path for path in found if Path(path).name.startswith(".weddingbackup-")}
    assert begun
    for path in found.keys() - begun:
        if (target / path).is_file():
            assert found[path] == whole[path]

    for location in three:
        location.proxy.heal()
    back = worker.run("restore", worker.restore_task(made.point, target))
    assert (back.code, trees.facts(target)) == (0, whole), back


@pytest.mark.parametrize("work", ["backup", "restore"])
def test_a_worker_that_is_told_to_stop_reports_and_goes(
    pod: MakePod, three: list[Location], source: Path, tmp_path: Path, work: str
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(source)) if work == "restore" else None
    for location in three:
        location.proxy.toxic("bandwidth", "upstream" if made is None else "downstream", rate=CRAWL)
    task = (
        worker.restore_task(made.point, tmp_path / "back")
        if made
        else worker.backup_task(worker.volume(source))
    )
    job = worker.start(work, task)
    begun = [(tmp_path / "back").exists if made else lambda: bool(worker.objects("paris"))]
    wait_until(begun[0], seconds=60, what="the work to begin")
    ended = job.stop()
    assert (ended.code, ended.error) == (4, "Interrupted"), ended
