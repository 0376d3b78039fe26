"""The order of a recovery: what the day needs first comes back first, and nothing takes its bandwidth.

A stage is a data class. All sources' workers start together; those of a later stage move no data until
every source of the earlier ones is over: back, or failed, since what cannot come back must not keep the
rest away for ever. What is over stays over, so a gate that has opened never closes.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from weddingbackup.resources.common import DataClass
from weddingbackup.resources.recovery_request import SourcePhase, SourceStatus, StageStatus, Status
from weddingbackup.rules.workload import Workload

OVER = frozenset({SourcePhase.COMPLETED, SourcePhase.FAILED})
"""A source in one of these phases is done with, for good."""

_ORDER = {data_class: number for number, data_class in enumerate(DataClass)}
_NO_ROOM = frozenset({"Unschedulable", "PodRefused", "MountFailed"})
"""Problems of a pod that another pod of the same request may be the cause of."""


def rank(data_class: DataClass) -> int:
    """The place of a data class in the order of recovery; the smallest comes back first."""
    return _ORDER[data_class]


def moving(rows: Sequence[SourceStatus]) -> DataClass | None:
    """The stage that may move data now: the first that is not over; None where all are."""
    return min((row.data_class for row in rows if row.phase not in OVER), key=rank, default=None)


def waits_for(status: Status, data_class: DataClass) -> DataClass | None:
    """The stage that a source of this class waits for; None where it may move data.

    A request that was planned without stages, by an earlier release, has workers that do not know them.
    """
    now = moving(status.sources) if status.stages else None
    return now if now is not None and rank(now) < rank(data_class) else None


def waiting(status: Status) -> set[str]:
    """The sources that move no data yet."""
    return {
        row.name
        for row in status.sources
        if row.phase not in OVER and waits_for(status, row.data_class) is not None
    }


def giving_way(status: Status, workloads: Mapping[str, Workload | None]) -> set[str]:
    """The waiting sources whose workers may take the room that an earlier one's does not find.

    A worker that waits holds its share of the node, of the quota and of its claims. It has moved nothing,
    so it is taken away at no loss; else those who wait could keep away for ever whom they wait for.
    """
    homeless = [
        rank(row.data_class)
        for row in status.sources
        if row.phase not in OVER
        and (workload := workloads.get(row.name)) is not None
        and not workload.finished
        and workload.problem is not None
        and workload.problem.reason in _NO_ROOM
    ]
    first = min(homeless, default=len(_ORDER))
    held = waiting(status)
    return {row.name for row in status.sources if row.name in held and rank(row.data_class) > first}


def turns(status: Status, data_class: DataClass) -> int:
    """How many stages there are up to and with this one: so many deadlines has its worker.

    The deadline of a Job counts its wait, too, and each earlier stage may take as long as it is allowed.
    """
    if not status.stages:
        return 1
    return len(
        {row.data_class for row in status.sources if rank(row.data_class) <= rank(data_class)}
    )


def begun(classes: Sequence[DataClass], now: datetime) -> list[StageStatus]:
    """The stages of a request that begins."""
    ordered = sorted(set(classes), key=rank)
    return [
        StageStatus(data_class=each, started_at=None if number else now.replace(microsecond=0))
        for number, each in enumerate(ordered)
    ]


def advanced(
    stages: Sequence[StageStatus], rows: Sequence[SourceStatus], now: datetime
) -> list[StageStatus]:
    """The stages as they are with their sources so; times that are written down stay."""
    current = moving(rows)
    return [_advanced(stage, rows, current, now.replace(microsecond=0)) for stage in stages]


def _advanced(
    stage: StageStatus, rows: Sequence[SourceStatus], current: DataClass | None, now: datetime
) -> StageStatus:
    if current is not None and rank(stage.data_class) > rank(current):
        return stage
    changed: dict[str, object] = {"started_at": stage.started_at or now}
    mine = [row for row in rows if row.data_class is stage.data_class]
    if all(row.phase in OVER for row in mine):
        failed = [row.name for row in mine if row.phase is SourcePhase.FAILED]
        if failed:
            changed["message"] = (
                f"Not recovered: {', '.join(failed)}. Later stages do not wait for it."
            )
        else:
            changed["usable_at"] = stage.usable_at or now
    return stage.model_copy(update=changed)


def in_turn(row: SourceStatus, stage: DataClass | None) -> SourceStatus:
    """A source's row, which says so where its worker waits for this stage."""
    if row.phase is not SourcePhase.RUNNING or stage is None:
        return row
    said = f"waits for stage {stage}"
    message = f"{said}; {row.message}" if row.message else said
    return row.model_copy(update={"phase": SourcePhase.WAITING, "message": message[:1024]})


def said(rows: Sequence[SourceStatus]) -> str | None:
    """Which stage is under way, for people; None where there is only one."""
    classes = sorted({row.data_class for row in rows}, key=rank)
    current = moving(rows)
    if current is None or not classes[1:]:
        return None
    later = [each for each in classes if rank(each) > rank(current)]
    waits = f" {', '.join(later)} {'wait' if later[1:] else 'waits'} for it." if later else ""
    return f"Stage {current} is under way.{waits}"
