"""The vault by hand, in directories: found it, back up, look, restore, check; and what is refused."""

import json
import stat
from pathlib import Path

import pytest

from tests.integration.cli.program import Program
from tests.integration.worker import trees

pytestmark = pytest.mark.integration

TWO = ("--directory", "a", "--directory", "b")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    home = tmp_path / "home"
    home.mkdir()
    return Program(home)


@pytest.fixture
def filled(program: Program) -> Program:
    """A vault in two directories with one point of `source`."""
    trees.photographs(program.directory / "source")
    (program.directory / "source" / "day-0" / "note\x1b[31m").write_text("a name that paints")
    assert program.vault("init", places=TWO).returncode == 0
    done = program.vault("backup", "--source", "portfolio=source:Portfolio", places=TWO)
    assert done.returncode == 0, done
    return program


def damage(location: Path) -> Path:
    """Flip a bit of one chunk in a location's largest pack, which holds the photographs."""
    pack = max(location.rglob("packs/*/*"), key=lambda file: file.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    return pack


def test_the_kit_is_for_its_owner_alone_and_never_overwritten(program: Program) -> None:
    assert program.vault("init", places=TWO).returncode == 0
    kit = program.directory / "kit.json"
    assert stat.S_IMODE(kit.stat().st_mode) == 0o600
    before = kit.read_bytes()
    again = program.vault("init", places=TWO)
    assert (again.returncode, kit.read_bytes()) == (1, before)
    assert "exists already" in again.stderr
    kit.chmod(0o644)
    assert "chmod 600" in program.vault("snapshots", places=TWO).stderr


def test_points_are_listed_for_people_and_for_programs(filled: Program) -> None:
    head, row = filled.vault("snapshots", places=TWO).stdout.splitlines()
    assert head.split() == ["POINT", "TIME", "SOURCES", "SIZE", "AT", "HAND", "COPIES", "COMMITTED"]
    assert row.split()[2:] == ["portfolio", "6.0", "MiB", "yes", "2/2", "yes"]
    [point] = json.loads(filled.vault("snapshots", "--output", "json", places=TWO).stdout)
    assert point["point"] == row.split()[0]
    assert point["sources"] == [
        {
            "name": "portfolio",
            "dataClass": "Portfolio",
            "files": 7,
            "bytes": 6 * trees.MIB + len("a name that paints"),
        }
    ]
    assert (point["heldBy"], point["standing"]) == (["a", "b"], "Committed")
    assert point["archived"] == []


def test_files_are_listed_whole_or_below_a_path_and_no_name_steers_the_terminal(
    filled: Program,
) -> None:
    lines = filled.vault("ls", "latest", "portfolio", places=TWO).stdout.splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("drwx")
    below = filled.vault("ls", "latest", "portfolio", "day-0", places=TWO).stdout
    assert "day-1" not in below
    assert "note\\x1b[31m" in below
    assert "\x1b" not in below
    missing = filled.vault("ls", "latest", "portfolio", "day-9", places=TWO)
    assert (missing.returncode, "day-9" in missing.stderr) == (1, True)


def test_a_point_is_found_by_the_beginning_of_its_name(filled: Program) -> None:
    [point] = json.loads(filled.vault("snapshots", "--output", "json", places=TWO).stdout)
    done = filled.vault("restore", point["point"], "portfolio", "back", places=TWO)
    assert done.returncode == 0, done
    home = filled.directory
    assert trees.facts(home / "back") == trees.facts(home / "source")
    wrong = filled.vault("restore", "nonesuch", "portfolio", "back", places=TWO)
    assert (wrong.returncode, "vault snapshots" in wrong.stderr) == (1, True)


def test_a_second_restore_says_what_it_kept(filled: Program) -> None:
    first = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert "kept" not in first.stdout
    again = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert (again.returncode, "were there and are kept" in again.stdout) == (0, True), again
    home = filled.directory
    assert trees.facts(home / "back") == trees.facts(home / "source")


def test_a_lost_holder_never_makes_latest_an_older_point_in_silence(filled: Program) -> None:
    home = filled.directory
    (home / "source" / "new").write_text("of the second point")
    assert filled.vault("backup", "--source", "portfolio=source", places=TWO).returncode == 0
    one = ("--directory", "a")
    newer, older = filled.vault("snapshots", places=one).stdout.splitlines()[1:]
    assert (newer.split()[-1], older.split()[-1]) == ("possible", "possible")
    done = filled.vault("restore", "latest", "portfolio", "back", places=one)
    assert (done.returncode, "did not answer" in done.stderr) == (0, True)
    assert (home / "back" / "new").exists()
    [manifest] = [file for file in home.glob("a/**/snapshots/**/*") if newer[:12] in file.name]
    data = manifest.read_bytes()
    manifest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    manifest = next(file for file in home.glob("b/**/snapshots/**/*") if newer[:12] in file.name)
    done = filled.vault("ls", "latest", "portfolio", "new", places=TWO)
    assert (done.returncode, f"warning: {newer[:12]}" in done.stderr) == (0, True)
    named = filled.vault("ls", older[:12], "portfolio", places=TWO)
    assert f"there is a newer point, {newer[:12]}" in named.stderr
    manifest.unlink()
    done = filled.vault("ls", "latest", "portfolio", places=TWO)
    assert f"{manifest.name} is damaged wherever it is" in done.stderr


def test_directories_under_other_names_are_places_all_the_same(filled: Program) -> None:
    absolute = ("--directory", str(filled.directory / "a"), "--directory", "./b/")
    done = filled.vault("restore", "latest", "portfolio", "back", places=absolute)
    assert (done.returncode, "under that name" in done.stderr) == (0, True)


def test_damage_is_found_by_a_check_and_gone_around_by_a_restore(filled: Program) -> None:
    assert filled.vault("check", "--full", places=TWO).returncode == 0
    home = filled.directory
    pack = damage(home / "a")
    assert filled.vault("check", places=TWO).returncode == 0
    found = filled.vault("check", "--full", places=TWO)
    assert found.returncode == 1
    assert f"Damaged: packs/{pack.name}" in found.stdout
    assert "b: no problems" in found.stdout
    done = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert done.returncode == 0
    assert trees.facts(home / "back") == trees.facts(home / "source")


def test_what_is_damaged_is_repaired_and_what_is_lost_is_named_with_its_files(
    filled: Program,
) -> None:
    home = filled.directory
    pack = damage(home / "a")
    left = filled.vault("check", "--full", "--repair", places=TWO)
    assert (left.returncode, "1 object replaced" in left.stdout) == (0, True), left
    assert filled.vault("check", "--sample", "100%", places=TWO).returncode == 0
    assert not pack.exists()
    for location in ("a", "b"):
        damage(home / location)
    lost = filled.vault("check", "--full", places=TWO)
    assert lost.returncode == 1
    assert f"Lost: packs/{pack.name}" in lost.stdout
    assert "lost in the newest point: portfolio: day-" in lost.stdout
    gone = filled.vault("check", "--full", "--repair", places=TWO)
    assert (gone.returncode, f"good nowhere: packs/{pack.name}" in gone.stdout) == (1, True), gone
    # Nobody relies on it any more, so the next backup stores what it held.
    assert filled.vault("backup", "--source", "portfolio=source", places=TWO).returncode == 0
    done = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert done.returncode == 0, done
    assert trees.facts(home / "back") == trees.facts(home / "source")
    wrong = filled.vault("check", "--sample", "0%", places=TWO)
    assert (wrong.returncode, "use one like 10%" in wrong.stderr) == (2, True)
    both = filled.vault("check", "--sample", "5", "--full", places=TWO)
    assert both.returncode == 2


def test_a_check_that_has_nothing_to_look_at_is_no_clean_bill(filled: Program) -> None:
    mistyped = filled.vault("check", places=("--directory", "a", "--directory", "bb"))
    assert mistyped.returncode == 1
    assert "a: no problems" in mistyped.stdout
    assert "there is no recovery point here" in mistyped.stdout
    (filled.directory / "kit.json").unlink()
    assert filled.vault("init", places=("--directory", "c")).returncode == 0
    assert filled.vault("check", places=TWO).returncode == 1


def test_a_copy_catches_up_who_lags_was_damaged_or_is_new(filled: Program) -> None:
    home = filled.directory
    max((home / "a").rglob("packs/*/*"), key=lambda file: file.stat().st_size).unlink()
    [manifest] = (file for file in home.glob("b/**/snapshots/**/*") if file.is_file())
    data = manifest.read_bytes()
    manifest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    three = (*TWO, "--directory", "c")
    done = filled.vault("copy", "latest", places=three)
    assert done.returncode == 0, done
    told = {line.split(" copied")[0] for line in done.stdout.splitlines()}
    assert {"a: 1 object", "b: 1 object"} < told
    assert filled.vault("copy", places=three).stdout.count(": 0 objects") == 3
    assert filled.vault("check", "--full", places=("--directory", "c")).returncode == 0
    done = filled.vault("restore", "latest", "portfolio", "back", places=("--directory", "c"))
    assert done.returncode == 0
    assert trees.facts(home / "back") == trees.facts(home / "source")
    nothing = filled.vault("copy", places=("--directory", "d"))
    assert (nothing.returncode, "no recovery point" in nothing.stderr) == (1, True)


def test_what_is_good_nowhere_is_named_and_the_rest_comes_back(filled: Program) -> None:
    home = filled.directory
    damage(home / "a")
    damage(home / "b")
    done = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert done.returncode == 1
    assert "missing: " in done.stderr
    assert "Traceback" not in done.stderr
    whole, found = trees.facts(home / "source"), trees.facts(home / "back")
    files = [path for path in found if (home / "back" / path).is_file()]
    assert files
    assert all(found[path] == whole[path] for path in files)


def test_a_path_that_the_point_lacks_is_refused_before_anything_is_written(
    filled: Program,
) -> None:
    some = ("--include", "day-0/", "--include", "nosuch")
    wrong = filled.vault("restore", "latest", "portfolio", "back", *some, places=TWO)
    assert (wrong.returncode, "no nosuch in portfolio" in wrong.stderr) == (1, True)
    assert not (filled.directory / "back").exists()
    right = filled.vault("restore", "latest", "portfolio", "back", *some[:2], places=TWO)
    assert right.returncode == 0
    assert [path.name for path in (filled.directory / "back").iterdir()] == ["day-0"]


def test_files_are_not_put_into_a_database(filled: Program) -> None:
    (filled.directory / "uri").write_text("postgresql://127.0.0.1:9/none")
    done = filled.vault("restore", "latest", "portfolio", "--to-postgres", "@uri", places=TWO)
    assert (done.returncode, "portfolio holds files" in done.stderr) == (1, True)
    assert " from " not in done.stdout  # nothing was read for it
    gone = filled.vault("restore", "latest", "portfolio", "--to-postgres", "@no", places=TWO)
    assert (gone.returncode, "the connection string" in gone.stderr) == (1, True)


def test_a_source_that_is_empty_is_warned_of(filled: Program) -> None:
    (filled.directory / "nothing").mkdir()
    done = filled.vault("backup", "--source", "portfolio=nothing", places=TWO)
    assert (done.returncode, "warning: portfolio: The source is empty" in done.stderr) == (0, True)


def test_another_vaults_kit_opens_nothing(filled: Program) -> None:
    home = filled.directory
    (home / "kit.json").rename(home / "mine.json")
    assert filled.vault("init", places=("--directory", "c")).returncode == 0
    mine, other = (json.loads((home / f"{name}.json").read_text()) for name in ("mine", "kit"))
    (home / "kit.json").write_text(json.dumps(mine | {"wrappingKeys": other["wrappingKeys"]}))
    done = filled.vault("restore", "latest", "portfolio", "back", places=TWO)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "key" in done.stderr
    assert not (home / "back").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("vault", "snapshots"), "--kit"),
        (("vault", "snapshots", "--kit", "kit.json"), "--directory or --locations"),
        (("vault", "backup", "--kit", "k", "--directory", "a"), "--source or --postgres"),
        (("vault", "backup", "--kit", "k", "--directory", "a", "--source", "x"), "NAME=PATH"),
        (("vault", "backup", "--kit", "k", "--directory", "a", "--postgres", "x=y"), "--tables"),
        (("vault", "restore", "--kit", "k", "--directory", "a", "latest", "x"), "where to?"),
        (("vault", "snapshots", "--kit", "k", "--directory", "a", "--directory", "a"), "name"),
        (("worker", "nonesuch"), "backup"),
        (("nonesuch",), "No such command"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_write(
    program: Program, arguments: tuple[str, ...], says: str
) -> None:
    done = program.run(*arguments)
    assert done.returncode == 2, done
    assert says in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "a: b",
        "- {name: x}",
        "- {directory: a, colour: red}",
        "- 7",
        "- {name: x, provider: S3, region: r, bucket: b, credentials: hunter2}",
    ],
)
def test_a_locations_file_that_is_wrong_is_told_without_its_secrets(
    filled: Program, content: str
) -> None:
    (filled.directory / "locations.yaml").write_text(content)
    done = filled.vault("snapshots")
    assert done.returncode == 1, done
    assert "locations.yaml" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_definitions_of_the_kinds_are_written_and_checked(program: Program) -> None:
    assert program.run("crds", "--output", "crds").returncode == 0
    files = sorted((program.directory / "crds").iterdir())
    assert len(files) == 6
    assert program.run("crds", "--check", "crds").returncode == 0
    assert program.run("crds").stdout.count("kind: CustomResourceDefinition") == 6
    files[0].write_text("spoiled")
    wrong = program.run("crds", "--check", "crds")
    assert (wrong.returncode, files[0].name in wrong.stderr) == (1, True)
