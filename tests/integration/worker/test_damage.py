"""Damaged objects: what is bad in one place comes from another; what is bad everywhere is told."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Ended, Pod
from tests.servers.broker import broker
from tests.servers.locations import Location
from weddingbackup.resources.tasks import PointRef

pytestmark = pytest.mark.integration

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


@dataclass(frozen=True)
class Saved:
    """A vault at two locations, with one point."""

    worker: Pod
    source: Path
    point: PointRef
    aside: Path

    @contextmanager
    def damaged(self, damage: Callable[[Path], None], files: Iterable[Path]) -> Iterator[None]:
        """Damage these objects while the block runs."""
        aside = Path(tempfile.mkdtemp(dir=self.aside))
        moved = {file: aside / file.name for file in files}
        assert moved
        for file, copy in moved.items():
            shutil.copy2(file, copy)  # with the attributes in which the server keeps an object's
            damage(file)
        yield
        for file, copy in moved.items():
            shutil.move(copy, file)

    def restore(self, target: Path) -> Ended:
        return self.worker.run("restore", self.worker.restore_task(self.point, target))


@pytest.fixture(scope="module")
def saved(locations: list[Location], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    for location in locations:
        location.proxy.heal()
    directory = tmp_path_factory.mktemp("saved")
    two = [location for location in locations if location.name in {"london", "frankfurt"}]
    with broker({found.name: found for found in two}, directory / "broker") as running:
        worker = Pod(directory / "pod", two, running)
        source = trees.photographs(directory / "source")
        (directory / "aside").mkdir()
        point = worker.backup(worker.volume(source)).point
        yield Saved(worker, source, point, directory / "aside")


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_at_one_location_is_made_good_by_another_and_told(
    saved: Saved, tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    objects = saved.worker.objects("london", kind)
    with saved.damaged(damage, objects.values()):
        back = saved.restore(tmp_path)
    assert back.code == 0, back
    assert trees.facts(tmp_path) == trees.facts(saved.source)
    told = {(row["location"], row["object"]) for row in back.report["damaged"]}
    assert told <= {("london", name) for name in objects}
    # A location without the manifest does not hold the point: it lags, and is not damaged.
    assert bool(told) == ((damage, kind) != (remove, "snapshots/")), back


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_at_all_locations_is_a_clear_error_and_nothing_wrong_is_written(
    saved: Saved, tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    objects = [saved.worker.objects(location, kind) for location in ("london", "frankfurt")]
    with ExitStack() as harm:
        for found in objects:
            harm.enter_context(saved.damaged(damage, found.values()))
        back = saved.restore(tmp_path / "back")
    assert back.code == (3 if damage is remove and kind != "packs/" else 4), back
    assert back.message
    whole = trees.facts(saved.source)
    for path, found in trees.facts(tmp_path / "back").items():
        if (tmp_path / "back" / path).is_file():
            assert found == whole[path]


def test_what_one_location_lacks_may_be_at_one_that_does_not_answer(
    saved: Saved, locations: list[Location], tmp_path: Path
) -> None:
    [frankfurt] = [location for location in locations if location.name == "frankfurt"]
    with saved.damaged(remove, saved.worker.objects("london", "index/").values()):
        frankfurt.proxy.cut()
        back = saved.restore(tmp_path)
        frankfurt.proxy.heal()
    assert (back.code, back.error) == (4, "LocationUnavailable"), back
