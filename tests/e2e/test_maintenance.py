"""Damage that lies there until somebody looks: found by a check's Job, mended, or told and stored anew."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.test_faults import DIGESTS, LOSS, THREE, WRITE, only_backup
from tests.e2e.world import Object, World, condition, phase
from tests.servers.locations import BUCKET
from tests.servers.s3 import S3
from weddingbackup.resources import names
from weddingbackup.rules.maintenance import CHECK_REQUESTED, COLLECT_REQUESTED
from weddingbackup.rules.times import rfc3339

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("broker", "operator")]


def protect(world: World) -> Object:
    """A wedding with one backup at three locations; its policy."""
    world.shell("portfolio", WRITE.format(count=5, size=100_000))
    world.add_locations(THREE)
    world.apply(world.policy())
    world.wait_phase("bj", only_backup(world), "Completed")
    return world.wait("wbp", "wedding", is_protected("True"))


def is_protected(status: str) -> Callable[[Object], bool]:
    return lambda body: condition(body, "Protected").get("status") == status


def ask(world: World, annotation: str) -> datetime:
    now = datetime.now(UTC).replace(microsecond=0)
    where = ("-n", world.namespace, "--overwrite")
    world.cluster.kubectl("annotate", "wbp", "wedding", f"{annotation}={rfc3339(now)}", *where)
    return now


def check(world: World) -> Object:
    """Have the vault checked; the policy once status tells of it."""
    before = world.get("wbp", "wedding")["status"].get("lastCheck")
    ask(world, CHECK_REQUESTED)
    return world.wait("wbp", "wedding", lambda x: x["status"].get("lastCheck") != before)


def packs(world: World, location: str) -> list[Path]:
    """The files of this world's vault that hold packs at an S3 location."""
    server = world.locations[location].server
    assert isinstance(server, S3)
    policy = world.get("wbp", "wedding")
    [job] = [body for body in world.list("bj") if body["spec"]["reason"] == "Scheduled"]
    prefix = job["status"]["vault"]["prefix"]
    assert policy["status"]["vault"]["id"] == job["status"]["vault"]["id"]
    return sorted((server.buckets / BUCKET / prefix / "packs").iterdir())


def row(policy: Object, world: World, location: str) -> Object:
    name = world.location_name(location)
    found: list[Object] = [row for row in policy["status"]["checked"] if row["name"] == name]
    return found[0]


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def good(world: World, location: str) -> set[str]:
    """The packs at a location, each under its own name or a replacement's, whose bytes are its name's."""
    found = [(file.name.partition(".")[0], file.read_bytes()) for file in packs(world, location)]
    return {name for name, data in found if hashlib.sha256(data).hexdigest() == name}


def test_damage_and_loss_at_single_locations_are_mended(world: World) -> None:
    protect(world)
    before = world.shell("portfolio", DIGESTS)
    stored = good(world, "london")
    damage(packs(world, "london")[0])
    packs(world, "paris")[-1].unlink()
    assert good(world, "london") != stored != good(world, "paris")

    policy = check(world)
    assert policy["status"]["lastCheck"]["level"] == "Full"
    assert "message" not in policy["status"]["lastCheck"]
    for location, found in (("london", "damaged"), ("paris", "missing")):
        told = row(policy, world, location)
        assert (told[found], told["replaced"]) == (1, 1)
        assert "verifiedTime" in told
    assert "loss" not in policy["status"]
    assert condition(policy, "Protected")["status"] == "True"
    [job] = world.at_home.list("jobs", f"{names.LABEL_TASK}=check")
    assert job["metadata"]["namespace"] == world.home.namespace

    assert [good(world, location) for location in ("london", "paris")] == [stored, stored]
    world.shell("portfolio", LOSS)
    world.apply(world.request("back"))
    assert phase(world.wait_phase("rr", "back", "Completed", "Failed")) == "Completed"
    assert world.shell("portfolio", DIGESTS) == before


def test_what_is_good_nowhere_is_told_and_stored_anew(world: World) -> None:
    protect(world)
    name = packs(world, "london")[0].name
    for location in THREE:
        [file] = [file for file in packs(world, location) if file.name == name]
        damage(file)

    policy = check(world)
    loss = policy["status"]["loss"]
    assert loss["objects"] == [f"packs/{name}"]
    assert loss["points"] == [policy["status"]["newestPoint"]["manifest"]]
    ordered = world.wait(
        "wbp", "wedding", lambda body: bool(body["status"].get("loss", {}).get("backupJob"))
    )
    repair = ordered["status"]["loss"]["backupJob"]
    done = world.wait_phase("bj", repair, "Completed", "Failed")
    assert (phase(done), done["spec"]["reason"]) == ("Completed", "Repair")
    whole = world.wait("wbp", "wedding", is_protected("True"))
    assert whole["status"]["newestPoint"]["backupJob"] == repair

    before = world.shell("portfolio", DIGESTS)
    world.shell("portfolio", LOSS)
    world.apply(world.request("back"))
    assert phase(world.wait_phase("rr", "back", "Completed", "Failed")) == "Completed"
    assert world.shell("portfolio", DIGESTS) == before


def test_a_collection_marks_and_removes_nothing_that_is_kept(world: World) -> None:
    protect(world)
    stored = [file.name for file in packs(world, "london")]
    asked = ask(world, COLLECT_REQUESTED)

    def told(body: Object) -> bool:
        last = body["status"].get("lastCollection")
        return last is not None and datetime.fromisoformat(last["time"]) >= asked

    policy = world.wait("wbp", "wedding", told)
    last = policy["status"]["lastCollection"]
    assert "message" not in last
    assert last.get("points", 0) == last.get("objects", 0) == last.get("marked", 0) == 0
    assert [file.name for file in packs(world, "london")] == stored
