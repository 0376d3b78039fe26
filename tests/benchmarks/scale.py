"""`python -m tests.benchmarks.scale [--short] [--shape SHAPE…] [--counts N…]`: what growth costs.

Three shapes of data, each in several sizes: many small files, many directories of one file each
(nothing has more chunks and pages for its bytes), and many bytes in large files. Each is backed up
into a directory, backed up again unchanged, listed, checked as providers are asked to, and one file
of it is restored: whole processes, once each unless `--rounds` says more.

Prints what each took; writes `tests/benchmarks/out/scale.json` with the growth: what one more file,
directory or MiB costs, from the smallest and the largest size. docs/scale.md reckons with that.
Sizes that were not measured now are kept.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks import data, measure, programs, report
from tests.benchmarks.measure import Results, Run


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of data: how it is made, in which sizes, and one file of it."""

    make: Callable[[Path, int], None]
    counts: tuple[int, ...]
    short: tuple[int, ...]
    one: str


SHAPES = {
    "files": Shape(
        data.small_files,
        (10_000, 100_000, 1_000_000),
        (2_000, 5_000),
        "001/000.bin",
    ),
    "directories": Shape(
        data.directories,
        (10_000, 100_000),
        (1_000, 2_000),
        "000/007/file.bin",
    ),
    "mebibytes": Shape(
        data.large_files,
        (256, 1024, 4096),
        (32, 64),
        "photo-001.jpg",
    ),
}

_SETTLED_SECONDS = 3


def once(shape: Shape, work: Path, count: int, turn: str) -> Mapping[str, Run]:
    """Measure all steps on data that are there already."""
    place, target, log = (work / f"{turn}.{what}" for what in ("vault", "restored", "log"))
    original = work / f"data-{count}"
    kit, where = place.with_suffix(".kit.json"), ("--directory", place)
    ours = programs.ours(kit, *where)
    commands = {
        "backup": ours.backup(original),
        "unchanged": ours.backup(original),
        "list": [*programs.vault("ls", kit, *where), "latest", "data"],
        "check": [*programs.vault("check", kit, *where), "--provider"],
        "restore one": [*ours.restore(target), "--include", shape.one],
    }
    measure.run(ours.found, {}, log)
    found = {step: measure.run(command, {}, log) for step, command in commands.items()}
    assert (target / shape.one).read_bytes() == (original / shape.one).read_bytes()
    shutil.rmtree(place)
    return found


def sizes(name: str, counts: Sequence[int], rounds: int, under: Path) -> dict[int, Results]:
    """Measure one shape in these sizes, one after the other."""
    found = {}
    for count in counts:
        report.say(f"{count:,} {name}")
        work = Path(tempfile.mkdtemp(prefix="weddingbackup-bench-", dir=under))
        try:
            data.apart(SHAPES[name].make, work / f"data-{count}", count)
            party = partial(once, SHAPES[name], work, count)
            # No round is to warm up, since the data were written a moment ago; but what changed in
            # the last two seconds is never taken for unchanged.
            time.sleep(_SETTLED_SECONDS)
            found[count] = measure.compare({"ours": party}, rounds, warm_up=0)
        finally:
            shutil.rmtree(work)
    return found


def growth(found: Mapping[int, Results]) -> dict[str, dict[str, float]]:
    """Say what one more costs: between the smallest and the largest size, a step.

    Gives step → microseconds of wall clock and of user CPU, and bytes of memory at its peak.
    """
    least, most = min(found), max(found)

    def slope(step: str, quantity: str) -> float:
        low, high = (found[count][step]["ours"][quantity].median for count in (least, most))
        return (high - low) / (most - least)

    return {
        step: {
            "wall_us": round(slope(step, "wall") * 1e6, 2),
            "user_us": round(slope(step, "user") * 1e6, 2),
            "memory_bytes": round(slope(step, "memory") * data.MIB, 1),
        }
        for step in found[least]
        if most > least
    }


def document(
    kept: Mapping[str, Any], fresh: Mapping[str, Mapping[int, Results]], ours: str
) -> dict[str, Any]:
    """Give what is written to the file; sizes that were not measured now stay as they were."""
    runs = {
        name: {int(count): measure.from_json(one) for count, one in by_count.items()}
        for name, by_count in kept.get("runs", {}).items()
    }
    for name, by_count in fresh.items():
        runs[name] = dict(sorted({**runs.get(name, {}), **by_count}.items()))
    return {
        "growth": {name: growth(found) for name, found in runs.items()},
        "version": ours,
        "machine": report.machine(),
        "measured": kept.get("measured", {}) | dict.fromkeys(fresh, report.now()),
        "runs": {
            name: {str(count): measure.to_json(one) for count, one in found.items()}
            for name, found in runs.items()
        },
    }


def table(found: Mapping[str, Any]) -> str:
    """All sizes with their steps, and the growth, for people."""
    lines = [f"{'':33} {'wall, s':>9} {'user, s':>9} {'MiB':>6}"]
    for name, by_count in found["runs"].items():
        for count, steps in by_count.items():
            for step, parties in steps.items():
                wall, user, memory = (
                    parties["ours"][quantity]["median"] for quantity in ("wall", "user", "memory")
                )
                label = f"{int(count):,} {name}"
                lines.append(f"{label:20} {step:12} {wall:9.2f} {user:9.2f} {memory:6.0f}")
        for step, one in found["growth"][name].items():
            each = ", ".join(f"{value:g} {quantity}" for quantity, value in one.items())
            lines.append(f"one more of {name:11} {step:12} {each}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Parse the command line, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--short", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--shape", nargs="+", choices=[*SHAPES], default=[*SHAPES])
    parser.add_argument("--counts", nargs="+", type=int, help="other sizes")
    parser.add_argument("--rounds", type=int, default=1, help="of each size (1)")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="needs 16 GiB")
    options = parser.parse_args(arguments)
    file = report.out("scale", short=options.short)
    kept = json.loads(file.read_text()) if file.exists() else {}
    fresh = {}
    for name in options.shape:
        shape = SHAPES[name]
        counts = options.counts or (shape.short if options.short else shape.counts)
        fresh[name] = sizes(name, counts, options.rounds, options.work)
    found = document(kept, fresh, version("wedding-backup-operator"))
    report.say(table(found))
    report.write(file, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
