import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from weddingbackup.cli import main
from weddingbackup.cli.lazy import LazyGroup


def commands(group: LazyGroup, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name in group.list_commands(main.make_context("weddingbackup", ["vault"])):
        command = group.get_command(main.make_context("weddingbackup", ["vault"]), name)
        assert command is not None
        below = commands(command, (*path, name)) if isinstance(command, LazyGroup) else []
        found += below or [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("Usage:")
    assert len(lines[2].strip()) > 20
    assert all(len(line) <= 100 for line in lines)


def test_what_a_list_says_of_a_command_is_short() -> None:
    for path in [(), ("vault",)]:
        output = CliRunner().invoke(main, [*path, "--help"]).output
        listed = output.partition("Commands:\n")[2].splitlines()
        assert len(listed) >= 5
        assert all(line.rstrip().endswith(".") for line in listed)


def test_a_start_that_asks_for_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from weddingbackup.cli import main\n"
        "try: main(['worker', '--help'])\n"
        "except SystemExit: print(*sorted(sys.modules), sep=chr(10), file=sys.stderr)"
    )
    path = [entry for entry in sys.path if entry.endswith("operator")]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path[0]},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.split())
    heavy = {"boto3", "google.cloud", "azure", "psycopg", "kopf", "kubernetes", "pydantic"}
    assert loaded & heavy == set()


def test_a_worker_imports_only_the_sdks_of_its_locations() -> None:
    path = [entry for entry in sys.path if entry.endswith("operator")]
    script = "import sys, weddingbackup.worker.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path[0]},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded & {"boto3", "google.cloud", "azure", "psycopg", "kopf", "kubernetes"} == set()


def test_a_vault_in_directories_needs_no_models_no_wire_and_no_sdk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vows.txt").write_text("I do.")
    where = ["--kit", f"{tmp_path}/kit.json", "--directory", f"{tmp_path}/vault"]
    heavy = {"pydantic", "yaml", "structlog", "urllib3", "asyncio", "multiprocessing", "psycopg"}
    heavy |= {"boto3", "google", "azure", "fastapi", "uvicorn", "kopf", "kubernetes", "httpx"}
    for command, *rest in (
        ["init"],
        ["backup", "--source", f"data={tmp_path}/data"],
        ["restore", "latest", "data", f"{tmp_path}/back"],
    ):
        assert _loaded("vault", command, *where, *rest) & heavy == set()
    assert (tmp_path / "back" / "vows.txt").read_text() == "I do."


def _loaded(*arguments: str) -> set[str]:
    """Run the program; gives the modules that were imported when it ended."""
    script = (
        "import sys; from weddingbackup.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False); print(*sys.modules, sep=chr(10), file=sys.stderr)"
    )
    path = [entry for entry in sys.path if entry.endswith("operator")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PYTHONPATH": path[0]},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())
