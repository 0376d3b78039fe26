"""What may change once it is stored: tried by patches on stored objects."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import objects
from tests.integration.resources.conftest import ApiServer
from tests.objects import Object

pytestmark = pytest.mark.integration

MOMENT = "2026-12-05T13:30:00Z"
FULL_JOB = objects.backup_job(reason="Scheduled", scheduledAt=MOMENT)
FULL_REQUEST = objects.recovery_request(
    pointInTime=MOMENT,
    urgency="Critical",
    sources=["portfolio"],
    targets=[{"source": "portfolio", "volume": {"claimName": "new"}}],
    privilege="App",
)
CHANGES: list[tuple[Object, dict[str, Any]]] = [
    (FULL_JOB, {"policyRef": {"name": "another"}}),
    (FULL_JOB, {"reason": "Emergency"}),
    (FULL_JOB, {"scheduledAt": "2026-12-06T13:30:00Z"}),
    (FULL_JOB, {"scheduledAt": None}),
    (objects.backup_job(), {"scheduledAt": MOMENT}),
    (FULL_REQUEST, {"policyRef": {"name": "another"}}),
    (FULL_REQUEST, {"pointInTime": "2026-12-06T13:30:00Z"}),
    (FULL_REQUEST, {"pointInTime": None}),
    (objects.recovery_request(), {"backupJobRef": {"name": "b"}}),
    (FULL_REQUEST, {"urgency": "Emergency"}),
    (FULL_REQUEST, {"sources": ["portfolio", "planning"]}),
    (FULL_REQUEST, {"targets": [{"source": "portfolio", "volume": {"claimName": "old"}}]}),
    (FULL_REQUEST, {"targets": None}),
    (FULL_REQUEST, {"privilege": "Root"}),
    (objects.recovery_request(), {"privilege": "Root"}),
]


@pytest.mark.parametrize(("order", "change"), CHANGES)
def test_an_order_cannot_change(own_api: ApiServer, order: Object, change: dict[str, Any]) -> None:
    own_api.create(order)
    refusal = own_api.refused_change(order, {"spec": change})
    assert f"make a new {order['kind']} instead" in refusal


@pytest.mark.parametrize(
    "order",
    [FULL_JOB, FULL_REQUEST, objects.backup_job(), objects.recovery_request()],
    ids=["job", "request", "smallest job", "smallest request"],
)
class TestCancel:
    def test_an_order_can_be_cancelled(self, own_api: ApiServer, order: Object) -> None:
        own_api.create(order)
        changed = own_api.change(order, {"spec": {"cancel": True}})
        assert changed["spec"]["cancel"] is True

    def test_a_cancelled_order_stays_so(self, own_api: ApiServer, order: Object) -> None:
        cancelled = objects.with_(order, "spec.cancel", value=True)
        own_api.create(cancelled)
        refusal = own_api.refused_change(cancelled, {"spec": {"cancel": False}})
        assert f"a cancelled {order['kind']} stays so: make a new {order['kind']}" in refusal

    def test_cancelling_changes_nothing_else(self, own_api: ApiServer, order: Object) -> None:
        own_api.create(order)
        both = {"spec": {"cancel": True, "policyRef": {"name": "another"}}}
        assert "cannot change" in own_api.refused_change(order, both)


def test_labels_of_an_order_may_change(own_api: ApiServer) -> None:
    own_api.create(FULL_JOB)
    own_api.change(FULL_JOB, {"metadata": {"labels": {"seen": "yes"}}})


class TestPolicy:
    def test_another_wedding_is_another_policy(self, own_api: ApiServer) -> None:
        policy = objects.policy()
        own_api.create(policy)
        refusal = own_api.refused_change(policy, {"spec": {"wedding": {"id": "w-2"}}})
        assert "make a new policy for another wedding" in refusal

    def test_a_wedding_can_be_moved_and_cancelled(self, own_api: ApiServer) -> None:
        policy = objects.policy()
        own_api.create(policy)
        moved = {"date": "2027-05-01", "timeZone": "Europe/Paris", "cancelled": True}
        assert own_api.change(policy, {"spec": {"wedding": moved}})["metadata"]["generation"] == 2


class TestLocation:
    @pytest.fixture
    def location(self, own_api: ApiServer) -> Iterator[Object]:
        body = objects.location(name=own_api.namespace, prefix="weddings")
        own_api.create(body)
        yield body
        own_api.delete(body)

    @pytest.mark.parametrize(
        "change", [{"bucket": "other"}, {"provider": "GCS"}, {"prefix": "other"}, {"prefix": None}]
    )
    def test_where_it_is_cannot_change(
        self, own_api: ApiServer, location: Object, change: dict[str, Any]
    ) -> None:
        refusal = own_api.refused_change(location, {"spec": change})
        assert "cannot change: register another location" in refusal

    def test_how_it_is_reached_can(self, own_api: ApiServer, location: Object) -> None:
        own_api.change(
            location,
            {
                "spec": {
                    "endpoint": "https://private.example.com",
                    "credentialsSecretRef": {"name": "rotated"},
                    "accessMode": "ReadOnly",
                }
            },
        )
