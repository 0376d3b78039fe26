"""What the benchmarks make of their runs."""

import os
import sys
from pathlib import Path

import pytest

from tests.benchmarks import data, engine
from tests.benchmarks.measure import Run, RunError, Spread, ratio, run, turns


def runs(*walls: float) -> list[Run]:
    return [Run(wall, wall / 2, 0.0, 100.0) for wall in walls]


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert Spread.of([5, 1, 2, 9, 3]) == Spread(median=3, least=1, most=9)


def test_a_ratio_is_theirs_over_ours() -> None:
    theirs, ours = runs(6, 5, 100), runs(2, 3, 1)
    assert ratio(theirs, ours, "wall") == 3
    assert ratio(theirs, ours, "user") == 3


def test_each_begins_as_often_as_the_other() -> None:
    assert turns(["a", "b"], 4) == [["a", "b"], ["b", "a"], ["a", "b"], ["b", "a"]]


def test_a_run_is_accounted_by_the_kernel(tmp_path: Path) -> None:
    code = "x = bytearray(200 << 20)\nfor _ in range(10**6): pass"
    found = run([sys.executable, "-c", code], {}, tmp_path / "log")
    assert 200 < found.memory < 400
    assert found.user > 0
    assert found.wall > 0


def test_a_run_that_fails_says_what_the_program_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended with 3:\nno luck"):
        run(["sh", "-c", "echo $WHAT; exit 3"], {"WHAT": "no luck"}, tmp_path / "log")


def test_the_figures_have_the_names_that_are_promised() -> None:
    results = {
        "large": {
            "backup": {"ours": runs(2, 2, 2), "restic": runs(6, 5, 7)},
            "restore": {"ours": runs(2), "restic": runs(3)},
        },
        "small": {
            "backup": {"ours": runs(1), "restic": runs(4)},
            "restore": {"ours": [Run(2, 1, 1, 321.4)], "restic": runs(5)},
        },
    }
    found = engine.figures(results, {"ours": "1", "restic": "2"})
    assert {key: value for key, value in found.items() if "_" in key} == {
        "backup_ratio": 3,
        "restore_ratio": 1.5,
        "cpu_ratio": 3,
        "small_backup_ratio": 4,
        "small_restore_ratio": 2.5,
        "peak_memory_mib": 321.4,
    }
    assert "5.00-7.00" in engine.table(results)


def test_data_are_the_same_each_time_and_differences_are_seen(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for top in (one, other):
        data.small_files(top, count=12)
        (top / "more").mkdir()
    assert data.differences(one, other) == []
    assert 12 * 200 <= data.total(one) <= 12 * 8000
    path = other / "000" / "001.bin"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, ns=times)
    (other / "000" / "002.bin").chmod(0o600)
    (other / "000" / "003.txt").unlink()
    (other / "000" / "004.bin").touch()
    assert data.differences(one, other) == [
        "000/003.txt: only in one of them",
        "000/001.bin: bytes",
        "000/002.bin: mode",
        "000/004.bin: time",
    ]
