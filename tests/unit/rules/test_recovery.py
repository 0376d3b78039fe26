from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.rules.facts import NOON, policy, request
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.common import DataClass, Reported, VaultStatus
from weddingbackup.resources.recovery_request import Phase, RecoveryRequest, SourcePhase, Status
from weddingbackup.resources.reports import ErrorReport, RestoreReport
from weddingbackup.rules import recovery
from weddingbackup.rules.choice import RecoveryPoint
from weddingbackup.rules.conditions import find
from weddingbackup.rules.points import Standing
from weddingbackup.rules.recovery import plan
from weddingbackup.rules.workload import Problem, Workload

SHA = "ab" * 32


POINT = RecoveryPoint("m", SHA, "job", NOON, {"p": DataClass.PORTFOLIO}, Standing.COMMITTED)


class TestPlan:
    def test_sources_come_back_in_the_order_of_recovery(self) -> None:
        available = {"z": DataClass.TIMELINE, "p": DataClass.PORTFOLIO, "g": DataClass.GUESTS}
        targets = [{"source": name, "volume": {"claimName": "c"}} for name in ("z", "g")]
        restores = plan(request(targets=targets), policy(), available)
        assert not isinstance(restores, Problem)
        assert [restore.name for restore in restores] == ["z", "g", "p"]
        assert restores[2].target is None
        assert restores[0].source is None

    @pytest.mark.parametrize(
        ("spec", "available", "reason"),
        [
            ({"sources": ["x"]}, {"p": "Portfolio"}, "SourceNotInPoint"),
            ({}, {"p": "Portfolio", "old": "Guests"}, "NoPlaceForSource"),
            (
                {"targets": [{"source": "x", "volume": {"claimName": "c"}}]},
                {"p": "Portfolio"},
                "SourceNotInPoint",
            ),
        ],
    )
    def test_what_cannot_be_put_back_is_said(
        self, spec: dict[str, Any], available: dict[str, str], reason: str
    ) -> None:
        sources = {name: DataClass(kind) for name, kind in available.items()}
        problem = plan(request(**spec), policy(), sources)
        assert isinstance(problem, Problem)
        assert problem.reason == reason


def pinned(*names: str, **spec: Any) -> RecoveryRequest:
    """A request in phase Recovering."""
    order = request(**spec)
    sources = dict.fromkeys(names, DataClass.PORTFOLIO)
    restores = [recovery.Restore(name, kind, None, None) for name, kind in sources.items()]
    status = recovery.planned(
        order,
        replace(POINT, sources=sources),
        restores,
        vault=VaultStatus(id="v", prefix="x"),
        locations=["b", "a"],
        now=NOON,
    )
    return order.model_copy(update={"status": status})


def done(source: str, **more: Any) -> Workload:
    report = RestoreReport.model_validate(
        {
            "source": source,
            "files": 3,
            "bytes": 9,
            "seconds": 1,
            "locations": {"a": 5, "b": 4},
            **more,
        }
    )
    return Workload(finished=True, succeeded=report.error is None, message=report.to_json())


ERROR = ErrorReport(code="VolumeFull", message="no space left")


def step(order: RecoveryRequest, seconds: int = 20, **workloads: Workload | None) -> Status:
    known = {row.name: workloads.get(row.name) for row in order.status.sources}
    return recovery.assess(order, known, now=NOON + timedelta(seconds=seconds))


class TestProgress:
    def test_the_point_is_pinned_before_anything_runs(self) -> None:
        status = pinned("p", urgency="Emergency").status
        assert status.phase is Phase.RECOVERING
        assert status.point is not None
        assert (status.point.manifest, status.point.sha256) == ("m", SHA)
        assert status.recovered_to == NOON
        assert status.objective_seconds == 30
        assert status.vault is not None
        assert (status.vault.id, [row.name for row in status.locations]) == ("v", ["a", "b"])

    def test_a_source_shows_how_far_it_is(self) -> None:
        order = pinned("p")
        told = {"p": Reported(at=NOON, bytes_done=30, bytes_total=120, files=2)}
        told |= {"x": told["p"]}
        reported = order.status.model_copy(update={"reported": told})
        order = order.model_copy(update={"status": reported})
        status = recovery.assess(order, {"p": Workload()}, now=NOON)
        [row] = status.sources
        assert (row.phase, row.percent, row.bytes, row.files) == (SourcePhase.RUNNING, 25, 30, 2)

    def test_all_sources_back_is_completed_and_measured_from_the_requests_creation(self) -> None:
        status = step(pinned("p", "q"), p=done("p"), q=done("q"))
        assert status.phase is Phase.COMPLETED
        ready = find(status.conditions, "Ready")
        assert ready is not None
        assert ready.status is ConditionStatus.TRUE
        assert status.elapsed_seconds == 3620
        assert status.objective_met is False
        assert {row.name: row.bytes for row in status.locations} == {"a": 10, "b": 8}
        assert status.locations_used == 2

    def test_what_was_kept_is_told_beside_what_is_back(self) -> None:
        [row] = step(pinned("p"), p=done("p", keptFiles=2, keptBytes=7)).sources
        assert (row.files, row.bytes, row.kept_files, row.kept_bytes) == (3, 9, 2, 7)

    def test_damage_that_was_met_is_told_a_location(self) -> None:
        met = [("a", "packs/1"), ("b", "packs/1"), ("a", "packs/2")]
        damaged = [{"location": location, "object": name} for location, name in met]
        [row] = step(pinned("p"), p=done("p", damaged=damaged)).sources
        assert row.phase is SourcePhase.COMPLETED
        assert [text.split(" objects")[0] for text in row.warnings] == [
            "a: at least 2",
            "b: at least 1",
        ]
        assert "packs/1" in row.warnings[0]

    def test_no_other_location_than_was_planned_is_counted_whatever_a_worker_claims(self) -> None:
        status = step(pinned("p"), p=done("p", locations={"a": 2**63 - 1, "evil": 4}))
        assert {row.name: row.bytes for row in status.locations} == {"a": 2**63 - 1, "b": 0}
        assert status.locations_used == 1

    def test_bytes_are_counted_once_however_often_it_is_looked_at(self) -> None:
        order = pinned("p", "q")
        half = step(order, p=done("p"), q=Workload())
        assert half.phase is Phase.RECOVERING
        order = order.model_copy(update={"status": half})
        assert step(order, p=done("p"), q=Workload()) == half
        whole = step(order, p=done("p"), q=done("q"))
        assert {row.name: row.bytes for row in whole.locations} == {"a": 10, "b": 8}

    def test_what_is_back_stays_back_when_its_job_is_cleaned_away(self) -> None:
        order = pinned("p", "q")
        order = order.model_copy(update={"status": step(order, p=done("p"), q=Workload())})
        assert step(order, p=None, q=done("q")).phase is Phase.COMPLETED

    def test_some_back_and_some_not_is_told_apart_from_none(self) -> None:
        bad = done("q", error=ERROR)
        some = step(pinned("p", "q"), p=done("p"), q=bad)
        none = step(pinned("q"), q=bad)
        assert (some.phase, none.phase) == (Phase.PARTIALLY_FAILED, Phase.FAILED)
        for status in (some, none):
            assert "no space left" in (status.message or "")
            failed = find(status.conditions, "Failed")
            assert failed is not None
            assert failed.status is ConditionStatus.TRUE
            assert status.objective_met is False

    def test_a_worker_that_died_without_a_word(self) -> None:
        dead = Workload(finished=True, message="segfault")
        assert "segfault" in (step(pinned("p"), p=dead).message or "")

    @pytest.mark.parametrize("left", [None, Workload(finished=True, succeeded=True)])
    def test_a_restore_whose_result_is_lost_is_not_repeated(self, left: Workload | None) -> None:
        order = pinned("p", "q")
        begun = recovery.made(step(order, p=Workload(), q=Workload()), {"p": "1", "q": "2"})
        order = order.model_copy(update={"status": begun})
        half = step(order, p=left, q=Workload())
        assert half.phase is Phase.RECOVERING
        assert [row.phase for row in half.sources] == [SourcePhase.FAILED, SourcePhase.RUNNING]
        order = order.model_copy(update={"status": half})
        ended = step(order, q=done("q"))
        failed = find(ended.conditions, "Failed")
        assert failed is not None
        assert (ended.phase, failed.reason) == (Phase.PARTIALLY_FAILED, "ResultUnknown")
        assert "new RecoveryRequest" in (ended.message or "")

    def test_a_job_that_was_never_made_is_awaited(self) -> None:
        status = step(pinned("p"), p=None)
        assert (status.phase, status.sources[0].phase) == (Phase.RECOVERING, SourcePhase.PENDING)

    def test_what_holds_it_up_is_said(self) -> None:
        stuck = Workload(problem=Problem("MountFailed", "no claim"))
        status = step(pinned("p"), p=stuck)
        assert (status.phase, status.message) == (Phase.RECOVERING, "no claim")

    def test_cancelled_and_failed_are_the_end(self) -> None:
        cancelled = recovery.cancelled(pinned("p"), now=NOON)
        failed = recovery.failed(request(), Problem("NoVault", "none"), now=NOON)
        assert (cancelled.phase, failed.phase) == (Phase.CANCELLED, Phase.FAILED)
        assert {cancelled.phase, failed.phase} <= recovery.ENDED

    def test_no_row_is_left_open_at_the_end(self) -> None:
        order = pinned("p", "q", "r")
        half = step(order, p=done("p"), q=Workload())
        order = order.model_copy(update={"status": half})
        problem = Problem("PolicyNotFound", "it is gone")
        for status in (
            recovery.cancelled(order, now=NOON),
            recovery.failed(order, problem, now=NOON),
        ):
            assert [row.phase for row in status.sources] == ["Completed", "Failed", "Failed"]
            ready = find(status.conditions, "Ready")
            assert ready is not None
            assert status.sources[1].reason == ready.reason
        assert status.phase is Phase.PARTIALLY_FAILED


def test_another_namespaces_sources_go_only_where_a_target_says() -> None:
    elsewhere = {"policyRef": {"name": "wedding", "namespace": "elsewhere"}}
    theirs = policy().metadata.model_copy(update={"namespace": "elsewhere"})
    foreign = policy().model_copy(update={"metadata": theirs})
    problem = plan(request(**elsewhere), foreign, {"p": DataClass.PORTFOLIO})
    assert isinstance(problem, Problem)
    assert problem.reason == "NoPlaceForSource"
    target = {"source": "p", "volume": {"claimName": "mine"}}
    restores = plan(request(targets=[target], **elsewhere), foreign, {"p": DataClass.PORTFOLIO})
    assert not isinstance(restores, Problem)
    assert [restore.source for restore in restores] == [None]
