from typing import Any

import pytest

from weddingbackup.controller import handlers
from weddingbackup.kube.client import REQUESTS
from weddingbackup.resources.recovery_request import Phase


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        ({}, [30]),
        ({"phase": Phase.PLANNING}, [30]),
        ({"phase": Phase.RECOVERING}, [1]),
        ({"phase": Phase.COMPLETED}, []),
        ({"phase": Phase.FAILED}, []),
    ],
)
def test_a_recovery_is_looked_at_as_often_as_it_can_move(
    status: dict[str, Any], seconds: list[float]
) -> None:
    reconciler: Any = handlers.Reconciler.__new__(handlers.Reconciler)
    timers: list[Any] = [
        handler
        for handler in handlers.register(reconciler)._spawning.get_all_handlers()
        if handler.selector is not None and handler.selector.any_name == REQUESTS.plural
    ]
    assert [timer.interval for timer in timers if timer.when(status=status)] == seconds


@pytest.mark.parametrize(
    ("reason", "looked_at"),
    [("CatchingUp", True), ("LocationGone", False), ("AllLocationsCommitted", False)],
)
def test_a_backup_that_waits_for_nobody_is_left_alone(reason: str, *, looked_at: bool) -> None:
    held = "True" if reason == "AllLocationsCommitted" else "False"
    condition = {"type": "Replicated", "status": held, "reason": reason}
    status = {"phase": "Completed", "conditions": [condition]}
    assert handlers._is_waiting(status=status) is looked_at
    # Somebody may register the location again.
    assert handlers._is_behind(status) is (held == "False")
