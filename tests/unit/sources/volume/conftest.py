"""Directories that a child without rights can reach, and that are removed however deep they are."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="weddingbackup-volume-"))
    path.chmod(0o777)
    yield path
    subprocess.run(["rm", "-rf", "--", path], check=True)


@pytest.fixture
def origin(place: Path) -> Path:
    path = place / "origin"
    path.mkdir()
    return path


@pytest.fixture
def goal(place: Path) -> Path:
    path = place / "goal"
    path.mkdir()
    return path
