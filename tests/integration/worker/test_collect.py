"""Space comes back: what no kept point needs is gone, at every provider, with all its old versions."""

import dataclasses
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.worker import trees
from tests.integration.worker.pod import Ended, Pod
from tests.servers.locations import Location
from tests.servers.s3 import S3
from weddingbackup.resources.tasks import CollectTask, Kept
from weddingbackup.stores.s3 import S3Keeper
from weddingbackup.vault.catalog import points
from weddingbackup.vault.commit import closure

pytestmark = pytest.mark.integration

MakePod = Callable[[list[Location]], Pod]
DATA = ("snapshots/", "index/", "packs/")


def collect(worker: Pod, *, grace: float = 0, dry_run: bool = False) -> Ended:
    task = CollectTask(
        vault=worker.vault,
        locations=worker.accesses,
        quorum=2,
        keep=Kept(keep_last=1),
        grace_seconds=grace,
        dry_run=dry_run,
    )
    ended = worker.run("collect", task)
    assert ended.code == 0, ended
    return ended


def listed(worker: Pod, location: str) -> dict[str, int]:
    """Names and sizes of what a location lists."""
    store = worker.locations[location].open_store(worker.kit.prefix)
    try:
        return {info.name: info.size for info in store.list("") if info.name.startswith(DATA)}
    finally:
        store.close()


def needed(worker: Pod) -> set[str]:
    """What the points need that are there."""
    stores = [location.open_store(worker.kit.prefix) for location in worker.locations.values()]
    try:
        found = points(stores)
        refs = {ref for point in found for source in point.sources for ref in source.indexes}
        return {p.manifest for p in found} | {x.name for x in closure(stores, refs)}
    finally:
        for store in stores:
            store.close()


def test_bytes_are_gone_everywhere_and_what_is_kept_comes_back(
    pod: MakePod, five: list[Location], tmp_path: Path
) -> None:
    worker = pod(five)
    worker.backup(worker.volume(trees.photographs(tmp_path / "old", seed=1)))
    source = trees.photographs(tmp_path / "new", seed=2)
    made = worker.backup(worker.volume(source))
    held = {name: listed(worker, name) for name in worker.locations}
    young = collect(worker, grace=3600, dry_run=True)
    assert young.report["marked"] == 1  # the point alone: all that it needs is younger than that
    marked = collect(worker)
    assert marked.report["marked"] > 1
    assert {name: listed(worker, name) for name in worker.locations} == held
    swept = collect(worker)
    assert swept.report["points"] == 1
    assert swept.report["kept"] == 1
    left = {name: listed(worker, name) for name in worker.locations}
    for name, before in held.items():
        assert left[name].keys() == needed(worker)
        assert sum(left[name].values()) < 0.6 * sum(before.values())
    gone = sum(sum(x.values()) for x in held.values()) - sum(sum(x.values()) for x in left.values())
    assert swept.report["bytes"] == gone > 5 * 6 * trees.MIB
    # The files themselves, where they can be seen: those of what is left, and a little beside.
    assert worker.stored("london") < 7 * trees.MIB
    back = worker.run("restore", worker.restore_task(made.point, tmp_path / "back"))
    assert (back.code, trees.facts(tmp_path / "back")) == (0, trees.facts(source)), back


def test_old_versions_go_too_and_a_lock_is_counted(
    pod: MakePod, three: list[Location], tmp_path: Path
) -> None:
    bucket = f"versions-{secrets.token_hex(4)}"
    assert isinstance(three[0].server, S3)
    three[0].server.create_bucket(bucket, object_lock=True)
    access = three[0].access.model_copy(update={"bucket": bucket})
    versioned = dataclasses.replace(three[0], access=access)
    worker = pod([versioned, *three[1:]])
    locked, gone, _ = (
        worker.backup(worker.volume(trees.photographs(tmp_path / str(seed), seed=seed))).point
        for seed in range(3)
    )
    keeper = versioned.open_keeper(worker.kit.prefix)
    assert isinstance(keeper, S3Keeper)
    keeper._client.put_object_retention(
        Bucket=bucket,
        Key=f"{worker.kit.prefix}/{locked.manifest}",
        Retention={
            "Mode": "GOVERNANCE",
            "RetainUntilDate": datetime.now(UTC) + timedelta(days=1),
        },
    )
    collect(worker)
    swept = collect(worker)
    assert (swept.report["locked"], swept.report["points"]) == (1, 1)
    left = listed(worker, "london")
    assert locked.manifest in left
    assert gone.manifest not in left
    assert needed(worker) == left.keys()  # all that the locked one needs stays with it
    assert locked.manifest not in listed(worker, "paris")
    versions = keeper._client.list_object_versions(Bucket=bucket)
    names = {x["Key"].removeprefix(f"{worker.kit.prefix}/") for x in versions["Versions"]}
    assert {name for name in names if name.startswith(DATA)} == left.keys()
    assert not versions.get("DeleteMarkers")
    keeper.close()
