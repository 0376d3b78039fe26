"""What the benchmarks make of their runs."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import data
from tests.benchmarks.measure import (
    Run,
    RunError,
    Spread,
    compare,
    from_json,
    run,
    to_json,
    turns,
)


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert Spread.of([5, 1, 2, 9, 3]) == Spread(median=3, least=1, most=9)


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


def test_runs_are_summed_up_by_step_and_party_without_the_warm_up() -> None:
    walls = {"a": iter([9, 1, 2, 3]), "b": iter([8, 6, 5, 4])}
    seen = []

    def party(name: str, turn: str) -> dict[str, Run]:
        seen.append(turn)
        return {"backup": Run(next(walls[name]), user=1, system=0.5)}

    found = compare({name: partial(party, name) for name in walls}, rounds=3)
    assert found["backup"]["a"]["wall"] == Spread(median=2, least=1, most=3)
    assert found["backup"]["b"]["wall"] == Spread(median=5, least=4, most=6)
    assert found["backup"]["b"]["cpu"].median == 1.5
    assert seen == ["a-0", "b-0", "b-1", "a-1", "a-2", "b-2", "b-3", "a-3"]
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


def test_data_are_the_same_each_time_and_differences_are_seen(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for top in (one, other):
        data.small_files(top, 12)
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
    with pytest.raises(AssertionError, match=r"(?s)restic brought back.*002\.bin: mode"):
        data.require_same(one, other, "restic")
