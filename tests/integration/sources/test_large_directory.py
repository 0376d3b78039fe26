"""A directory as photographers' exports make them: very many small files in one place."""

import os
from pathlib import Path

import pytest

from tests.unit.sources.volume.copying import copy
from weddingbackup.sources.volume import VolumeSource, VolumeTarget

pytestmark = pytest.mark.integration

COUNT = 100_000


def test_100_000_entries_in_one_directory_come_back(tmp_path: Path) -> None:
    origin, goal = tmp_path / "origin", tmp_path / "goal"
    origin.mkdir()
    fd = os.open(origin, os.O_RDONLY)
    for number in range(COUNT):
        file = os.open(f"{number:06}.txt", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
        os.write(file, b"%d" % number)
        os.close(file)
    os.close(fd)
    with VolumeTarget(goal, privileged=False) as target:
        copy(VolumeSource(origin), target, small=True)
        assert target.warnings() == []
    restored = sorted(goal.iterdir())
    assert len(restored) == COUNT
    assert all(path.read_bytes() == b"%d" % int(path.stem) for path in restored)
