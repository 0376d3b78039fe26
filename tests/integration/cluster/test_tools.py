from pathlib import Path

import pytest

from tests import tools
from tests.tools import Module, ToolError, binary

pytestmark = pytest.mark.integration

SOURCE = 'package main\n\nfunc main() { println("built") }\n'


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go module of our own, `hello`, that nobody has built yet; gives its folder."""
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "go.mod").write_text("module hello\n\ngo 1.24.0\n")
    (folder / "main.go").write_text(SOURCE)
    monkeypatch.setattr(tools, "_HERE", tmp_path)
    monkeypatch.setattr(tools, "MODULES", (Module("hello", {"hello": "."}),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tools.binary.cache_clear()
    return folder


def test_a_program_is_built_once_and_again_when_its_source_changes(module: Path) -> None:
    first = binary("hello")
    built = first.stat().st_mtime_ns
    tools.binary.cache_clear()
    assert binary("hello").stat().st_mtime_ns == built

    (module / "main.go").write_text(SOURCE.replace("built", "built anew"))
    tools.binary.cache_clear()
    assert binary("hello") != first


def test_a_failed_build_says_why_and_leaves_nothing_that_looks_built(module: Path) -> None:
    (module / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(ToolError, match="undefined: nonsense"):
        binary("hello")
    assert not [path for path in tools.cache_folder().glob("tools/*") if path.is_dir()]
