"""The whole road: locations, policy, backup, loss, recovery; byte for byte."""

import pytest

from tests.e2e.world import World, condition, phase

pytestmark = pytest.mark.e2e

PHOTOS = """
import hashlib, os, pathlib
for number in range(40):
    path = pathlib.Path(f"/data/shoot-{number % 4}/photo-{number}.jpg")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(50_000 + number * 1000))
"""
DIGESTS = """
import hashlib, pathlib
for path in sorted(pathlib.Path("/data").rglob("*.jpg")):
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
"""
LOSS = "import shutil, pathlib; [shutil.rmtree(path) for path in pathlib.Path('/data').glob('shoot-*')]"


@pytest.mark.usefixtures("broker")
def test_a_wedding_is_backed_up_lost_and_brought_back(world: World) -> None:
    world.shell("portfolio", PHOTOS)
    before = world.shell("portfolio", DIGESTS)
    world.add_locations(world.locations)
    world.apply(world.policy(redundancy={"copies": 5, "quorum": 3, "minProviders": 3}))

    policy = world.wait(
        "wbp", "wedding", lambda body: condition(body, "Protected").get("status") == "True"
    )
    assert policy["status"]["copies"] == "5/5"
    job = world.get("bj", policy["status"]["newestPoint"]["backupJob"])
    assert phase(job) == "Completed"
    assert job["status"]["committedCopies"] == "5/5"
    assert {row["phase"] for row in job["status"]["locations"]} == {"Committed"}
    assert job["status"]["manifest"]["name"] == policy["status"]["newestPoint"]["manifest"]

    world.shell("portfolio", LOSS)
    assert world.shell("portfolio", DIGESTS) == ""
    world.apply(world.request("back"))
    done = world.wait_phase("rr", "back", "Completed", "Failed", "PartiallyFailed")
    assert phase(done) == "Completed", done["status"]
    assert world.shell("portfolio", DIGESTS) == before
    assert done["status"]["elapsedSeconds"] < 300
