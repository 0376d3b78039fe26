"""Models: what the API gives is read, what they write is what the API and the workers take."""

from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from tests import objects
from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.base import Condition, ConditionStatus
from weddingbackup.resources.common import DataClass, Table
from weddingbackup.resources.reports import BackupReport, LocationReport, ProgressLine
from weddingbackup.resources.schema import KINDS
from weddingbackup.resources.tasks import (
    BackupTask,
    BrokerAccess,
    ObjectRef,
    SourceTask,
    VaultRef,
    VolumeSource,
)
from weddingbackup.resources.wedding_backup_policy import Continuous, WeddingBackupPolicy

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
_BY_KIND = {kind.definition.kind: kind for kind in KINDS}


@pytest.mark.parametrize("body", objects.ALL, ids=lambda body: body["kind"])
class TestEveryKind:
    def test_what_is_read_is_written_again(self, body: objects.Object) -> None:
        read = _BY_KIND[body["kind"]].model_validate(body)
        manifest = read.manifest()
        assert manifest["metadata"] == body["metadata"]
        assert _BY_KIND[body["kind"]].model_validate(manifest) == read

    def test_nothing_is_null(self, body: objects.Object) -> None:
        assert "null" not in _BY_KIND[body["kind"]].model_validate(body).to_json()

    def test_an_object_without_status_has_been_seen_by_nobody(self, body: objects.Object) -> None:
        status = _BY_KIND[body["kind"]].model_validate(body).dump()["status"]
        assert status["observedGeneration"] == 0

    def test_any_mapping_is_read(self, body: objects.Object) -> None:
        _BY_KIND[body["kind"]].model_validate(MappingProxyType(body))

    def test_what_a_newer_version_wrote_is_passed_over(self, body: objects.Object) -> None:
        newer = body | {"status": {"tomorrow": 1}} | {"spec": body["spec"] | {"tomorrow": 1}}
        _BY_KIND[body["kind"]].model_validate(newer)


def test_a_policy_says_by_default_what_suits_a_wedding() -> None:
    spec = WeddingBackupPolicy.model_validate(objects.policy()).spec
    assert (spec.redundancy.copies, spec.redundancy.quorum) == (3, 2)
    assert spec.wedding.days == 1
    assert spec.continuous is Continuous.NEVER
    assert spec.worker.deadline == timedelta(hours=6)
    assert spec.schedule.cron is None


def test_values_cannot_be_changed() -> None:
    job = BackupJob.model_validate(objects.backup_job())
    with pytest.raises(ValidationError):
        job.spec.cancel = True  # type: ignore[misc]


def test_moments_are_held_in_utc() -> None:
    summer = NOW.astimezone(timezone(timedelta(hours=2)))
    condition = Condition(
        type="Ready",
        status=ConditionStatus.TRUE,
        last_transition_time=summer,
        reason="Completed",
    )
    assert condition.dump()["lastTransitionTime"] == "2026-11-23T20:00:00Z"


def test_a_moment_needs_its_offset() -> None:
    naive = {"type": "Ready", "status": "True", "reason": "R"}
    with pytest.raises(ValidationError):
        Condition.model_validate(naive | {"lastTransitionTime": "2026-11-23T20:00:00"})


@pytest.mark.parametrize(
    "moment",
    [
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
        *("1970-01-01T00:00:00+00:01", "2999-12-31T23:59:59-00:01", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_moment_that_no_sum_can_be_made_with_is_no_moment(moment: str) -> None:
    body = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": moment}
    with pytest.raises(ValidationError):
        Condition.model_validate(body)


class TestTables:
    def test_a_schema_is_called_so_outside(self) -> None:
        table = Table.model_validate({"schema": "archive", "name": "t", "match": {"a": "b"}})
        assert table.schema_name == "archive"
        assert table.dump() == {"schema": "archive", "name": "t", "match": {"a": "b"}}

    @pytest.mark.parametrize(
        "choice", [{}, {"match": {"a": "b"}, "via": {"table": "o", "foreignKey": "k"}}]
    )
    def test_exactly_one_way(self, choice: objects.Object) -> None:
        with pytest.raises(ValidationError, match="write exactly one of: match, via"):
            Table.model_validate({"name": "t"} | choice)


def test_a_task_survives_its_journey() -> None:
    task = BackupTask(
        job=ObjectRef(namespace="n", name="j", uid="u"),
        scheduled_at=NOW,
        vault=VaultRef(id="00", prefix="p"),
        broker=BrokerAccess(url="https://b", authorities="PEM"),
        locations=["l"],
        quorum=2,
        sources=[
            SourceTask(name="s", data_class=DataClass.GUESTS, volume=VolumeSource(path="/data/s"))
        ],
    )
    assert BackupTask.model_validate_json(task.to_json()) == task


def test_a_report_survives_its_journey() -> None:
    report = BackupReport(
        started_at=NOW,
        finished_at=NOW,
        locations=[LocationReport.model_validate({"name": "l", "phase": "Lagging"})],
    )
    assert BackupReport.model_validate_json(report.to_json()) == report


def test_progress_is_told_from_other_lines_of_the_log() -> None:
    line = ProgressLine(bytes_done=1)
    assert line.dump() == {"event": "progress", "bytesDone": 1, "locations": {}}
    with pytest.raises(ValidationError):
        ProgressLine.model_validate({"event": "started", "bytesDone": 1})


def test_data_classes_stand_in_the_order_of_recovery() -> None:
    assert [str(each) for each in DataClass] == [
        *("Timeline", "Guests", "Contracts", "Messages", "Portfolio", "Other")
    ]


class TestClaims:
    """A report that a status could not repeat is no report: it would be written for ever in vain."""

    @pytest.mark.parametrize(
        "claim",
        [
            {"sha256": "../../etc/passwd"},
            {"manifest": "m" * 513},
            {"locations": [{"name": "l", "phase": "Committed", "bytes": -1}]},
            {"locations": [{"name": "l", "phase": "Committed", "seconds": "NaN"}]},
            {"locations": [{"name": "l", "phase": "Perfect"}]},
            {"sources": [{"name": "s", "dataClass": "Other", "bytes": 2**63}]},
            {"sources": [{"name": f"s{n}", "dataClass": "Other"} for n in range(17)]},
            {"error": {"code": "rm -rf", "message": ""}},
            {"finishedAt": "9999-12-31T23:59:59-14:00"},
        ],
    )
    def test_out_of_bounds(self, claim: objects.Object) -> None:
        times = {"startedAt": "2026-11-23T20:00:00Z", "finishedAt": "2026-11-23T20:00:00Z"}
        BackupReport.model_validate(times)
        with pytest.raises(ValidationError):
            BackupReport.model_validate(times | claim)
