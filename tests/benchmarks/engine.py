"""`python -m tests.benchmarks.engine [--short]`: the engine beside restic, on this machine, now.

Two kinds of data: 1 GiB in large files (three quarters incompressible, one quarter text), and
100,000 small files of 0.2 to 8 kB. Each program backs them up into a new, encrypted repository in
a local directory, and restores from it into a new directory; after a warm-up five rounds, in which
the programs take turns. Whole processes are measured, from their start to their end, as a user
calls them. Every restored tree is compared with the original.

What is the same for both: the data in the page cache, default compression, one local directory,
every file of the repository flushed to the disk before it counts (each does that by itself). Where
they differ, the other is favoured: restic runs without its local cache, which only costs time when
the repository is local; our restore ends with a `syncfs`, restic's leaves its files in the page
cache. restic derives its key from a password, on purpose slowly (about half a second); ours reads
its keys from a file.

What was restored is not removed before the end: for minutes after a file is removed, ext4
avoids its inode, and searching past 100,000 of them costs more than what is measured here.

Prints a table; writes `tests/benchmarks/out/engine.json`, with `--short` `engine-short.json`. A
ratio is restic's median over ours: above 1, we need less.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import data, measure, programs
from tests.benchmarks.measure import Run
from tests.benchmarks.programs import Program

OUT = Path(__file__).parent / "out"

Runs = dict[str, dict[str, list[Run]]]  # step → program → runs


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of data."""

    name: str
    make: Callable[[Path], None]


def cases(*, short: bool) -> list[Case]:
    """Give the kinds of data."""
    mebibytes, count = (64, 5_000) if short else (1024, 100_000)
    return [
        Case("large", lambda top: data.large_files(top, mebibytes=mebibytes)),
        Case("small", lambda top: data.small_files(top, count=count)),
    ]


def compare(case: Case, contestants: Sequence[Program], work: Path, rounds: int) -> Runs:
    """Run all rounds of one case, the first of them to warm up; gives the others."""
    original = work / "data"
    case.make(original)
    say(f"{case.name}: {data.total(original) / data.MIB:,.0f} MiB")
    by_name = {program.name: program for program in contestants}
    runs: Runs = {step: {name: [] for name in by_name} for step in ("backup", "restore")}
    for number, turn in enumerate(measure.turns(list(by_name), rounds + 1)):
        for name in turn:
            backup, restore = once(by_name[name], original, work / f"{name}-{number}")
            say(f"  {number or 'warm-up'} {name}: {backup.wall:.2f} s, {restore.wall:.2f} s back")
            if number:
                runs["backup"][name].append(backup)
                runs["restore"][name].append(restore)
    return runs


def once(program: Program, original: Path, place: Path) -> tuple[Run, Run]:
    """Back up into a new repository and restore from it; checks what came back."""
    repository, target, log = (
        place.with_name(f"{place.name}.{suffix}") for suffix in ("repository", "restored", "log")
    )
    environment = program.environment
    measure.run(program.found(repository), environment, log)
    backup = measure.run(program.backup(repository, original), environment, log)
    restore = measure.run(program.restore(repository, target), environment, log)
    shutil.rmtree(repository)
    if problems := data.differences(original, program.restored(target, original)):
        text = "\n".join(problems[:20])
        raise measure.RunError(f"{program.name} brought back something else:\n{text}")
    return backup, restore


def figures(results: dict[str, Runs], versions: dict[str, str]) -> dict[str, object]:
    """Give what is written to the file: the ratios, and what they come from."""

    def ratio(case: str, step: str, figure: str = "wall") -> float:
        runs = results[case][step]
        return round(measure.ratio(runs["restic"], runs["ours"], figure), 3)

    ours = [run for runs in results.values() for step in runs.values() for run in step["ours"]]
    return {
        "backup_ratio": ratio("large", "backup"),
        "restore_ratio": ratio("large", "restore"),
        "cpu_ratio": ratio("large", "backup", "user"),
        "small_backup_ratio": ratio("small", "backup"),
        "small_restore_ratio": ratio("small", "restore"),
        "peak_memory_mib": round(max(run.memory for run in ours), 1),
        "versions": versions,
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "measured": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "runs": {
            case: {
                step: {
                    name: {
                        figure: {key: round(value, 3) for key, value in asdict(spread).items()}
                        for figure, spread in measure.spreads(runs).items()
                    }
                    for name, runs in by_name.items()
                }
                for step, by_name in steps.items()
            }
            for case, steps in results.items()
        },
    }


def table(results: dict[str, Runs]) -> str:
    """Give the medians, with the least and the most, for people."""
    lines = [f"{'':26} {'wall, s':>21} {'user CPU, s':>21} {'memory, MiB':>12}"]
    for case, steps in results.items():
        for step, by_name in steps.items():
            for name, runs in by_name.items():
                found = measure.spreads(runs)
                cells = [
                    f"{found[figure].median:8.2f} ({found[figure].least:.2f}-{found[figure].most:.2f})"
                    for figure in ("wall", "user")
                ]
                lines.append(
                    f"{case:6} {step:8} {name:10} {cells[0]:>21} {cells[1]:>21}"
                    f" {found['memory'].most:12.0f}"
                )
    return "\n".join(lines)


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine")
    parser.add_argument("--short", action="store_true", help="a sixteenth of the data, once")
    parser.add_argument("--rounds", type=int, help="after the warm-up (5; with --short 1)")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="needs 20 GiB")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.short else 5)
    contestants = [programs.ours(), programs.restic()]
    versions = {program.name: program.version for program in contestants}
    say(", ".join(f"{name} {version}" for name, version in versions.items()))
    work = Path(tempfile.mkdtemp(prefix="weddingbackup-bench-", dir=options.work))
    results: dict[str, Runs] = {}
    try:
        for case in cases(short=options.short):
            (work / case.name).mkdir()
            results[case.name] = compare(case, contestants, work / case.name, rounds)
    finally:
        shutil.rmtree(work)
    found = figures(results, versions)
    OUT.mkdir(exist_ok=True)
    file = OUT / ("engine-short.json" if options.short else "engine.json")
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    say(table(results))
    say("".join(f"{key:22} {value}\n" for key, value in found.items() if "_" in key) + str(file))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
