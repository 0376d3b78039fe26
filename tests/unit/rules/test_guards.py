from typing import Any

import pytest

from tests.unit.rules.facts import policy
from weddingbackup.rules import guards


def chart() -> tuple[list[Any], list[Any]]:
    """The chart's policies and their bindings, as far as they are looked at."""
    names = [f"ops-backup-{end}" for end in guards.ADMISSION]
    policies = [{"metadata": {"name": name}, "spec": {"failurePolicy": "Fail"}} for name in names]
    bindings = [
        {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
        for name in names
    ]
    return policies, bindings


def test_the_charts_policies_have_teeth() -> None:
    assert guards.toothless("ops", *chart()) == []


def test_another_installations_policies_are_none_of_ours() -> None:
    assert len(guards.toothless("other", *chart())) == len(guards.ADMISSION)


@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        (0, {"failurePolicy": "Ignore"}, "failurePolicy"),
        (0, {"paramKind": {"kind": "ConfigMap"}}, "paramKind"),
        (1, {"paramRef": {"name": "p"}}, "paramRef"),
        (1, {"validationActions": ["Warn", "Audit"]}, "only has Audit, Warn"),
        (1, {"policyName": "another"}, "is not bound"),
    ],
)
def test_a_policy_without_teeth_is_named(which: int, change: dict[str, Any], said: str) -> None:
    both = chart()
    both[which][0]["spec"].update(change)
    [problem] = guards.toothless("ops", *both)
    assert problem.startswith("ops-backup-worker-pods ")
    assert said in problem


def test_a_policy_that_is_missing_is_named() -> None:
    policies, bindings = chart()
    assert guards.toothless("ops", policies[1:], bindings) == ["worker-pods is missing"]


@pytest.mark.parametrize(
    ("level", "privilege", "wanted"),
    [
        ("restricted", "App", {}),
        ("baseline", "App", {"home": "restricted"}),
        (None, "App", {"home": "restricted"}),
        ("baseline", "Root", {}),
        ("restricted", "Root", {}),
        ("privileged", "Root", {"home": "baseline"}),
    ],
)
def test_namespaces_are_held_to_what_their_workers_keep_to(
    level: str | None, privilege: str, wanted: dict[str, str]
) -> None:
    labels = {} if level is None else {guards.ENFORCE: level}
    there = [{"metadata": {"name": name, "labels": labels}} for name in ("home", "unconcerned")]
    assert guards.lax(there, [policy(worker={"privilege": privilege})]) == wanted
