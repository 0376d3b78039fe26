"""Which stage of a recovery may move data: in the classes' order, whatever becomes of the sources."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, request
from tests.unit.rules.test_recovery import ERROR, POINT, done
from weddingbackup.resources.common import DataClass, VaultStatus
from weddingbackup.resources.recovery_request import (
    Phase,
    RecoveryRequest,
    SourcePhase,
    SourceStatus,
    Status,
)
from weddingbackup.rules import recovery, stages
from weddingbackup.rules.recovery import Restore
from weddingbackup.rules.workload import Problem, Workload

RUNS = Workload()
ROWS = st.lists(
    st.builds(
        lambda number, kind, phase: SourceStatus(name=f"s{number}", data_class=kind, phase=phase),
        st.integers(),
        st.sampled_from(DataClass),
        st.sampled_from(SourcePhase),
    ),
    max_size=16,
    unique_by=lambda row: row.name,
)


def status_of(rows: list[SourceStatus]) -> Status:
    return Status(sources=rows, stages=stages.begun([row.data_class for row in rows], NOON))


class TestOrder:
    def test_it_is_that_of_what_the_day_needs(self) -> None:
        given = sorted(DataClass, key=stages.rank)
        assert given == ["Timeline", "Guests", "Contracts", "Messages", "Portfolio", "Other"]

    @given(ROWS)
    def test_one_stage_moves_and_all_that_is_earlier_is_over(
        self, rows: list[SourceStatus]
    ) -> None:
        status, waiting = status_of(rows), stages.waiting(status_of(rows))
        moving = [row for row in rows if row.phase not in stages.OVER and row.name not in waiting]
        assert len({row.data_class for row in moving}) <= 1
        assert bool(moving) == any(row.phase not in stages.OVER for row in rows)
        for row in moving:
            earlier = [x for x in rows if stages.rank(x.data_class) < stages.rank(row.data_class)]
            assert all(x.phase in stages.OVER for x in earlier)
        for row in rows:
            stage = stages.waits_for(status, row.data_class)
            if row.name in waiting:
                assert stage is not None
                assert stages.rank(stage) < stages.rank(row.data_class)

    @given(ROWS, st.data())
    def test_a_gate_that_has_opened_never_closes(
        self, rows: list[SourceStatus], data: st.DataObject
    ) -> None:
        later = [
            row
            if row.phase in stages.OVER
            else row.model_copy(update={"phase": data.draw(st.sampled_from(SourcePhase))})
            for row in rows
        ]
        opened = {x for x in DataClass if stages.waits_for(status_of(rows), x) is None}
        assert opened <= {x for x in DataClass if stages.waits_for(status_of(later), x) is None}

    @given(ROWS)
    def test_a_request_of_a_release_without_stages_waits_for_none(
        self, rows: list[SourceStatus]
    ) -> None:
        assert not stages.waiting(Status(sources=rows))

    def test_each_stage_has_the_deadlines_of_those_before_it(self) -> None:
        rows = [
            SourceStatus(name=kind, data_class=kind)
            for kind in (DataClass.GUESTS, DataClass.PORTFOLIO, DataClass.OTHER)
        ]
        rows.append(rows[0].model_copy(update={"name": "more"}))
        found = [stages.turns(status_of(rows), row.data_class) for row in rows]
        assert found == [1, 2, 3, 1]


def pinned(**classes: DataClass) -> RecoveryRequest:
    """A request that is under way, whose sources have these classes; each has its Job."""
    order = request()
    restores = [Restore(name, kind, None, None) for name, kind in classes.items()]
    status = recovery.planned(
        order,
        POINT,
        sorted(restores, key=lambda x: stages.rank(x.data_class)),
        vault=VaultStatus(id="v", prefix="x"),
        locations=["a"],
        now=NOON,
    )
    made = recovery.made(status, {name: f"uid-{name}" for name in classes})
    return order.model_copy(update={"status": made})


def three() -> RecoveryRequest:
    return pinned(
        planning=DataClass.TIMELINE, guests=DataClass.GUESTS, portfolio=DataClass.PORTFOLIO
    )


def step(order: RecoveryRequest, seconds: int = 0, **workloads: Workload) -> RecoveryRequest:
    """The request after a look at its Jobs: all run but those that are named."""
    known = {row.name: workloads.get(row.name, RUNS) for row in order.status.sources}
    status = recovery.assess(order, known, now=NOON + timedelta(seconds=seconds))
    return order.model_copy(update={"status": status})


def told(order: RecoveryRequest) -> list[tuple[str, str | None]]:
    return [(row.phase, row.message) for row in order.status.sources]


class TestStatus:
    def test_who_waits_says_for_what(self) -> None:
        order = step(three())
        assert told(order) == [
            ("Running", None),
            ("Waiting", "waits for stage Timeline"),
            ("Waiting", "waits for stage Timeline"),
        ]
        assert order.status.message == "Stage Timeline is under way. Guests, Portfolio wait for it."
        assert step(order) == order

    def test_stages_follow_each_other_and_their_times_stay(self) -> None:
        order = step(three(), 5, planning=done("planning"))
        assert told(order)[1:] == [("Running", None), ("Waiting", "waits for stage Guests")]
        order = step(order, 9, guests=done("guests"))
        assert told(order)[2] == ("Running", None)
        assert order.status.message == "Stage Portfolio is under way."
        order = step(order, 60, portfolio=done("portfolio"))
        assert order.status.phase is Phase.COMPLETED
        seconds = {
            stage.data_class: (
                stage.started_at and (stage.started_at - NOON).total_seconds(),
                stage.usable_at and (stage.usable_at - NOON).total_seconds(),
            )
            for stage in order.status.stages
        }
        assert seconds == {"Timeline": (0, 5), "Guests": (5, 9), "Portfolio": (9, 60)}

    def test_what_cannot_come_back_holds_up_nothing(self) -> None:
        order = step(three(), 5, planning=done("planning", error=ERROR))
        assert told(order)[1] == ("Running", None)
        [first, second, third] = order.status.stages
        assert first.usable_at is None
        assert first.message == "Not recovered: planning. Later stages do not wait for it."
        assert (second.started_at is None, third.started_at is None) == (False, True)
        order = step(order, 9, guests=done("guests"), portfolio=done("portfolio"))
        assert order.status.phase is Phase.PARTIALLY_FAILED

    def test_all_sources_of_a_stage_have_to_be_over(self) -> None:
        order = pinned(a=DataClass.TIMELINE, b=DataClass.TIMELINE, c=DataClass.OTHER)
        order = step(order, a=done("a"))
        assert told(order)[1:] == [("Running", None), ("Waiting", "waits for stage Timeline")]
        assert told(step(order, b=done("b")))[2] == ("Running", None)

    def test_what_holds_up_a_worker_that_waits_is_said_too(self) -> None:
        order = step(three(), guests=Workload(problem=Problem("ImagePullFailed", "no such image")))
        assert told(order)[1] == ("Waiting", "waits for stage Timeline; no such image")

    def test_one_stage_is_told_as_ever(self) -> None:
        order = step(pinned(a=DataClass.PORTFOLIO, b=DataClass.PORTFOLIO))
        assert told(order) == [("Running", None)] * 2
        assert order.status.message == "The recovery is under way."


class TestRoom:
    @pytest.mark.parametrize("reason", ["Unschedulable", "PodRefused", "MountFailed"])
    def test_who_waits_gives_way_to_an_earlier_worker_that_finds_no_room(self, reason: str) -> None:
        homeless = Workload(problem=Problem(reason, "no room"))
        status = step(three()).status
        for name, expected in (
            ("planning", {"guests", "portfolio"}),
            ("guests", {"portfolio"}),
            ("portfolio", set()),
        ):
            assert stages.giving_way(status, {name: homeless}) == expected
        status = step(three(), planning=done("planning")).status
        assert stages.giving_way(status, {"guests": homeless}) == {"portfolio"}

    def test_whose_turn_has_come_gives_way_to_nobody(self) -> None:
        homeless = Workload(problem=Problem("Unschedulable", "no room"))
        status = step(pinned(a=DataClass.GUESTS, b=DataClass.GUESTS)).status
        assert not stages.giving_way(status, {"a": homeless})

    def test_who_does_not_wait_gives_way_to_nobody(self) -> None:
        homeless = Workload(problem=Problem("Unschedulable", "no room"))
        over = step(three(), guests=done("guests", error=ERROR)).status
        assert stages.giving_way(over, {"planning": homeless}) == {"portfolio"}
        without = over.model_copy(update={"stages": []})
        assert not stages.giving_way(without, {"planning": homeless})

    @pytest.mark.parametrize(
        "workload",
        [
            RUNS,
            None,
            Workload(problem=Problem("ImagePullFailed", "no such image")),
            Workload(finished=True, problem=Problem("PodRefused", "it was")),
        ],
    )
    def test_nobody_gives_way_for_any_other_trouble(self, workload: Workload | None) -> None:
        assert not stages.giving_way(step(three()).status, {"planning": workload})
