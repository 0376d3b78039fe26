from datetime import timedelta

import pytest

from tests.unit.rules.facts import NOON
from weddingbackup.controller.locations import Watch, _finding
from weddingbackup.rules.locations import Fault
from weddingbackup.stores.api import Capabilities, Probe
from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)


def probe(error: Exception | None = None, *, create_only: bool = True) -> Probe:
    return Probe(
        reachable=error is None,
        writable=error is None,
        latency_seconds=None if error else 0.0123,
        capabilities=None if error else Capabilities(create_only, True, False, False),
        message=str(error or ""),
        error=error,
    )


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (TransientError, Fault.UNREACHABLE),
        (DeniedError, Fault.DENIED),
        (MissingError, Fault.MISSING),
        (UnsupportedError, Fault.MISCONFIGURED),
        (CorruptError, Fault.OTHER),
    ],
)
def test_an_error_of_the_probe_is_told_by_its_type(kind: type[StoreError], fault: Fault) -> None:
    found = _finding(probe(kind("it says", location="a")), readable=False, failures=2)
    assert (found.fault, found.message, found.failures) == (fault, "it says", 2)
    assert found.capabilities is None


def test_a_location_that_lets_objects_be_overwritten_is_refused() -> None:
    found = _finding(probe(create_only=False), readable=True, failures=1)
    assert found.fault is Fault.OVERWRITES
    assert found.capabilities is not None
    assert not found.capabilities.create_only


def test_a_good_probe_starts_the_count_anew() -> None:
    found = _finding(probe(), readable=True, failures=3)
    assert (found.fault, found.failures, found.latency_milliseconds) == (Fault.NONE, 0, 12)


def test_a_location_is_looked_at_when_its_probe_is_due_or_its_spec_was_edited() -> None:
    assert Watch().is_due(1, NOON)
    watch = Watch(generation=1, due=NOON)
    assert not watch.is_due(1, NOON - timedelta(seconds=1))
    assert watch.is_due(1, NOON)
    assert watch.is_due(2, NOON - timedelta(seconds=1))
