from pathlib import Path

import pytest

from tests import tools
from tests.tools import MODULES, ToolError, binary


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ToolError, match=r"'kubctl'.*kubectl"):
        binary("kubctl")


def test_every_program_has_one_module_that_pins_it() -> None:
    names = [name for module in MODULES for name in module.programs]
    assert len(names) == len(set(names))
    for module in MODULES:
        pinned = (Path(tools.__file__).parent / module.folder / "go.mod").read_text()
        for package in module.programs.values():
            assert package.startswith(".") or package in pinned
