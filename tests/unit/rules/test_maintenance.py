from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON, backup, location, placed, policy
from weddingbackup.resources.common import CheckLevel
from weddingbackup.resources.reports import (
    CheckedLocation,
    CheckReport,
    CollectReport,
    ErrorReport,
)
from weddingbackup.resources.wedding_backup_policy import Retention, Status, WeddingBackupPolicy
from weddingbackup.rules import maintenance, protection
from weddingbackup.rules.maintenance import (
    AGAIN,
    CHECK_REQUESTED,
    COLLECT_REQUESTED,
    FULL_EVERY,
    PROVIDER_EVERY,
    check_held_back,
    checked,
    collected,
    collection_held_back,
    due_check,
    due_collection,
)
from weddingbackup.rules.policy import Facts, assess
from weddingbackup.rules.times import rfc3339
from weddingbackup.rules.workload import Problem, Workload

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POINT = {"time": rfc3339(NOON - HOUR), "backupJob": "one", "manifest": "snapshots/one"}
HOLDERS = ["a", "b"]


def at(moment: datetime) -> str:
    return rfc3339(moment)


def wedding(annotations: dict[str, str] | None = None, **status: Any) -> WeddingBackupPolicy:
    found = policy(status={"newestPoint": POINT, **status})
    return found.model_copy(
        update={
            "metadata": found.metadata.model_copy(update={"annotations": annotations or {}}),
        }
    )


def rows(*moments: datetime | None) -> list[dict[str, Any]]:
    return [
        {"name": name, **({"verifiedTime": at(moment)} if moment else {})}
        for name, moment in zip(HOLDERS, moments, strict=True)
    ]


def last(ago: timedelta, level: str = "Provider", **more: Any) -> dict[str, Any]:
    return {"time": at(NOON - ago), "level": level, **more}


def due(found: WeddingBackupPolicy, *, founded: timedelta = 30 * DAY) -> CheckLevel | None:
    return due_check(found, HOLDERS, NOON - founded, now=NOON)


def test_without_a_point_there_is_nothing_to_check_or_collect() -> None:
    found = policy()
    assert due(found) is None
    assert not due_collection(found, NOON - 30 * DAY, now=NOON)


def test_a_new_vault_is_first_looked_at_after_a_day_and_read_after_days() -> None:
    assert due(wedding(), founded=PROVIDER_EVERY - HOUR) is None
    assert due(wedding(), founded=PROVIDER_EVERY) is CheckLevel.PROVIDER
    assert due(wedding(), founded=FULL_EVERY) is CheckLevel.FULL


def test_the_copy_that_was_read_longest_ago_asks_for_a_full_check() -> None:
    recent, old = NOON - HOUR, NOON - FULL_EVERY
    checked_then = {"lastCheck": last(2 * HOUR)}
    assert due(wedding(checked=rows(recent, recent), **checked_then)) is None
    assert due(wedding(checked=rows(recent, old), **checked_then)) is CheckLevel.FULL
    assert due(wedding(checked=rows(recent, None), **checked_then)) is CheckLevel.FULL
    assert due(wedding(checked=rows(recent, recent), lastCheck=last(DAY))) is CheckLevel.PROVIDER


def test_a_copy_that_a_full_check_left_unread_is_tried_again_a_day_later() -> None:
    unread = rows(NOON - HOUR, None)
    assert due(wedding(checked=unread, lastCheck=last(2 * HOUR, "Full"))) is None
    assert due(wedding(checked=unread, lastCheck=last(DAY, "Full"))) is CheckLevel.FULL


@pytest.mark.parametrize("level", CheckLevel)
def test_a_check_that_did_not_get_through_is_made_again_after_a_pause(level: CheckLevel) -> None:
    for ago, again in ((AGAIN - timedelta(seconds=1), None), (AGAIN, level)):
        failed = wedding(checked=rows(NOON, NOON), lastCheck=last(ago, level, message="no room"))
        assert due(failed) is again


def test_somebody_asks_for_a_check_and_a_collection_once_each() -> None:
    asked = {CHECK_REQUESTED: at(NOON - HOUR), COLLECT_REQUESTED: at(NOON - HOUR)}
    recent = {"lastCheck": last(2 * HOUR), "lastCollection": {"time": at(NOON - 2 * HOUR)}}
    served = {"lastCheck": last(HOUR / 2), "lastCollection": {"time": at(NOON - HOUR / 2)}}
    assert due(wedding(asked, **recent), founded=HOUR) is CheckLevel.FULL
    assert due(wedding(asked, **served), founded=HOUR) is None
    assert due_collection(wedding(asked, **recent), NOON, now=NOON)
    assert not due_collection(wedding(asked, **served), NOON, now=NOON)


@pytest.mark.parametrize(
    ("done", "pause", "word"),
    [
        (last(timedelta(), "Full"), DAY, "one a day"),
        (last(timedelta(), "Full", message="no room"), AGAIN, "did not get through"),
        (last(timedelta(), "Provider", message="no room"), AGAIN, "did not get through"),
        (last(timedelta(), "Provider"), timedelta(), ""),
    ],
)
def test_full_checks_that_are_asked_for_for_ever_are_made_once_a_day(
    done: dict[str, Any], pause: timedelta, word: str
) -> None:
    read = rows(NOON, NOON)
    for after in (timedelta(), HOUR / 2, 2 * HOUR, DAY - HOUR / 60, DAY):
        now = NOON + after
        found = wedding({CHECK_REQUESTED: at(now)}, checked=read, lastCheck=done)
        told = check_held_back(found, now=now)
        level = due_check(found, HOLDERS, NOON - DAY, now=now)
        assert (told is None, level) == (
            (True, CheckLevel.FULL) if after >= pause else (False, None)
        )
        assert told is None or (word in told and at(NOON + pause) in told)


def test_while_something_is_lost_a_check_may_be_asked_for_each_hour() -> None:
    loss = {"time": at(NOON), "objects": ["packs/x"], "count": 1}
    for after, level in ((HOUR / 2, None), (HOUR, CheckLevel.FULL)):
        now = NOON + after
        found = wedding(
            {CHECK_REQUESTED: at(now)},
            checked=rows(NOON, NOON),
            lastCheck=last(timedelta(), "Full"),
            loss=loss,
        )
        assert due_check(found, HOLDERS, NOON - DAY, now=now) is level


def test_collections_that_are_asked_for_for_ever_are_made_once_an_hour() -> None:
    for more in ({}, {"message": "no room"}):
        done = {"time": at(NOON), **more}
        for after in (timedelta(), HOUR - timedelta(seconds=1), HOUR):
            now = NOON + after
            found = wedding({COLLECT_REQUESTED: at(now)}, lastCollection=done)
            told = collection_held_back(found, now=now)
            assert (told is None) is due_collection(found, NOON, now=now) is (after >= HOUR)
            assert told is None or at(NOON + HOUR) in told


def test_what_nobody_asked_for_is_not_held_back() -> None:
    done = {"lastCheck": last(HOUR / 2, "Full"), "lastCollection": {"time": at(NOON - HOUR / 2)}}
    for asked in ({}, {CHECK_REQUESTED: at(NOON - HOUR), COLLECT_REQUESTED: at(NOON - HOUR)}):
        found = wedding(asked, **done)
        assert check_held_back(found, now=NOON) is None
        assert collection_held_back(found, now=NOON) is None


@pytest.mark.parametrize("text", ["soon", "2026-12-05T11:00:00", at(NOON + HOUR), ""])
def test_what_is_no_moment_that_has_come_asks_for_nothing(text: str) -> None:
    asked = wedding({CHECK_REQUESTED: text, COLLECT_REQUESTED: text})
    assert due(asked, founded=HOUR) is None
    assert not due_collection(asked, NOON - HOUR, now=NOON)


def test_a_vault_is_collected_once_a_day_and_again_after_a_failure() -> None:
    def collect(**status: Any) -> bool:
        return due_collection(wedding(**status), NOON - DAY, now=NOON)

    assert collect()
    assert not due_collection(wedding(), NOON - HOUR, now=NOON)
    assert collect(lastCollection={"time": at(NOON - DAY)})
    assert not collect(lastCollection={"time": at(NOON - 2 * HOUR)})
    assert collect(lastCollection={"time": at(NOON - AGAIN), "message": "x"})


BEGUN = NOON - HOUR
GOOD = CheckReport(locations=[CheckedLocation(name="a", objects=9), CheckedLocation(name="b")])


def take(
    report: CheckReport | None, level: CheckLevel = CheckLevel.FULL, before: Status | None = None
) -> Status:
    workload = Workload(
        finished=True,
        succeeded=True,
        finished_at=NOON,
        message=report.to_json() if report else "Killed",
        problem=None if report else Problem("OOMKilled", "no memory"),
    )
    return checked(
        before or Status(), level, workload, begun=BEGUN, registered=HOLDERS, now=NOON + DAY
    )


def test_a_full_check_vouches_for_what_had_arrived_when_it_began() -> None:
    status = take(GOOD)
    assert [(copy.name, copy.verified_time) for copy in status.checked] == [
        ("a", BEGUN),
        ("b", BEGUN),
    ]
    assert status.last_check
    assert (status.last_check.time, status.last_check.message) == (NOON, None)


def test_a_look_at_listings_vouches_for_no_byte() -> None:
    assert [copy.verified_time for copy in take(GOOD, CheckLevel.PROVIDER).checked] == [None, None]
    before = take(GOOD)
    kept = take(GOOD, CheckLevel.PROVIDER, before)
    assert [copy.verified_time for copy in kept.checked] == [BEGUN, BEGUN]


@pytest.mark.parametrize(
    "found",
    [
        CheckedLocation(name="a", damaged=2, replaced=1),
        CheckedLocation(name="a", missing=1),
        CheckedLocation(name="a", error="it does not answer"),
    ],
)
def test_a_copy_that_is_not_good_is_not_vouched_for(found: CheckedLocation) -> None:
    status = take(CheckReport(locations=[found]))
    assert status.checked[0].verified_time is None
    assert status.checked[0].message
    assert maintenance.unsound(status) == (set() if found.error else {"a"})


def test_a_copy_that_was_mended_is_vouched_for() -> None:
    status = take(CheckReport(locations=[CheckedLocation(name="a", damaged=2, replaced=2)]))
    assert status.checked[0].verified_time == BEGUN
    assert (status.checked[0].damaged, maintenance.unsound(status)) == (2, set())


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (CheckReport(error=ErrorReport(code="X", message="no answer")), "no answer"),
        (None, "no memory"),
    ],
)
def test_a_check_that_failed_changes_no_row(report: CheckReport | None, said: str) -> None:
    before = take(GOOD)
    after = take(report, before=before)
    assert after.checked == before.checked
    assert after.last_check
    assert after.last_check.message == said


def test_a_location_that_is_registered_no_longer_loses_its_row() -> None:
    before = take(GOOD)
    gone = before.checked[0].model_copy(update={"name": "gone"})
    status = take(GOOD, before=before.model_copy(update={"checked": [*before.checked, gone]}))
    assert [copy.name for copy in status.checked] == HOLDERS


def test_a_loss_is_told_until_a_full_check_finds_all_whole() -> None:
    lossy = GOOD.model_copy(
        update={"lost": ["packs/x"], "lost_count": 1, "lossy": ["snapshots/one"]}
    )
    told = take(lossy)
    assert told.loss
    assert (told.loss.objects, told.loss.count, told.loss.backup_job) == (["packs/x"], 1, None)
    assert take(GOOD, CheckLevel.PROVIDER, told).loss == told.loss
    unread = CheckReport(locations=[CheckedLocation(name="a", error="away")])
    assert take(unread, before=told).loss == told.loss
    assert take(GOOD, before=told).loss is None


def test_what_is_known_to_be_lost_orders_no_second_backup() -> None:
    def lossy(*lost: str) -> CheckReport:
        return GOOD.model_copy(update={"lost": list(lost), "lost_count": len(lost)})

    told = take(lossy("x", "y"))
    assert told.loss
    ordered = told.model_copy(
        update={"loss": told.loss.model_copy(update={"backup_job": "wedding-repair-1"})}
    )
    for lost, known in ((["x", "y"], True), (["y"], True), (["x", "z"], False)):
        again = take(lossy(*lost), before=ordered).loss
        assert again
        assert (again.backup_job is not None) is known


def test_the_next_backup_relies_on_nothing_that_is_lost() -> None:
    def lost(*names: str, count: int = 0) -> list[str]:
        report = CheckReport(lost=list(names), lost_count=count or len(names))
        return maintenance.distrust(take(report))

    assert maintenance.distrust(Status()) == []
    assert lost("packs/x", "index/y", "snapshots/z") == ["packs/x", "index/y"]
    assert lost("packs/x", count=21) == ["packs/"]


def test_a_job_that_status_knows_is_stale() -> None:
    done = Workload(finished=True, finished_at=NOON)
    assert maintenance.is_stale(done, NOON)
    assert not maintenance.is_stale(done, NOON - HOUR)
    assert not maintenance.is_stale(done, None)
    assert not maintenance.is_stale(Workload(), NOON)


def test_what_a_collection_came_to_is_told() -> None:
    def take(message: str) -> Status:
        done = Workload(finished=True, finished_at=NOON, message=message)
        return collected(Status(), done, now=NOON)

    done = take(CollectReport(points=2, objects=9, bytes=100, marked=3, locked=1).to_json())
    assert done.last_collection
    told = done.last_collection
    assert (told.points, told.objects, told.bytes) == (2, 9, 100)
    assert (told.marked, told.locked, told.message) == (3, 1, None)
    failed = take(CollectReport(error=ErrorReport(code="X", message="too few answer")).to_json())
    assert failed.last_collection
    assert failed.last_collection.message == "too few answer"


def test_a_location_that_is_not_given_counts_as_one_that_does_not_answer() -> None:
    assert maintenance.may_lack(["a", "b", "c"], ["a", "b", "c"]) == 2
    assert maintenance.may_lack(["a", "b", "c"], ["a", "c"]) == 1
    assert maintenance.may_lack(["a", "b", "c"], ["a"]) == 0


def test_the_wish_is_passed_on_whole() -> None:
    told = maintenance.kept(Retention(keep_last=3, yearly=1, point_in_time_window=2 * DAY))
    assert (told.keep_last, told.yearly, told.point_in_time_seconds) == (3, 1, 172800)
    assert (told.hourly, told.daily, told.weekly, told.monthly) == (48, 30, 12, 12)


def protected(status: Status) -> tuple[str, str]:
    committed = [{"name": name, "phase": "Committed"} for name in ("a", "b", "c")]
    done = backup(
        status={
            "phase": "Completed",
            "quorum": 2,
            "locations": committed,
            "manifest": {"name": "snapshots/one", "sha256": "0" * 64},
            "sources": [{"name": "p", "dataClass": "Portfolio"}],
            "pointTime": at(NOON - HOUR),
            "completedAt": at(NOON - HOUR),
            "vault": {"id": "v", "prefix": "p"},
        }
    )
    found = policy(status={**placed("a", "b", "c"), **status.dump()})
    facts = Facts(
        problems=[],
        locations={name: location(name) for name in ("a", "b", "c")},
        backups=[done],
        vault=("v", NOON - 30 * DAY),
    )
    conditions = assess(found, facts, now=NOON).conditions
    [verdict] = [condition for condition in conditions if condition.type == "Protected"]
    return verdict.status, verdict.reason


def all_good(**update: Any) -> Status:
    report = CheckReport(locations=[CheckedLocation(name=name) for name in ("a", "b", "c")])
    done = Workload(finished=True, finished_at=NOON, message=report.to_json())
    status = checked(
        Status(), CheckLevel.FULL, done, begun=BEGUN, registered=["a", "b", "c"], now=NOON
    )
    return status.model_copy(update=update)


def test_a_wedding_is_protected_again_by_a_check_that_read_all() -> None:
    assert protected(Status()) == ("Unknown", "ChecksDue")
    assert protected(all_good()) == ("True", "AllConditionsMet")


def test_a_copy_that_is_damaged_is_none() -> None:
    good = all_good()
    bad = good.checked[0].model_copy(update={"damaged": 1})
    assert protected(good.model_copy(update={"checked": [bad, *good.checked[1:]]})) == (
        "False",
        "TooFewCopies",
    )


def test_a_point_that_lost_something_does_not_protect() -> None:
    report = CheckReport(lost=["packs/x"], lost_count=1, lossy=["snapshots/one"])
    done = Workload(finished=True, finished_at=NOON, message=report.to_json())
    status = checked(
        all_good(), CheckLevel.FULL, done, begun=BEGUN, registered=["a", "b", "c"], now=NOON
    )
    assert protected(status) == ("False", "DataLost")


POINT_READ = {
    "point": {"manifest": "snapshots/old", "sha256": "0"},
    "vault": {"id": "v", "prefix": "p"},
}


class TestPins:
    @pytest.mark.parametrize(
        ("status", "pins"),
        [
            ({"phase": "Recovering", **POINT_READ}, ["snapshots/old"]),
            ({"phase": "Completed", **POINT_READ}, []),
            ({"phase": "Recovering", **POINT_READ, "vault": {"id": "w", "prefix": "p"}}, []),
            ({"phase": "Planning"}, []),
            (None, []),
        ],
    )
    def test_what_recoveries_read_is_pinned(
        self, status: dict[str, Any] | None, pins: list[str]
    ) -> None:
        assert maintenance.pins([{"spec": {}, "status": status}], "v") == pins

    @pytest.mark.parametrize("moment", ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
    def test_a_request_that_nobody_can_read_hides_no_others_pin(self, moment: str) -> None:
        """Moments that the API server takes, and that no moment of ours is."""
        bad = {"spec": {"policyRef": {"name": "x"}, "pointInTime": moment}}
        good = {"status": {"phase": "Recovering", **POINT_READ}}
        assert maintenance.pins([bad, good], "v") == ["snapshots/old"]


@given(st.lists(st.none() | st.timedeltas(timedelta(), 20 * DAY), min_size=2, max_size=2))
def test_checks_come_before_protection_lapses(ages: list[timedelta | None]) -> None:
    moments = [None if age is None else NOON - age for age in ages]
    founded = NOON - 30 * DAY
    found = wedding(checked=rows(*moments), lastCheck=last(DAY))
    since = maintenance.verified_since(found.status, HOLDERS, founded)
    facts = replace(FACTS, verified_since=since)
    if protection.protected(facts, now=NOON + DAY).reason == "ChecksDue":
        assert due_check(found, HOLDERS, founded, now=NOON) is CheckLevel.FULL


FACTS = protection.Facts(
    newest=NOON,
    period=30 * DAY,
    left_out=(),
    held=[],
    unreachable=(),
    copies=0,
    min_providers=0,
    min_regions=0,
    lost=False,
    verified_since=NOON,
)
