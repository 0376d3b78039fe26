"""docs/disaster-recovery.md, word for word: its commands bring everything back from the stores alone."""

import hashlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.integration.cli.program import Program, entry, write_locations
from tests.integration.worker import trees
from tests.servers.locations import Location
from tests.servers.postgres import Postgres
from weddingbackup.controller import kits
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[3] / "docs" / "disaster-recovery.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [text for language, text in FENCES if language == "sh"]
"""What is run without any cluster; what needs one is `bash`, and is run in test_recovery_kits.py."""
TABLES = """
- name: events
  match: {wedding: w-1}
"""
ROWS = [(1, "w-1", "first dance"), (2, "w-2", "of another wedding")]


def rows(uri: str) -> list[tuple[object, ...]]:
    with psycopg.connect(uri) as connection:
        return connection.execute("SELECT * FROM events ORDER BY id").fetchall()


@pytest.fixture
def database(postgres: Postgres) -> str:
    uri = postgres.create_database(f"d{secrets.token_hex(6)}")
    with psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE events (id int PRIMARY KEY, wedding text, what text)")
        connection.cursor().executemany("INSERT INTO events VALUES (%s, %s, %s)", ROWS)
    return uri


@pytest.fixture
def saved(
    five: list[Location], database: str, tmp_path: Path
) -> Callable[[], tuple[Program, Path]]:
    """A vault at five clouds and in a drawer, with one point; the original files beside it."""

    def make() -> tuple[Program, Path]:
        home = tmp_path / "home"
        home.mkdir()
        drawer = {"directory": str(tmp_path / "drawer"), "name": "drawer"}
        write_locations(home / "locations.yaml", [*map(entry, five), drawer])
        (home / "tables.yaml").write_text(TABLES)
        source = trees.everything(tmp_path / "source")
        (home / "database.uri").write_text(f"{database}\n")
        program = Program(home, {"KUBECONFIG": "/nowhere"})
        assert program.vault("init").returncode == 0
        done = program.vault(
            "backup",
            *("--quorum", "4"),
            *("--source", f"portfolio={source}:Portfolio"),
            *("--postgres", "planning=@database.uri"),
            *("--tables", "tables.yaml"),
        )
        assert done.returncode == 0, done
        with psycopg.connect(database) as connection:
            connection.execute("DELETE FROM events WHERE id = 1")
        carry_away(home, five, drawer)
        return program, source

    return make


def carry_away(home: Path, five: list[Location], drawer: dict[str, str]) -> None:
    """Leave the directory as somebody finds it at 3 a.m.: with what an export wrote, and no more."""
    (home / "kits").mkdir()
    data = (home / "kit.json").read_bytes()
    kit = hashlib.sha256(data).hexdigest()[:16]
    kits.keep(home / "kits" / f"bella-photography.w-2026-1205-017.{kit}.json", data)
    (home / "kit.json").unlink()
    (home / "locations.yaml").unlink()
    entries = [(sheet_entry(location), "secret") for location in five]
    sheet = kits.sheet_text([*entries, (drawer, "none")], "wedding-backup")
    told = [found.get("credentials", {}) for found in yaml.safe_load(sheet)]
    assert {value for credentials in told for value in credentials.values()} == {""}
    (home / "kits" / "locations.yaml").write_text(sheet)


def sheet_entry(location: Location) -> dict[str, Any]:
    access = location.access
    spec = {
        "provider": access.provider.value,
        "region": access.region,
        "bucket": access.bucket,
        "endpoint": access.endpoint,
        "credentialsSecretRef": {"name": "secret"},
    }
    body = {"metadata": {"name": location.name}, "spec": spec}
    return kits.sheet_entry(BackupLocation.model_validate(body), sorted(location.credentials))


def fill_in(file: Path, locations: list[Location]) -> None:
    """What the reader does in an editor."""
    entries = yaml.safe_load(file.read_text())
    known = {location.name: dict(location.credentials) for location in locations}
    for found in entries:
        if found["name"] in known:
            assert found["credentials"].keys() == known[found["name"]].keys()
            found["credentials"] = known[found["name"]]
    file.write_text(yaml.safe_dump(entries))


def begin(program: Program, locations: list[Location]) -> list[str]:
    """Run the page's first commands and fill in credentials; the commands that are left."""
    first, *others = COMMANDS
    assert "locations.yaml" in first
    done = program.shell(first)
    assert done.returncode == 0, done
    fill_in(program.directory / "locations.yaml", locations)
    assert (program.directory / "kit.json").stat().st_mode & 0o777 == 0o600
    return others


def test_the_pages_commands_bring_everything_back(
    saved: Callable[[], tuple[Program, Path]], database: str, five: list[Location]
) -> None:
    program, source = saved()
    assert len(COMMANDS) == 9
    assert {language for language, _ in FENCES} == {"sh", "bash", "yaml"}
    for command in begin(program, five):
        done = program.shell(command)
        assert done.returncode == 0, (command, done)
    home = program.directory
    assert trees.facts(home / "restored") == trees.facts(source)
    assert {path.name for path in (home / "some").iterdir()} == {"day-0"}
    assert (home / "rows" / "meta.json").is_file()
    assert rows(database) == ROWS


def test_one_location_is_enough(
    saved: Callable[[], tuple[Program, Path]], five: list[Location], database: str
) -> None:
    program, source = saved()
    for location in five:
        location.proxy.cut()
    # Of one that is gone, nobody may know the credentials any more.
    commands = begin(program, five[1:])
    [files] = [found for found in commands if "restored/" in found]
    [tables] = [found for found in commands if "--to-postgres" in found]
    [verify] = [found for found in commands if "verify" in found]
    for command in (verify, files, tables):
        done = program.shell(command)
        assert done.returncode == 0, done
        if command is not verify:
            assert all(f"warning: {location.name}" in done.stderr for location in five)
    assert "fill in" in done.stderr
    assert trees.facts(program.directory / "restored") == trees.facts(source)
    assert rows(database) == ROWS


def test_a_kit_of_another_vault_is_told_apart(
    saved: Callable[[], tuple[Program, Path]], five: list[Location]
) -> None:
    program, _ = saved()
    [verify] = [found for found in begin(program, five) if "verify" in found]
    kit = Kit.from_json((program.directory / "kit.json").read_bytes())
    other = Kit.found()
    # Another vault's keys, said to lie where this one does.
    wrong = Kit(other.vault_id, kit.prefix, other.wrapping_keys, other.objects)
    (program.directory / "kit.json").write_bytes(wrong.to_json())
    done = program.shell(verify)
    assert done.returncode == 1
    assert done.stdout.count(f"HOLDS ANOTHER VAULT, {kit.vault_id}") == 6
    # A key of another kit.
    mixed = {**kit.wrapping_keys, "Guests": other.wrapping_keys["Guests"]}
    torn = Kit(kit.vault_id, kit.prefix, mixed, kit.objects)
    (program.directory / "kit.json").write_bytes(torn.to_json())
    done = program.shell(verify)
    assert (done.returncode, "DOES NOT OPEN" in done.stdout) == (1, True)


def test_the_pages_locations_file_has_the_form_that_is_read(tmp_path: Path) -> None:
    [page] = [text for language, text in FENCES if language == "yaml"]
    (tmp_path / "locations.yaml").write_text(page)
    for found in yaml.safe_load(page):
        assert {"name", "credentials"} <= found.keys() or "directory" in found
    done = Program(tmp_path).vault("snapshots")
    # It was read and understood: what is missing is the kit.
    assert "the kit kit.json cannot be read" in done.stderr
