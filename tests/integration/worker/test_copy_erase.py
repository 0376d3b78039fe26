"""The keyless workers: what a location lacks is copied to it, and erased is erased, everywhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]


def test_a_copy_needs_no_keys_and_puts_right_what_is_damaged(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    for file in [*worker.objects("paris", "packs/").values()][:1]:
        file.unlink()
    for file in worker.objects("paris", "index/").values():
        file.write_bytes(file.read_bytes()[:-1])
    copied = worker.run("copy", worker.copy_task(made.point, "paris"))
    assert copied.code == 0, copied
    assert copied.report["objects"] >= 2

    three[0].proxy.cut()
    three[1].proxy.cut()
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source)), back


def test_a_copy_to_a_location_that_is_away_may_be_tried_again(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    three[2].proxy.cut()
    copied = worker.run("copy", worker.copy_task(made.point, "paris"))
    assert (copied.code, copied.error) == (4, "LocationUnavailable"), copied


def test_a_copy_to_a_location_that_is_not_in_the_task_is_refused(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    made = worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    copied = worker.run("copy", worker.copy_task(made.point, "atlantis"))
    assert (copied.code, copied.error) == (3, "BadTask")


def test_an_erasure_leaves_nothing_of_this_vault_and_all_of_others(
    pod: MakePod, five: list[Location], tmp_path: Path
) -> None:
    source = trees.photographs(tmp_path / "source")
    worker = pod(five)
    worker.backup(worker.volume(source))
    mine = worker.kit
    worker.kit = other = Kit.found()
    worker.backup(worker.volume(source))
    others = [list(location.open_store(other.prefix).list("")) for location in five]
    worker.kit = mine

    erased = worker.run("erase", worker.erase_task())
    assert erased.code == 0, erased
    assert erased.report["objects"] > 5 * 8
    assert all(list(location.open_store(mine.prefix).list("")) == [] for location in five)
    assert [list(location.open_store(other.prefix).list("")) for location in five] == others
    again = worker.run("erase", worker.erase_task())
    assert (again.code, again.report["objects"]) == (0, 0)


def test_an_erasure_goes_on_where_it_can_and_tells_where_not(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    three[0].proxy.cut()
    ended = worker.run("erase", worker.erase_task())
    assert (ended.code, ended.error) == (4, "LocationUnavailable"), ended
    assert worker.objects("frankfurt") == worker.objects("paris") == {}
    assert worker.objects("london")

    three[0].proxy.heal()
    assert worker.run("erase", worker.erase_task()).code == 0
    assert worker.objects("london") == {}


def test_an_erasure_without_a_prefix_is_refused(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    worker.backup(worker.volume(trees.photographs(tmp_path / "source")))
    task = worker.erase_task()
    whole = task.model_copy(update={"vault": task.vault.model_copy(update={"prefix": ""})})
    ended = worker.run("erase", whole)
    assert (ended.code, ended.error) == (3, "BadTask")
    assert worker.objects("london")


def test_a_verifying_copy_finds_what_has_its_size_and_not_its_bytes(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    worker = pod(three)
    source = trees.photographs(tmp_path / "source", count=5, size=8 * trees.MIB)
    made = worker.backup(worker.volume(source))
    spoiled = [*worker.objects("paris", "packs/").values()][:1]
    spoiled += worker.objects("paris", "index/").values()
    spoiled += worker.objects("paris", "snapshots/").values()
    for file in spoiled:
        file.write_bytes(file.read_bytes()[::-1])

    passed_over = worker.run("copy", worker.copy_task(made.point, "paris"))
    assert (passed_over.code, passed_over.report.get("objects", 0)) == (0, 0), passed_over
    copied = worker.run("copy", worker.copy_task(made.point, "paris", verify=True))
    assert copied.code == 0, copied
    report = copied.report
    assert report["damaged"] == report["replaced"] == report["objects"] == len(spoiled)
    everything = [name for name in worker.objects("london") if name != "format"]
    assert report["verified"] == len(everything)
    again = worker.run("copy", worker.copy_task(made.point, "paris", verify=True))
    assert (again.report["damaged"], again.report["verified"]) == (0, len(everything))

    three[0].proxy.cut()
    three[1].proxy.cut()
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source)), back
