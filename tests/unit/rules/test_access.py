from typing import Any

import pytest

from tests.unit.rules.facts import location, policy
from weddingbackup.rules.access import allowed_namespaces, may_recover


@pytest.mark.parametrize(
    ("selector", "labels", "allowed"),
    [
        (None, {}, True),
        ({}, {}, True),
        ({"matchLabels": {"tier": "gold"}}, {"tier": "gold"}, True),
        ({"matchLabels": {"tier": "gold"}}, {"tier": "tin"}, False),
        ({"matchLabels": {"tier": "gold"}}, {}, False),
    ],
)
def test_a_location_serves_the_namespaces_that_it_chooses(
    selector: Any, labels: dict[str, str], *, allowed: bool
) -> None:
    more = {} if selector is None else {"allowedNamespaces": selector}
    assert allowed_namespaces(location("a", **more), labels) is allowed


def test_a_policy_is_recovered_at_home_and_where_it_says() -> None:
    mine = policy(recovery={"allowedNamespaces": ["planner"]})
    assert may_recover(mine, "home")
    assert may_recover(mine, "planner")
    assert not may_recover(mine, "rival")
    assert not may_recover(policy(), "planner")
