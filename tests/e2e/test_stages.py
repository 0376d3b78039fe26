"""A recovery in stages: the timeline first, and nothing of the others moves until it is over."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from tests.e2e.world import Object, World, condition, phase, secret
from weddingbackup.resources import names

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("broker")]

THREE = ("london", "frankfurt", "paris")
CLAIMS = {"guests": "guestbook", "portfolio": "portfolio"}
"""Claim of each source that has files."""
WRITE = """
import os, pathlib
for number in range(5):
    pathlib.Path(f"/data/{number}.jpg").write_bytes(os.urandom(300_000))
"""
DIGESTS = """
import hashlib, pathlib
for path in sorted(pathlib.Path("/data").rglob("*")):
    if path.is_file():
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
"""
LOSS = "import pathlib; [path.unlink() for path in pathlib.Path('/data').glob('*.jpg')]"
ENDED = ("Completed", "PartiallyFailed", "Failed", "Cancelled")


@pytest.fixture
def timeline(world: World, database: str) -> Iterator[str]:
    """A table of one wedding's timeline; gives its name."""
    table = f"timeline_{world.mark[-10:]}"
    with psycopg.connect(database) as connection:
        connection.execute(
            f"CREATE TABLE {table} (id int PRIMARY KEY, wedding_id text NOT NULL, name text)"
        )
        connection.execute(f"INSERT INTO {table} VALUES (1, 'w-1', 'Ceremony'), (2, 'w-1', 'Cake')")
    yield table
    with psycopg.connect(database) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


@pytest.fixture
def lost(world: World, database: str, timeline: str) -> dict[str, str]:
    """A wedding with a timeline, guests and a portfolio, all backed up and all lost; what its files were."""
    world.apply(world.claim("guestbook"), secret("db", {"uri": database}))
    before = {}
    for source, claim in CLAIMS.items():
        world.shell(claim, WRITE)
        before[source] = world.shell(claim, DIGESTS)
    world.add_locations(THREE)
    tables = [{"name": timeline, "match": {"wedding_id": "w-1"}}]
    postgres = {"connectionSecretRef": {"name": "db"}, "tables": tables}
    volumes = [
        {"name": name, "dataClass": name.title(), "volume": {"claimName": claim}}
        for name, claim in CLAIMS.items()
    ]
    planning = {"name": "planning", "dataClass": "Timeline", "postgres": postgres}
    world.apply(world.policy(sources=[*volumes, planning]))
    world.wait("wbp", "wedding", lambda body: condition(body, "Protected").get("status") == "True")
    with psycopg.connect(database) as connection:
        connection.execute(f"DELETE FROM {timeline}")
    for claim in CLAIMS.values():
        world.shell(claim, LOSS)
    return before


@contextmanager
def held(database: str, timeline: str) -> Iterator[None]:
    """Nobody writes the timeline's rows while the block runs: its recovery gets as far as to them."""
    with psycopg.connect(database) as connection:
        connection.execute(f"LOCK TABLE {timeline} IN ACCESS EXCLUSIVE MODE")
        yield


def phases(body: Object) -> list[str]:
    return [row["phase"] for row in body["status"].get("sources", [])]


def pods(world: World, source: str) -> list[Object]:
    return world.list("pods", f"{names.LABEL_TASK}=restore,{names.LABEL_SOURCE}={source}")


def wait_until_all_wait(world: World) -> Object:
    """The request once all its workers run, those of later stages for nothing but their turn."""

    def ready(body: Object) -> bool:
        return phases(body) == ["Running", "Waiting", "Waiting"] and all(
            [phase(pod) for pod in pods(world, source)] == ["Running"] for source in CLAIMS
        )

    return world.wait("rr", "back", ready)


def test_later_stages_are_ready_and_move_nothing_until_the_timeline_is_usable(
    world: World, database: str, timeline: str, lost: dict[str, str]
) -> None:
    with held(database, timeline):
        world.apply(world.request("back"))
        wait_until_all_wait(world)
        path = "jsonpath={.status.sources[2].phase}=Waiting"
        world.cluster.kubectl(
            "wait", "rr/back", "-n", world.namespace, f"--for={path}", "--timeout=30s"
        )
        # What they say themselves: they wait, and have read nothing.
        for source in CLAIMS:
            world.wait("rr", "back", partial(has_logged, world, source))
        told = world.get("rr", "back")
        assert phases(told) == ["Running", "Waiting", "Waiting"]
        assert [row["message"] for row in told["status"]["sources"][1:]] == [
            "waits for stage Timeline"
        ] * 2
        for source, claim in CLAIMS.items():
            reported = told["status"].get("reported", {}).get(source, {})
            assert not reported.get("locations")
            assert not reported.get("bytesDone")
            assert world.shell(claim, DIGESTS) == ""
        assert [
            (stage["dataClass"], "startedAt" in stage, "usableAt" in stage)
            for stage in told["status"]["stages"]
        ] == [("Timeline", True, False), ("Guests", False, False), ("Portfolio", False, False)]
    done = world.wait_phase("rr", "back", *ENDED, seconds=240)
    assert phase(done) == "Completed", done["status"]
    for source, claim in CLAIMS.items():
        assert world.shell(claim, DIGESTS) == lost[source]
        assert len(pods(world, source)) == 1  # it waited in place
    with psycopg.connect(database) as connection:
        assert connection.execute(f"SELECT count(*) FROM {timeline}").fetchone() == (2,)
    first, second, third = done["status"]["stages"]
    assert first["usableAt"] <= second["startedAt"] <= second["usableAt"] <= third["startedAt"]
    assert third["usableAt"]


def has_logged(world: World, source: str, _: Object) -> bool:
    return any(
        "waits for stage Timeline"
        in world.cluster.kubectl(
            "logs", pod["metadata"]["name"], "-n", world.namespace, check=False
        )
        for pod in pods(world, source)
    )


def has_no_pod(world: World, source: str, _: Object) -> bool:
    return not pods(world, source)


def test_a_timeline_that_cannot_come_back_keeps_nothing_else_away(
    world: World, database: str, timeline: str, lost: dict[str, str]
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(f"DROP TABLE {timeline}")
    world.apply(world.request("back"))
    done = world.wait_phase("rr", "back", *ENDED, seconds=240)
    assert phase(done) == "PartiallyFailed", done["status"]
    assert phases(done) == ["Failed", "Completed", "Completed"]
    assert done["status"]["stages"][0]["message"].startswith("Not recovered: planning.")
    for source, claim in CLAIMS.items():
        assert world.shell(claim, DIGESTS) == lost[source]


@pytest.mark.usefixtures("broker", "lost")  # in this order: nothing is backed up by nobody
def test_a_cancelled_recovery_ends_those_who_wait(
    world: World, database: str, timeline: str
) -> None:
    with held(database, timeline):
        world.apply(world.request("back"))
        wait_until_all_wait(world)
        cancel = ("--type=merge", "-p", '{"spec":{"cancel":true}}')
        world.cluster.kubectl("patch", "rr", "back", "-n", world.namespace, *cancel)
        done = world.wait_phase("rr", "back", *ENDED)
        assert phase(done) == "Cancelled"
        for source in CLAIMS:
            world.wait("rr", "back", partial(has_no_pod, world, source))
    for claim in CLAIMS.values():
        assert world.shell(claim, DIGESTS) == ""
