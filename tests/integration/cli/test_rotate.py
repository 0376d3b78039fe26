"""New keys for a vault by hand, in directories; and the commands of docs/key-rotation.md, as they stand there."""

import json
import re
import stat
from pathlib import Path

import pytest
import yaml

from tests.cluster import Cluster
from tests.integration.cli.program import Program
from tests.integration.cli.test_recovery_kits import found_vault, program, records
from tests.integration.worker import trees
from weddingbackup.vault import rotate
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

_PAGE = Path(__file__).parents[3] / "docs" / "key-rotation.md"
FENCES = re.findall(r"^```(\w+)\n(.*?)^```", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
TWO = ("--directory", "a", "--directory", "b")


@pytest.fixture
def filled(tmp_path: Path) -> Program:
    """A vault in two directories with one point of `source`."""
    program = Program(tmp_path)
    trees.photographs(tmp_path / "source")
    assert program.vault("init", places=TWO).returncode == 0
    backup(program)
    return program


def backup(program: Program) -> None:
    done = program.vault("backup", "--source", "portfolio=source:Portfolio", places=TWO)
    assert done.returncode == 0, done


def kit(program: Program, name: str = "kit.json") -> Kit:
    return Kit.from_json((program.directory / name).read_bytes())


def keys_at(program: Program, location: str) -> set[str]:
    return {f"keys/{file.name}" for file in (program.directory / location).glob("*/keys/*")}


def test_both_kinds_of_keys_are_new_and_everything_opens(filled: Program) -> None:
    home, old = filled.directory, kit(filled)
    packs = {file: file.stat().st_mtime_ns for file in home.glob("[ab]/*/packs/*/*")}
    done = filled.vault("rotate", places=TWO)
    assert done.returncode == 0, done
    new, aside = kit(filled), home / f"kit.{old.id}.json"
    assert aside.read_bytes() == old.to_json()
    assert {stat.S_IMODE(file.stat().st_mode) for file in (home / "kit.json", aside)} == {0o600}
    assert f"{new.id}; copy it" in done.stdout
    assert f"{old.id}, now out of date" in done.stdout
    assert not new.fingerprints().items() & old.fingerprints().items()
    assert {file: file.stat().st_mtime_ns for file in home.glob("[ab]/*/packs/*/*")} == packs
    for location in "ab":
        assert keys_at(filled, location) == new.objects.keys() - {"format"}
    (home / "source" / "new").write_text("behind the rotation")
    backup(filled)
    assert filled.vault("restore", "latest", "portfolio", "back", places=TWO).returncode == 0
    assert trees.facts(home / "back") == trees.facts(home / "source")
    assert filled.vault("check", "--full", places=TWO).returncode == 0
    # The old kit opens what was sealed before, and says of the rest what to do.
    points = filled.vault("snapshots", "--output", "json", places=TWO).stdout
    newer, older = (point["point"] for point in json.loads(points))
    (home / "kit.json").write_bytes(old.to_json())
    assert filled.vault("restore", older, "portfolio", "before", places=TWO).returncode == 0
    assert not (home / "before" / "new").exists()
    wrong = filled.vault("restore", newer, "portfolio", "after", places=TWO)
    assert (wrong.returncode, "take the newest kit" in wrong.stderr) == (1, True), wrong
    again = filled.vault("rotate", places=TWO)
    assert (again.returncode, "take the newest kit" in again.stderr) == (1, True), again
    assert kit(filled) == old


def test_one_kind_of_keys_alone(filled: Program) -> None:
    first = kit(filled)
    assert filled.vault("rotate", "--wrapping-keys", places=TWO).returncode == 0
    second = kit(filled)
    assert second.keyring().keys == first.keyring().keys
    assert second.wrapping_keys != first.wrapping_keys
    assert filled.vault("rotate", "--data-keys", places=TWO).returncode == 0
    third = kit(filled)
    assert third.wrapping_keys == second.wrapping_keys
    assert len(third.keyring().keys) == 2 * len(second.keyring().keys)
    # Rotated elsewhere: a copy of the second kit would make points that the third cannot open.
    (filled.directory / "kit.json").write_bytes(second.to_json())
    for how in ("--data-keys", "--wrapping-keys", "--finish"):
        wrong = filled.vault("rotate", how, places=TWO)
        assert (wrong.returncode, "rotated elsewhere" in wrong.stderr) == (1, True), wrong
    both = filled.vault("rotate", "--finish", "--data-keys", places=TWO)
    assert (both.returncode, "leave out" in both.stderr) == (2, True)


def test_one_that_was_cut_short_is_ended_with_the_keys_that_it_made(filled: Program) -> None:
    old = kit(filled)
    new = rotate.renew(old, wrapping_keys=True, data_keys=True)
    draft = filled.directory / "kit.json.rotating"
    draft.write_bytes(new.to_json())
    [place] = {file.parent for file in filled.directory.glob("a/*/keys/*")}
    for name in new.objects.keys() - old.objects.keys():
        (place / name.removeprefix("keys/")).write_bytes(new.objects[name])
    done = filled.vault("rotate", places=TWO)
    assert (done.returncode, "cut short" in done.stdout) == (0, True), done
    assert kit(filled) == new
    assert not draft.exists()
    for location in "ab":
        assert keys_at(filled, location) == new.objects.keys() - {"format"}


def test_an_exported_kit_keeps_its_name_and_the_new_one_has_its_own(filled: Program) -> None:
    home, old = filled.directory, kit(filled)
    exported = home / f"studio.wedding.{old.id}.json"
    (home / "kit.json").rename(exported)
    done = filled.run("vault", "rotate", "--kit", exported, *TWO)
    assert done.returncode == 0, done
    assert exported.read_bytes() == old.to_json()
    [other] = {*home.glob("studio.wedding.*.json")} - {exported}
    assert kit(filled, other.name).id in other.name


def test_a_location_that_is_away_is_told_of_and_finished_later(filled: Program) -> None:
    home = filled.directory
    three = (*TWO, "--directory", "c")
    assert filled.vault("copy", places=three).returncode == 0
    old = kit(filled)
    place = home / "c" / old.prefix
    place.rename(home / "drawer")
    place.write_text("no directory")
    done = filled.vault("rotate", places=three)
    assert (done.returncode, "c: KEEPS OLD KEYS" in done.stdout) == (1, True), done
    assert "--finish" in done.stderr
    place.unlink()
    (home / "drawer").rename(place)
    assert keys_at(filled, "c") == old.objects.keys() - {"format"}
    before = kit(filled)
    done = filled.vault("rotate", "--finish", places=three)
    assert done.returncode == 0, done
    assert kit(filled) == before
    assert keys_at(filled, "c") == before.objects.keys() - {"format"}


def test_a_place_without_the_vault_gets_no_keys(filled: Program) -> None:
    wrong = filled.vault("rotate", places=("--directory", "d", "--directory", "e"))
    assert (wrong.returncode, "is it the right place" in wrong.stderr) == (1, True)
    assert not list(filled.directory.glob("[de]/*"))


def test_the_pages_commands_by_hand(filled: Program) -> None:
    [commands] = [text for language, text in FENCES if language == "sh"]
    places = [{"directory": "a"}, {"directory": "b"}]
    (filled.directory / "locations.yaml").write_text(yaml.safe_dump(places))
    old = kit(filled)
    done = filled.shell(commands)
    assert done.returncode == 0, done
    assert set(old.keyring().keys) < set(kit(filled).keyring().keys)
    assert old.id in done.stdout


def test_the_pages_commands_in_a_cluster(crds: Cluster, namespace: str, tmp_path: Path) -> None:
    old = found_vault(crds, namespace)
    here = program(crds, tmp_path, namespace)
    commands, finish = (
        text.replace("bella-photography", namespace)
        for language, text in FENCES
        if language == "bash"
    )
    turn, export = commands.splitlines()
    done = here.shell(export)
    assert done.returncode == 0, done
    # Locations of others, of which nothing is known here, are told of.
    expected = int(bool(json.loads(crds.kubectl("get", "backuplocations", "-o", "json"))["items"]))
    done = here.shell(turn)
    assert done.returncode == expected, done
    assert f"kit {old.id} of" in done.stdout
    new = found_vault(crds, namespace)
    assert set(old.keyring().keys) < set(new.keyring().keys)
    assert new.vault_id == old.vault_id
    assert here.run("recovery-kit", "status").returncode == 1
    done = here.shell(export)
    assert done.returncode == 0, done
    assert here.run("recovery-kit", "status").returncode == 0
    assert {record.kit for record in records(crds, namespace, new)} == {old.id, new.id}
    done = here.shell(finish)
    assert done.returncode == expected, done
    assert found_vault(crds, namespace) == new
    missing = here.run("rotate-keys", "-n", namespace, "nonesuch")
    assert (missing.returncode, "no vault of policy nonesuch" in missing.stderr) == (1, True)
