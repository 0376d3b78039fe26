"""A report of a check fits where Kubernetes takes it, whatever was found."""

from weddingbackup.resources.reports import LIMIT_BYTES, CheckedLocation
from weddingbackup.vault.check import Checked, Tally
from weddingbackup.vault.repair import Repaired
from weddingbackup.worker.check import _fitted, _with_archived


def test_a_report_of_many_locations_and_much_loss_fits() -> None:
    rows = [
        CheckedLocation(
            name=f"a-location-with-a-long-name-{number}",
            objects=10**6,
            bytes=10**13,
            missing=10**5,
            damaged=10**5,
            replaced=10**5,
            error="it is long " * 200,
        )
        for number in range(16)
    ]
    lost = [f"packs/{number:064}" for number in range(900)]
    lossy = [f"snapshots/2026/12/05/{'u' * 36}-{number:064}" for number in range(40)]
    report = _fitted(rows, Repaired(lost=lost, lossy=lossy), 1.0)
    assert len(report.to_json().encode()) <= LIMIT_BYTES
    assert report.lost_count == 900
    assert report.lost[0] == lost[0]
    assert report.lossy[0] == lossy[0]
    assert all(row.error for row in report.locations)


def test_a_usual_report_keeps_the_first_twenty_names() -> None:
    rows = [CheckedLocation(name=name, objects=9) for name in "abc"]
    lost = [f"packs/{number:064}" for number in range(30)]
    report = _fitted(rows, Repaired(lost=lost, lossy=["snapshots/x"]), 1.0)
    assert report.lost == lost[:20]


def test_a_row_says_what_was_archived_and_not_read_unless_more_is_wrong() -> None:
    found = Checked(tallies={"a": Tally(9, 100, 2), "b": Tally(9, 900)})
    [archived, read, silent] = [
        _with_archived(CheckedLocation(name=name, error=error), found).error
        for name, error in (("a", None), ("b", None), ("a", "away"))
    ]
    assert archived == "2 objects are archived there, and were not read."
    assert read is None
    assert silent == "away"
