"""How long the campaigns run, from which seed, and what they count: one place for all of them.

A campaign is a test of many random rounds. Its short form is part of `make test` and the same in
every run; `make campaign` runs the long form (WEDDINGBACKUP_CAMPAIGN=1) from the seed in
WEDDINGBACKUP_CAMPAIGN_SEED, and keeps what was counted in `out/`. See docs/campaigns.md.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import HealthCheck, settings

LONG = os.environ.get("WEDDINGBACKUP_CAMPAIGN") == "1"
SEED = int(os.environ.get("WEDDINGBACKUP_CAMPAIGN_SEED", "20261205"))
OUT = Path(__file__).parent / "out"


def rounds(short: int, long: int) -> int:
    """Give how many rounds this run makes."""
    return long if LONG else short


def generator(campaign: str, number: int) -> random.Random:
    """Give the randomness of one round: of itself alone, so that one can be repeated without the rest."""
    return random.Random(f"{SEED}/{campaign}/{number}")


def examples(short: int, long: int, *, steps: tuple[int, int] | None = None) -> settings:
    """Give hypothesis as many examples; the short form draws the same ones in every run.

    The long form takes its seed from `--hypothesis-seed`. `steps`: of a stateful test, short and long.
    """
    chosen = settings(
        max_examples=rounds(short, long),
        derandomize=not LONG,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return settings(chosen, stateful_step_count=rounds(*steps)) if steps else chosen


class Counts:
    """What a campaign did and what came of it: a table of rows and outcomes."""

    def __init__(self, campaign: str) -> None:
        self.campaign = campaign
        self._rows: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, row: str, outcome: str, number: int = 1) -> None:
        self._rows[row][outcome] += number

    def total(self, outcome: str) -> int:
        return sum(row[outcome] for row in self._rows.values())

    def report(self) -> None:
        """Print the table; the long form keeps it, too."""
        outcomes = sorted({outcome for row in self._rows.values() for outcome in row})
        print(f"\n{self.campaign}, seed {SEED}, {'long' if LONG else 'short'} form")
        width = max(map(len, self._rows), default=0)
        print(" ".join([" " * width, *outcomes]))
        total = {outcome: self.total(outcome) for outcome in outcomes}
        for name, row in [*sorted(self._rows.items()), ("all", total)]:
            print(name.ljust(width), *(str(row[o]).rjust(len(o)) for o in outcomes))
        if LONG:
            OUT.mkdir(exist_ok=True)
            rows = {name: dict(row) for name, row in sorted(self._rows.items())}
            found = {"campaign": self.campaign, "seed": SEED, "rows": rows, "all": total}
            (OUT / f"{self.campaign}.json").write_text(json.dumps(found, indent=1) + "\n")
