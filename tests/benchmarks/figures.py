"""The figures of the engine: which runs each is made of, and the bound that it has to keep. Pure.

A figure is the median of one party's runs over the median of another's; a case's runs come from
`local`, `upload` or `download`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.benchmarks.measure import Results

OTHERS = ("restic", "rustic", "links")
"""Parties that are not we. `links` are what the network can do at most."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`quantity` of `over` divided by that of `under`, in one step of one case.

    Attributes:
        at_least: the bound; None where `at_most` has it, or where there is none.
    """

    case: str
    step: str
    over: str
    under: str
    quantity: str = "wall"
    at_least: float | None = None
    at_most: float | None = None

    def of(self, results: Mapping[str, Results]) -> float | None:
        """Its value; None where its runs are missing."""
        step = results.get(self.case, {}).get(self.step, {})
        if self.over not in step or self.under not in step:
            return None
        over, under = (step[party][self.quantity].median for party in (self.over, self.under))
        return round(over / under, 3)

    def told(self, value: float) -> str:
        """The bound, and whether the value keeps it."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}: {_kept(value >= self.at_least)}"
        if self.at_most is not None:
            return f"at most {self.at_most:g}: {_kept(value <= self.at_most)}"
        return ""


FIGURES = {
    "backup_ratio": Figure("large", "backup", "restic", "ours", at_least=2.5),
    "rustic_ratio": Figure("large", "backup", "rustic", "ours", at_least=1.5),
    "cpu_ratio": Figure("large", "backup", "restic", "ours", "user", at_least=3),
    "small_backup_ratio": Figure("small", "backup", "restic", "ours", at_least=2.5),
    "unchanged_ratio": Figure("small", "unchanged", "restic", "ours", at_least=2),
    "small_restore_ratio": Figure("small", "restore", "restic", "ours", at_least=1.5),
    "fanout_cpu_ratio": Figure("fanout", "backup", "restic", "ours", "cpu", at_least=1),
    "fanout_limited_ratio": Figure("fanout-limited", "backup", "restic", "ours", at_least=1),
    "restore_ratio": Figure("large", "restore", "restic", "ours", at_least=1.5),
    "restore_seven_ratio": Figure("restore-seven", "restore", "restic", "ours", at_least=2),
    "restore_seven_limited_ratio": Figure("restore-limited", "restore", "restic", "ours"),
    "striped_fraction": Figure("striped", "restore", "links", "ours", at_least=0.85),
    "broken_ratio": Figure("broken", "restore", "three broken", "four alone", at_most=1.4),
    "slow_location_ratio": Figure("slow-location", "quorum", "one slow", "without", at_most=1.1),
}

_MEMORY_BOUND = 512


def values(results: Mapping[str, Results]) -> dict[str, float]:
    """All figures whose runs are there, with the most memory that any run of ours took, in MiB."""
    found = {name: figure.of(results) for name, figure in FIGURES.items()}
    given = {name: value for name, value in found.items() if value is not None}
    memory = [
        spreads["memory"].most
        for steps in results.values()
        for parties in steps.values()
        for party, spreads in parties.items()
        if party not in OTHERS
    ]
    return given | {"peak_memory_mib": round(max(memory), 1)} if memory else given


def verdicts(found: Mapping[str, float]) -> str:
    """Each figure with its bound, for people."""
    lines = []
    for name, value in found.items():
        figure = FIGURES.get(name)
        told = (
            figure.told(value)
            if figure
            else f"at most {_MEMORY_BOUND}: {_kept(value <= _MEMORY_BOUND)}"
        )
        lines.append(f"{name:28} {value:8}  {told}")
    return "\n".join(lines)


def table(results: Mapping[str, Results]) -> str:
    """Give the medians, with the least and the most, for people."""
    lines = [f"{'':41} {'wall, s':>21} {'client CPU, s':>21} {'servers, s':>10} {'MiB':>5}"]
    for case, steps in results.items():
        for step, by_party in steps.items():
            for party, found in by_party.items():
                cells = [
                    f"{found[quantity].median:8.2f} "
                    f"({found[quantity].least:.2f}-{found[quantity].most:.2f})"
                    for quantity in ("wall", "cpu")
                ]
                lines.append(
                    f"{case:15} {step:10} {party:14} {cells[0]:>21} {cells[1]:>21}"
                    f" {found['servers'].median:10.2f} {found['memory'].most:5.0f}"
                )
    return "\n".join(lines)


def _kept(kept: bool) -> str:
    return "kept" if kept else "MISSED"
