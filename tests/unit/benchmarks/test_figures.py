"""What figures are made of runs, and what is kept of earlier ones."""

import json
import re
from pathlib import Path

from tests.benchmarks import engine, figures, measure
from tests.benchmarks.figures import FIGURES, values
from tests.benchmarks.measure import Results, Run


def results(**parties: Run) -> Results:
    """One step's parties, a run each."""
    return {"backup": {name: measure.spreads([run]) for name, run in parties.items()}}


def test_a_figure_is_theirs_over_ours() -> None:
    found = values(
        {
            "large": results(
                ours=Run(2, user=1, memory=300), restic=Run(6, user=5, memory=900), rustic=Run(5)
            ),
            "fanout": results(ours=Run(1, user=2, system=2, memory=321.4), restic=Run(1, 5, 1)),
        }
    )
    assert found == {
        "backup_ratio": 3,
        "rustic_ratio": 2.5,
        "cpu_ratio": 5,
        "fanout_cpu_ratio": 1.5,
        "peak_memory_mib": 321.4,
    }


def test_the_fraction_of_the_links_that_is_used_is_ideal_time_over_ours() -> None:
    runs = {"ours": measure.spreads([Run(10)]), "links": measure.spreads([Run(8.5)])}
    assert values({"striped": {"restore": runs}})["striped_fraction"] == 0.85


def test_parties_of_ours_by_any_name_count_for_the_memory() -> None:
    found = values({"broken": results(**{"four alone": Run(1, memory=600), "restic": Run(1)})})
    assert found["peak_memory_mib"] == 600
    assert "MISSED" in figures.verdicts(found)


def test_a_verdict_says_the_bound_and_whether_it_was_kept() -> None:
    told = figures.verdicts({"backup_ratio": 2.4, "broken_ratio": 1.4, "cpu_ratio": 3})
    assert [re.split(r"  +", line.strip())[-1] for line in told.splitlines()] == [
        "at least 2.5: MISSED",
        "at most 1.4: kept",
        "at least 3: kept",
    ]


def test_every_figure_has_a_case_and_every_case_a_figure() -> None:
    assert {figure.case for figure in FIGURES.values()} == set(engine.CASES)
    assert engine.chosen(["broken_ratio", "cpu_ratio", "backup_ratio"]) == ["large", "broken"]
    assert engine.chosen([]) == list(engine.CASES)


def test_what_was_not_measured_again_is_kept(tmp_path: Path) -> None:
    first = engine.document(
        {},
        {"large": results(ours=Run(1, 1), restic=Run(2, 1)), "fanout": results(ours=Run(1))},
        {"ours": "1"},
    )
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(first))
    again = {"large": results(ours=Run(1, 1), restic=Run(5, 1))}
    found = engine.document(json.loads(file.read_text()), again, {"ours": "2"})
    assert found["backup_ratio"] == 5
    assert set(found["runs"]) == {"large", "fanout"}
    assert found["runs"]["fanout"] == first["runs"]["fanout"]
    assert found["versions"] == {"ours": "2"}


def test_the_table_shows_medians_and_ends() -> None:
    runs = {"ours": measure.spreads([Run(1), Run(9), Run(2)])}
    assert "2.00 (1.00-9.00)" in figures.table({"large": {"restore": runs}})
