"""Conditions, in the way that kubectl wait, kstatus, Argo CD and Flux read them.

Every kind has the same three: `Ready`, and where it is not True either `Reconciling` (under way, wait)
or `Stalled` (it will not proceed by itself, act). Other conditions are each kind's own.
See https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeVar

from weddingbackup.resources.base import Condition, ConditionStatus
from weddingbackup.resources.kind import KindStatus

_MESSAGE_LIMIT = 4096

AnyStatus = TypeVar("AnyStatus", bound=KindStatus)


class State(Enum):
    """Where an object is on its way to what its spec asks for."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is so with one aspect of an object, and why.

    Attributes:
        status: None where it could not be found out (Unknown).
        reason: one CamelCase word.
        message: for people: what is so, and what to do where they must do something.
    """

    type: str
    status: bool | None
    reason: str
    message: str = ""


def summary(state: State, reason: str, message: str = "") -> list[Verdict]:
    """The three conditions that every object has; exactly one of them is True."""
    return [
        Verdict(each.value, state is each, reason, message if state is each else "")
        if each is not State.READY
        else Verdict("Ready", state is State.READY, reason, message)
        for each in State
    ]


def merge(
    old: Sequence[Condition], verdicts: Iterable[Verdict], *, generation: int, now: datetime
) -> list[Condition]:
    """The conditions that say these verdicts; one that no verdict speaks of is dropped.

    The transition time moves only when the status does, so that deciding the same again writes nothing.
    """
    before = {condition.type: condition for condition in old}
    return [
        _condition(verdict, before.get(verdict.type), generation, now.replace(microsecond=0))
        for verdict in verdicts
    ]


def stalled(
    status: AnyStatus, reason: str, message: str, *, generation: int, now: datetime
) -> AnyStatus:
    """The status with only this new in it: that the object does not proceed, and why."""
    verdicts = summary(State.STALLED, reason, message)
    spoken_of = {verdict.type for verdict in verdicts}
    others = [condition for condition in status.conditions if condition.type not in spoken_of]
    told = merge(status.conditions, verdicts, generation=generation, now=now)
    return status.model_copy(
        update={"message": message[:_MESSAGE_LIMIT], "conditions": [*told, *others]}
    )


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of this type; None where it was never set."""
    return next((condition for condition in conditions if condition.type == kind), None)


def _condition(
    verdict: Verdict, before: Condition | None, generation: int, now: datetime
) -> Condition:
    status = _STATUS[verdict.status]
    changed = before is None or before.status is not status
    return Condition(
        type=verdict.type,
        status=status,
        observed_generation=generation,
        last_transition_time=now if changed or before is None else before.last_transition_time,
        reason=verdict.reason,
        message=verdict.message[:_MESSAGE_LIMIT],
    )


_STATUS = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}
