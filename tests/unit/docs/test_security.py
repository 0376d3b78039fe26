"""docs/security.md promises nothing that no test shows, and no hostile test goes without a line there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
DOCUMENT = PROJECT / "docs" / "security.md"
HOSTILE = (
    *sorted((PROJECT / "tests" / "e2e").glob("test_hostile_*.py")),
    *sorted((PROJECT / "tests" / "integration" / "hostile").glob("test_*.py")),
)
_TEST = re.compile(r"^\| .* \| `(tests/[^`]+)` \|$", re.MULTILINE)
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_HEAD = "| attempt | answer | guard | test |"


def lines() -> list[str]:
    """The tests that the tables' lines name, in their order."""
    return _TEST.findall(DOCUMENT.read_text())


def cases(path: Path) -> Iterator[str]:
    """The tests of a file as pytest names them, without parameters."""
    name = path.relative_to(PROJECT).as_posix()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{name}::{node.name}::{each}" for each in _functions(node.body))
        else:
            yield from (f"{name}::{each}" for each in _functions([node]))


def _functions(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, _FUNCTION) and node.name.startswith("test_"):
            yield node.name


@pytest.mark.parametrize("line", lines())
def test_each_line_names_a_test(line: str) -> None:
    path = PROJECT / line.partition("::")[0]
    assert path.exists()
    assert line in set(cases(path))


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name)
def test_each_hostile_test_has_a_line(path: Path) -> None:
    assert set(cases(path)) <= set(lines())


def test_every_line_of_the_tables_is_read() -> None:
    """A line that the pattern does not match would promise something unseen."""
    rows = 0
    for table in DOCUMENT.read_text().split(_HEAD)[1:]:
        rows += sum(
            1 for _ in re.finditer(r"^\|(?! ?-).*\|$", table.split("\n\n")[0], re.MULTILINE)
        )
    assert rows == len(lines()) > 50


def test_how_many_lines_there_are_is_told() -> None:
    assert f"The {len(lines())} lines of the tables" in " ".join(DOCUMENT.read_text().split())
