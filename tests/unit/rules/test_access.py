from typing import Any

import pytest

from tests.unit.rules.facts import location, policy
from weddingbackup.resources.wedding_backup_policy import Grant, WeddingBackupPolicy
from weddingbackup.rules.access import (
    allowed_namespaces,
    granted,
    grants,
    is_grant_pending,
    may_recover,
)


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
    mine = named("planner", planner="1")
    assert may_recover(mine, "home", "0")
    assert may_recover(mine, "planner", "1")
    assert not may_recover(mine, "rival", "1")
    assert not may_recover(policy(), "planner", "1")


def named(*names: str, **seen: str) -> WeddingBackupPolicy:
    rows = [{"namespace": name, "uid": uid} for name, uid in seen.items()]
    return policy(recovery={"allowedNamespaces": list(names)}, status={"grants": rows})


def test_a_name_alone_grants_nothing() -> None:
    assert not may_recover(named("planner"), "planner", "1")
    assert not may_recover(named("planner", planner="1"), "planner", "2")
    assert not may_recover(named(planner="1"), "planner", "1")


def test_a_grant_is_pending_until_the_status_has_the_name_under_whatever_uid() -> None:
    assert is_grant_pending(named("planner"), "planner")
    assert is_grant_pending(named("planner", "rival", rival="1"), "planner")
    assert not is_grant_pending(named("planner", planner="1"), "planner")
    assert not is_grant_pending(named("planner"), "rival")
    assert not is_grant_pending(policy(), "planner")


def test_a_grant_keeps_the_uid_that_it_was_first_seen_with() -> None:
    first = Grant(namespace="planner", uid="1")
    assert grants(named("planner", "later"), {"planner": "1"}) == [first]
    assert grants(named("planner", planner="1"), {"planner": "2"}) == [first]
    assert grants(named("planner", planner="1"), {}) == [first]


def test_a_grant_is_anew_once_its_name_was_taken_out() -> None:
    assert grants(named(planner="1"), {}) == []
    assert grants(named("planner"), {"planner": "2"}) == [Grant(namespace="planner", uid="2")]


@pytest.mark.parametrize(
    ("mine", "uids", "told"),
    [
        (named(), {}, []),
        (named("planner"), {"planner": "1"}, [(True, "Granted")]),
        (named("planner"), {}, [(False, "NamespaceNotFound")]),
        (named("planner", planner="1"), {"planner": "2"}, [(False, "NamespaceReplaced")]),
    ],
)
def test_it_is_told_who_is_refused(
    mine: WeddingBackupPolicy, uids: dict[str, str], told: list[tuple[bool, str]]
) -> None:
    verdicts = granted(mine, grants(mine, uids), uids)
    assert [(verdict.status, verdict.reason) for verdict in verdicts] == told
