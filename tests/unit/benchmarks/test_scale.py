"""What the runs of several sizes say of growth."""

import json

from tests.benchmarks import measure, scale
from tests.benchmarks.measure import Results, Run


def results(wall: float, memory: float) -> Results:
    """One size."""
    return {"backup": {"ours": measure.spreads([Run(wall, user=wall / 2, memory=memory)])}}


def test_growth_is_from_the_smallest_to_the_largest_size() -> None:
    found = {1000: results(1, 100), 5000: results(9, 900), 11_000: results(21, 110)}
    assert scale.growth(found) == {
        "backup": {"wall_us": 2000, "user_us": 1000, "memory_bytes": 1048.6}
    }


def test_one_size_alone_says_nothing_of_growth() -> None:
    assert scale.growth({1000: results(1, 100)}) == {}


def test_sizes_that_were_not_measured_again_are_kept() -> None:
    first = scale.document({}, {"files": {10: results(1, 1), 1000: results(2, 2)}}, "1")
    kept = json.loads(json.dumps(first))
    found = scale.document(kept, {"files": {1000: results(5, 2), 20: results(1, 1)}}, "2")
    assert list(found["runs"]["files"]) == ["10", "20", "1000"]
    assert found["runs"]["files"]["10"] == first["runs"]["files"]["10"]
    assert found["growth"]["files"]["backup"]["wall_us"] == round(4 / 990 * 1e6, 2)
    assert "1,000 files" in scale.table(found)
