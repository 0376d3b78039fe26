"""Old data goes to an archive and comes back, by the command line, at a server with storage classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.integration.cli.program import Program, write_locations
from tests.integration.worker import trees
from tests.servers.classes import Classes, with_classes
from tests.servers.s3 import s3

pytestmark = pytest.mark.integration

MOVE = ("--tier", "Archive", "--recent", "0s")


@pytest.fixture
def classes(tmp_path: Path) -> Iterator[Classes]:
    with s3(tmp_path) as server, with_classes(server) as found:
        server.create_bucket("weddings")
        yield found


@pytest.fixture
def program(tmp_path: Path, classes: Classes) -> Program:
    """A point of some MiB at one S3 location, which has an archive, and in a directory, which has none."""
    directory = tmp_path / "here"
    directory.mkdir()
    program = Program(directory)
    trees.photographs(directory / "portfolio")
    bucket = {
        "name": "london",
        "provider": "S3",
        "bucket": "weddings",
        "endpoint": classes.server.endpoint,
        "region": classes.server.region,
        "credentials": classes.server.credentials,
    }
    write_locations(directory / "locations.yaml", [bucket])
    _done(program.vault("init"))
    _done(program.vault("backup", "--source", "portfolio=portfolio:Portfolio"))
    return program


def test_what_is_archived_is_shown_asked_back_and_restored(
    program: Program, classes: Classes
) -> None:
    dry = _done(program.vault("tier", *MOVE, "--dry-run"))
    assert "Move: Hot to Archive" in dry
    assert not classes.of
    moved = _done(program.vault("tier", *MOVE))
    assert "moved to Archive" in moved
    assert set(classes.of.values()) == {"GLACIER"}
    assert all("/packs/" in name for name in classes.of)
    assert "0 B moved" in _done(program.vault("tier", *MOVE))

    assert "portfolio: about 5 h" in _done(program.vault("snapshots"))
    [point] = json.loads(_done(program.vault("snapshots", "--output", "json")))
    [away] = point["archived"]
    assert (away["source"], away["seconds"], away["locations"], away["asked"]) == (
        "portfolio",
        5 * 3600,
        ["london"],
        False,
    )
    assert "archived and not read" in _done(program.vault("check", "--full"))

    refused = program.vault("restore", "latest", "portfolio", "back")
    assert refused.returncode == 1
    assert f"vault tier --return {point['point']}" in refused.stderr
    assert "is archived" in refused.stderr

    assert "asked for" in _done(program.vault("tier", "--return", "latest"))
    assert len(classes.returning) == away["packs"]
    assert "asked back: about 5 h" in _done(program.vault("snapshots"))
    assert "0 objects asked for" in _done(program.vault("tier", "--return", "latest"))
    classes.arrive()
    assert "portfolio: " not in _done(program.vault("snapshots"))
    _done(program.vault("restore", "latest", "portfolio", "back"))
    assert trees.facts(program.directory / "back") == trees.facts(program.directory / "portfolio")


def test_a_recent_point_keeps_all_hot(program: Program, classes: Classes) -> None:
    assert "0 B moved" in _done(program.vault("tier", "--tier", "Cold"))
    assert not classes.of


def test_a_copy_at_hand_elsewhere_is_read_without_a_word(
    program: Program, classes: Classes
) -> None:
    both = ("--locations", "locations.yaml", "--directory", "drawer")
    _done(program.vault("copy", places=both))
    _done(program.vault("tier", *MOVE, places=both))
    assert classes.of
    assert "portfolio: " not in _done(program.vault("snapshots", places=both))
    done = program.vault("restore", "latest", "portfolio", "back", places=both)
    assert done.returncode == 0
    assert "archived" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--tier"),
        (("--tier", "Cold", "--return", "latest"), "--tier"),
        (("--tier", "Cold", "--at", "nowhere"), "nowhere"),
        (("--tier", "Cold", "--source", "portfolio"), "--return"),
        (("--tier", "Cold", "--recent", "soon"), "soon"),
        (("--tier", "Tepid"), "Tepid"),
    ],
)
def test_wrong_usage_is_told(program: Program, arguments: tuple[str, ...], told: str) -> None:
    done = program.vault("tier", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_directories_have_no_tiers(program: Program) -> None:
    done = program.vault("tier", "--tier", "Cold", places=("--directory", "drawer"))
    assert done.returncode == 2
    assert "directories have none" in done.stderr


def _done(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
