"""Damaged objects: what is bad in one place comes from another; what is bad everywhere is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Pod
from tests.servers.locations import Location

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]
OBJECTS = ["packs/", "index/", "snapshots/"]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit behind the header: of a pack, in its first record, which is read in any case."""
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


def remove(file: Path) -> None:
    file.unlink()


def swap(file: Path) -> None:
    """The right size, and another object's bytes."""
    file.write_bytes(file.read_bytes()[::-1])


DAMAGES = [truncate, flip, remove, swap]


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_at_one_location_is_made_good_by_another_and_told(
    pod: MakePod,
    three: list[Location],
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: str,
) -> None:
    worker = pod(three[:2])
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    damaged = worker.objects("london", kind)
    for file in damaged.values():
        damage(file)
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert back.code == 0, back
    assert trees.facts(tmp_path / "back") == trees.facts(source)
    told = {(row["location"], row["object"]) for row in back.report["damaged"]}
    assert told <= {("london", name) for name in damaged}
    # A location without the manifest does not hold the point: it lags, and is not damaged.
    assert bool(told) == ((damage, kind) != (remove, "snapshots/")), back


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_at_all_locations_is_a_clear_error_and_nothing_wrong_is_written(
    pod: MakePod,
    three: list[Location],
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: str,
) -> None:
    worker = pod(three[:2])
    source = trees.photographs(tmp_path / "source")
    made = worker.backup(worker.volume(source))
    for location in ("london", "frankfurt"):
        for file in worker.objects(location, kind).values():
            damage(file)
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert back.code in {3, 4}, back
    assert back.message
    whole = trees.facts(source)
    for path, found in trees.facts(tmp_path / "back").items():
        if (tmp_path / "back" / path).is_file():
            assert found == whole[path]
