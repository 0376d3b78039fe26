from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, metadata
from weddingbackup.resources.backup_database import BackupDatabase
from weddingbackup.resources.base import ConditionStatus
from weddingbackup.resources.common import Table
from weddingbackup.rules.conditions import find
from weddingbackup.rules.databases import described, fence, judge
from weddingbackup.rules.workload import Problem

LABEL = "wedsync.io/vendor-id"
WEDDINGS = {"name": "weddings", "owner": {"column": "vendor_id", "namespaceLabel": LABEL}}
GUESTS = {"name": "guests", "via": {"table": "weddings", "foreignKey": "wedding_id"}}
EVENTS = {"name": "events", "via": {"table": "weddings", "foreignKey": "wedding_id"}}
NOTES = {"name": "notes", "via": {"table": "events", "foreignKey": "event_id"}}


def database(*tables: dict[str, Any], **spec: Any) -> BackupDatabase:
    return BackupDatabase.model_validate(
        {
            "metadata": metadata("platform", namespace=None),
            "spec": {
                "connectionSecretRef": {"name": "platform"},
                "allowedNamespaces": {"matchLabels": {"kind": "vendor"}},
                "tables": [*tables] or [WEDDINGS, GUESTS, EVENTS, NOTES],
                **spec,
            },
        }
    )


def wanted(*names: str, schema: str = "public") -> list[Table]:
    return [Table(schema_name=schema, name=name, match={"w": "w"}) for name in names]


def asked(
    *names: str, labels: Mapping[str, str] | None = None, schema: str = "public", **more: Any
) -> list[Table] | Problem:
    given_ = {"kind": "vendor", LABEL: "7"} if labels is None else labels
    return fence(more.get("of") or database(), "bella", given_, wanted(*names, schema=schema))


def problem(found: list[Table] | Problem) -> Problem:
    assert isinstance(found, Problem)
    return found


def test_a_table_brings_those_that_say_whose_its_rows_are() -> None:
    found = asked("notes")
    assert isinstance(found, list)
    assert {table.name: (table.match, table.via and table.via.table) for table in found} == {
        "notes": (None, "events"),
        "events": (None, "weddings"),
        "weddings": ({"vendor_id": "7"}, None),
    }


def test_what_a_policy_says_of_a_table_is_not_listened_to() -> None:
    found = fence(
        database(),
        "bella",
        {"kind": "vendor", LABEL: "7"},
        [Table(name="weddings", match={"vendor_id": "8"})],
    )
    assert isinstance(found, list)
    assert found[0].match == {"vendor_id": "7"}


@pytest.mark.parametrize("labels", [{}, {LABEL: "7"}, {"kind": "venue", LABEL: "7"}])
def test_a_namespace_that_is_not_chosen_is_not_served(labels: dict[str, str]) -> None:
    found = problem(asked("guests", labels=labels))
    assert found.reason == "DatabaseNotAllowed"
    assert "does not serve namespace bella: an administrator labels the namespace" in found.message


@pytest.mark.parametrize("labels", [{"kind": "vendor"}, {"kind": "vendor", LABEL: ""}])
def test_without_the_label_there_are_no_rows(labels: dict[str, str]) -> None:
    found = problem(asked("notes", labels=labels))
    assert found.reason == "NamespaceLabelMissing"
    assert f"Namespace bella has no label {LABEL} with a value" in found.message


@pytest.mark.parametrize(
    ("name", "schema"), [("vendors", "public"), ("guests", "private"), ("Guests", "public")]
)
def test_a_table_that_is_not_listed_is_not_shared(name: str, schema: str) -> None:
    found = problem(asked(name, schema=schema))
    assert found.reason == "TableNotShared"
    assert f"does not share table {schema}.{name}; it shares public.events" in found.message


@given(
    names=st.lists(st.sampled_from(["weddings", "guests", "events", "notes"]), min_size=1),
    vendor=st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True),
)
def test_every_fence_ends_at_the_namespaces_own_label(names: list[str], vendor: str) -> None:
    found = asked(*names, labels={"kind": "vendor", LABEL: vendor})
    assert isinstance(found, list)
    by_name = {table.name: table for table in found}
    assert len(by_name) == len(found)
    for name in names:
        table = by_name[name]
        while table.via is not None:
            table = by_name[table.via.table]
        assert table.match == {"vendor_id": vendor}


def test_a_probe_looks_at_all_tables_and_owners() -> None:
    assert [(table.name, table.match) for table in described(database())][:2] == [
        ("weddings", {"vendor_id": ""}),
        ("guests", None),
    ]


@pytest.mark.parametrize(
    ("met", "passing", "state"),
    [
        (None, False, "Ready"),
        (Problem("DatabaseUnavailable", "away"), True, "Reconciling"),
        (Problem("DatabaseRefused", "no table"), False, "Stalled"),
    ],
)
def test_a_probe_is_told(met: Problem | None, *, passing: bool, state: str) -> None:
    status = judge(database(), met, passing=passing, now=NOON)
    condition = find(status.conditions, state)
    assert condition is not None
    assert condition.status is ConditionStatus.TRUE
    assert condition.reason == (met.reason if met else "ProbeSucceeded")
    again = judge(database().model_copy(update={"status": status}), met, passing=passing, now=NOON)
    assert again == status
