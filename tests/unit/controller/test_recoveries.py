"""What lets a recovery wait before it has its point, and what refuses it at once."""

import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.rules.facts import NOON, policy, request
from weddingbackup.controller import recoveries
from weddingbackup.controller.bulkheads import Bulkheads
from weddingbackup.controller.context import Context
from weddingbackup.kube.client import EVENTS, NAMESPACES, POLICIES, REQUESTS, Object
from weddingbackup.kube.jobs import Platform
from weddingbackup.rules.choice import RecoveryPoint
from weddingbackup.rules.points import CLOCK_SKEW, Standing

OLD, NEW = NOON - timedelta(hours=2), NOON - timedelta(hours=1)


def point(time: datetime, standing: Standing = Standing.COMMITTED) -> RecoveryPoint:
    return RecoveryPoint(f"snapshots/{time:%Y%m%d%H%M%S}", "ab" * 32, "one", time, {}, standing)


@pytest.mark.parametrize(
    ("chosen", "others", "older"),
    [
        (point(NEW), [], False),
        (point(NEW), [point(OLD)], False),
        (point(OLD), [point(NEW)], True),
        (point(OLD), [point(NEW, Standing.POSSIBLE)], False),
        (point(NEW), [point(NOON + timedelta(days=400))], False),
        (point(OLD), [point(NEW), point(NOON + timedelta(days=400))], True),
        (point(NEW), [point(NOON + CLOCK_SKEW)], True),
        (point(NOON + timedelta(days=4)), [point(NOON + timedelta(days=400))], False),
    ],
)
def test_only_what_is_older_than_the_newest_of_the_past_waits_for_a_collection(
    chosen: RecoveryPoint, others: list[RecoveryPoint], *, older: bool
) -> None:
    assert recoveries._is_older(chosen, [chosen, *others], NOON) is older


class Api:
    """A request from the namespace `planner` (UID 1), and the policy that it names."""

    def __init__(self, allowed: list[str], grants: dict[str, str], **status: Any) -> None:
        rows = [{"namespace": name, "uid": uid} for name, uid in grants.items()]
        self.policy = policy(recovery={"allowedNamespaces": allowed}, status={"grants": rows})
        made = request(policyRef={"name": "wedding", "namespace": "home"}, status=status).dump()
        made["metadata"] |= {"namespace": "planner", "resourceVersion": "1"}
        self.request = made

    async def get(self, resource: object, name: str, _namespace: str | None = None) -> Any:
        if resource is NAMESPACES:
            return {"metadata": {"name": name, "uid": "1"}}
        return self.policy.dump() if resource is POLICIES else None

    async def patch(
        self, resource: object, _name: str, _namespace: str, patch: Object, **_: Any
    ) -> Object:
        assert resource is REQUESTS
        self.request = copy.deepcopy(self.request)
        self.request["status"] = {**(self.request.get("status") or {}), **patch["status"]}
        return self.request

    async def create(self, resource: object, body: Object) -> Object:
        assert resource is EVENTS
        return body

    async def reconciled(self) -> tuple[str, str, str]:
        """Phase, reason and message, long after the request was made."""
        cluster: Any = self
        context = Context(
            cluster, Platform("ops", "image", "worker"), Bulkheads(), now=lambda: NOON
        )
        await recoveries.reconcile(context, self.request)
        status = self.request["status"]
        [ready] = [each for each in status["conditions"] if each["type"] == "Ready"]
        return status["phase"], ready["reason"], status["message"]


async def test_who_is_named_waits_until_the_policys_status_has_their_name() -> None:
    api = Api(["planner"], {"rival": "2"})
    for _ in range(2):
        phase, reason, message = await api.reconciled()
        assert (phase, reason) == ("Planning", "GrantPending")
        assert "status.grants" in message
    api.policy = policy(
        recovery={"allowedNamespaces": ["planner"]},
        status={"grants": [{"namespace": "planner", "uid": "1"}]},
    )
    assert (await api.reconciled())[
        1
    ] == "NoVault"  # the grant is there, and goes on to what comes next


async def test_a_recovery_that_has_its_point_waits_for_the_name_likewise() -> None:
    pinned: dict[str, Any] = {
        "phase": "Recovering",
        "vault": {"id": "v", "prefix": "x"},
        "point": {"manifest": "snapshots/m", "sha256": "ab" * 32},
        "sources": [{"name": "p", "dataClass": "Portfolio"}],
    }
    assert (await Api(["planner"], {}, **pinned).reconciled())[:2] == ("Recovering", "GrantPending")
    assert (await Api([], {}, **pinned).reconciled())[:2] == ("Failed", "NotGranted")


@pytest.mark.parametrize(
    ("allowed", "grants"),
    [([], {}), (["rival"], {}), (["planner"], {"planner": "2"}), ([], {"planner": "1"})],
)
async def test_who_is_not_meant_is_refused(allowed: list[str], grants: dict[str, str]) -> None:
    assert (await Api(allowed, grants).reconciled())[:2] == ("Failed", "NotGranted")
