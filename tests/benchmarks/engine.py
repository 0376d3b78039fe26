"""`python -m tests.benchmarks.engine [--short] [--only FIGURE…]`: the engine's figures, here, now.

Whole processes are measured, from their start to their end, as a user calls them, on data that are
in the page cache; after a warm-up five rounds, in which the parties take turns. Every restored tree
is compared with the original. `local` has one repository in a directory beside restic and rustic,
`upload` and `download` have seven S3 servers, behind links of a given speed where a case says so.
`figures` says what each figure is made of, and its bound.

Prints a table; writes `tests/benchmarks/out/engine.json`, with `--short` `engine-short.json`.
With `--only`, what else that file holds is kept.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.benchmarks import download, figures, local, measure, programs, report, upload
from tests.benchmarks.measure import Results


class Case(Protocol):
    """Measures one thing, in a directory of its own; the first round is to warm up."""

    def __call__(self, work: Path, rounds: int, *, short: bool) -> Results:
        """Give the results of the rounds."""


CASES: dict[str, Case] = {
    "large": local.large,
    "small": local.small,
    "fanout": upload.fanout,
    "fanout-limited": upload.fanout_limited,
    "slow-location": upload.slow_location,
    "restore-seven": download.seven,
    "restore-limited": download.seven_limited,
    "striped": download.striped,
    "broken": download.broken,
}


def chosen(only: Sequence[str]) -> list[str]:
    """Give the cases that these figures come from; all of them where none is named."""
    wanted = {figures.FIGURES[name].case for name in only}
    return [name for name in CASES if not only or name in wanted]


def run(names: Sequence[str], rounds: int, *, short: bool, under: Path) -> dict[str, Results]:
    """Run cases one after the other, each in a new directory that is removed behind it."""
    results = {}
    for name in names:
        report.say(name)
        work = Path(tempfile.mkdtemp(prefix="weddingbackup-bench-", dir=under))
        try:
            results[name] = CASES[name](work, rounds, short=short)
        finally:
            shutil.rmtree(work, ignore_errors=True)  # a server may still write a log
    return results


def document(
    kept: dict[str, Any], fresh: dict[str, Results], versions: dict[str, str]
) -> dict[str, Any]:
    """Give what is written to the file: the figures of fresh and kept runs, and these themselves."""
    cases = kept.get("runs", {}) | {name: measure.to_json(one) for name, one in fresh.items()}
    results = {name: measure.from_json(cases[name]) for name in CASES if name in cases}
    return {
        **figures.values(results),
        "versions": versions,
        "machine": report.machine(),
        "measured": kept.get("measured", {}) | dict.fromkeys(fresh, report.now()),
        "runs": {name: measure.to_json(one) for name, one in results.items()},
    }


def main(arguments: Sequence[str]) -> int:
    """Parse the command line, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine")
    parser.add_argument("--short", action="store_true", help="a sixteenth of the data, once")
    parser.add_argument("--rounds", type=int, help="after the warm-up (5; with --short 1)")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="needs 20 GiB")
    parser.add_argument("--only", nargs="+", default=[], choices=[*figures.FIGURES])
    options = parser.parse_args(arguments)
    versions = programs.versions()
    report.say(", ".join(f"{name} {version}" for name, version in versions.items()))
    file = report.out("engine", short=options.short)
    kept = json.loads(file.read_text()) if options.only and file.exists() else {}
    rounds = options.rounds or (1 if options.short else 5)
    fresh = run(chosen(options.only), rounds, short=options.short, under=options.work)
    found = document(kept, fresh, versions)
    report.say(figures.table(fresh))
    report.write(file, found)
    report.say(figures.verdicts(figures.values(fresh)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
