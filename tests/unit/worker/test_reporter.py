import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from weddingbackup.resources import broker
from weddingbackup.resources.broker import Refusal, RefusalCode
from weddingbackup.resources.common import DataClass, LocationPhase
from weddingbackup.resources.reports import (
    LIMIT_BYTES,
    BackupReport,
    DamagedObject,
    ErrorReport,
    LocationReport,
    ProgressLine,
    RestoreReport,
    SourceReport,
)
from weddingbackup.vault.progress import Progress
from weddingbackup.worker.errors import BrokerError
from weddingbackup.worker.reporter import ProgressLines, shorten, telling, write_report

NOW = datetime(2026, 12, 5, tzinfo=UTC)
TEXT = st.text(max_size=3000)
TEXTS = st.lists(TEXT, max_size=30)


@given(
    locations=st.lists(TEXT, max_size=9),
    sources=st.lists(TEXTS, max_size=16),
    message=TEXT,
)
def test_a_backups_report_always_fits_and_stays_a_report(
    locations: list[str], sources: list[list[str]], message: str
) -> None:
    report = BackupReport(
        manifest="snapshots/2026/12/05/" + "a" * 101,
        sha256="b" * 64,
        started_at=NOW,
        finished_at=NOW,
        locations=[
            LocationReport(name=f"location-{n}", phase=LocationPhase.FAILED, message=text)
            for n, text in enumerate(locations)
        ],
        sources=[
            SourceReport(name=f"source-{n}", data_class=DataClass.OTHER, warnings=warnings)
            for n, warnings in enumerate(sources)
        ],
        error=ErrorReport(code="Refused", message=message),
    )
    data = shorten(report)
    assert len(data) <= LIMIT_BYTES
    found = BackupReport.model_validate_json(data)
    assert (found.manifest, found.sha256) == (report.manifest, report.sha256)
    assert [row.name for row in found.locations] == [row.name for row in report.locations]
    assert [row.name for row in found.sources] == [row.name for row in report.sources]


def test_a_report_at_its_largest_fits() -> None:
    """As many rows as a policy can have, each with the longest names and much to say."""
    much = ["\U0001f492" * 1000] * 40
    report = BackupReport(
        manifest="snapshots/2026/12/05/" + "a" * 101,
        sha256="b" * 64,
        started_at=NOW,
        finished_at=NOW,
        locations=[
            LocationReport(
                name=f"{n}" * 40, phase=LocationPhase.LAGGING, bytes=10**13, message=much[0]
            )
            for n in range(9)
        ],
        sources=[
            SourceReport(
                name=f"{n:02}" * 16,
                data_class=DataClass.PORTFOLIO,
                files=10**8,
                bytes=10**13,
                new_bytes=10**13,
                warnings=much,
            )
            for n in range(16)
        ],
    )
    found = BackupReport.model_validate_json(shorten(report))
    assert found.manifest == report.manifest
    assert [row.name for row in found.sources] == [row.name for row in report.sources]


def test_what_fits_is_not_touched() -> None:
    report = RestoreReport(source="planning", warnings=["one", "two"])
    assert RestoreReport.model_validate_json(shorten(report)) == report


def test_what_was_left_out_is_counted() -> None:
    report = RestoreReport(source="planning", warnings=["w" * 90] * 100)
    warnings = RestoreReport.model_validate_json(shorten(report)).warnings
    assert warnings[-1] == f"… and {100 - len(warnings) + 1} more"


def test_thousands_of_damaged_objects_still_fit() -> None:
    damaged = [DamagedObject(location="london", object=f"packs/{n:064}") for n in range(5000)]
    report = RestoreReport(source="portfolio", damaged=damaged)
    found = RestoreReport.model_validate_json(shorten(report))
    assert found.damaged == damaged[: len(found.damaged)]
    assert found.damaged


def test_a_report_is_written_over_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    file.write_text("x" * 9999)
    write_report(RestoreReport(source="planning"), file)
    assert json.loads(file.read_text())["source"] == "planning"


def test_progress_is_told_only_when_it_changes_and_once_at_the_end() -> None:
    asked = threading.Semaphore(0)
    lines = [ProgressLine(bytes_done=1)]

    def line() -> ProgressLine:
        asked.release()
        return lines[-1]

    with capture_logs() as logs, ProgressLines(line, interval=0.001):
        for _ in range(3):
            assert asked.acquire(timeout=10)
        lines.append(ProgressLine(bytes_done=2))
    assert [entry["bytesDone"] for entry in logs] == [1, 2]
    assert all(entry["event"] == "progress" for entry in logs)


def test_the_last_progress_is_told_when_the_work_fails() -> None:
    with capture_logs() as logs:  # noqa: SIM117  what is told after the failure counts
        with (
            pytest.raises(ValueError, match="failed"),
            ProgressLines(lambda: ProgressLine(bytes_done=7), interval=3600),
        ):
            raise ValueError("failed")
    assert [entry["bytesDone"] for entry in logs] == [7]


def test_the_broker_is_told_what_changed_and_a_failure_to_tell_is_nobodys() -> None:
    progress = Progress()
    told: list[int] = []
    asked = threading.Semaphore(0)

    def tell(now: broker.Progress) -> None:
        told.append(now.bytes_done)
        asked.release()
        if len(told) == 1:
            raise BrokerError(Refusal(code=RefusalCode.TRANSIENT, message="away"))

    with telling(tell, progress, interval=0.001):
        progress.add(size=5)
        for _ in range(2):
            assert asked.acquire(timeout=10)
        progress.add(size=2)
        assert asked.acquire(timeout=10)
    assert told == [5, 5, 7]


def test_nobody_waits_for_a_broker_that_hangs_when_it_is_told() -> None:
    begun, go = threading.Event(), threading.Event()

    def tell(_: broker.Progress) -> None:
        begun.set()
        go.wait(30)

    progress = Progress()
    progress.add(size=1)
    with telling(tell, progress, interval=0.001):
        assert begun.wait(10)
    assert not go.is_set()
    go.set()
