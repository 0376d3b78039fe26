from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON
from weddingbackup.resources.common import DataClass
from weddingbackup.rules.choice import Pin, RecoveryPoint, Unsettled, Wanted, choose
from weddingbackup.rules.points import Standing, standing
from weddingbackup.rules.workload import Problem

SHA = "ab" * 32
NOW = NOON + timedelta(hours=50)

COMMITTED, POSSIBLE, UNCOMMITTED = Standing


def point(hours: int, known: Standing = COMMITTED) -> RecoveryPoint:
    return RecoveryPoint(
        manifest=f"m{hours}",
        sha256=SHA,
        job_name=f"job{hours}",
        time=NOON + timedelta(hours=hours),
        sources={"p": DataClass.PORTFOLIO},
        standing=known,
        unsure=["paris"] if known is POSSIBLE else [],
    )


def pin(hours: int, *unsure: str, sha256: str = SHA) -> Pin:
    return Pin(f"m{hours}", sha256, f"job{hours}", NOON + timedelta(hours=hours), unsure)


@given(st.integers(1, 7), st.integers(0, 7), st.integers(0, 7))
def test_a_point_is_lost_sight_of_and_never_loses_its_commit(w: int, held: int, away: int) -> None:
    """However many of its holders go out of sight, what was committed is not called uncommitted."""
    assume(held >= w)
    away = min(away, held)
    assert standing(quorum=w, held=held, unsure=0) is COMMITTED
    assert standing(quorum=w, held=held - away, unsure=away) is not UNCOMMITTED
    assert standing(quorum=w, held=w - 1, unsure=0) is UNCOMMITTED


class TestChoice:
    @given(
        st.lists(
            st.tuples(
                st.integers(-50, 50),
                st.sampled_from(Standing),
                st.sampled_from(["", "pinned", "pinned and unseen", "of another hash"]),
            ),
            unique_by=lambda each: each[0],
        ),
        st.none() | st.integers(-50, 50),
    )
    def test_the_newest_certain_point_and_none_behind_a_newer_doubt(
        self, told: list[tuple[int, Standing, str]], hours: int | None
    ) -> None:
        points = [point(each, known) for each, known, job in told if job != "pinned and unseen"]
        pins = [pin(each, "paris") for each, _, job in told if job.startswith("pinned")]
        pins += [pin(each, sha256="cd" * 32) for each, _, job in told if job == "of another hash"]
        wanted = Wanted(moment=None if hours is None else NOON + timedelta(hours=hours))
        early = [each for each in told if hours is None or each[0] <= hours]
        unseen = {each for each, _, job in early if job == "pinned and unseen"}
        sure = {
            each for each, known, job in early if known is COMMITTED or job == "pinned"
        } - unseen
        doubts = {each for each, known, _ in early if known is POSSIBLE} - sure | unseen
        chosen = choose(points, wanted, pins=pins, silent=[], now=NOW)
        if doubts and max(doubts) > max(sure, default=-99):
            assert isinstance(chosen, Unsettled)
            assert f"job{max(doubts)})" in chosen.problem.message
            assert "paris" in chosen.problem.message
        elif sure:
            assert isinstance(chosen, RecoveryPoint)
            assert chosen.manifest == f"m{max(sure)}"
        else:
            assert isinstance(chosen, Problem)

    def test_a_point_of_the_very_moment_is_not_later(self) -> None:
        assert choose([point(0), point(-1)], Wanted(moment=NOON), silent=[], now=NOW) == point(0)

    def test_a_doubt_names_the_ways_on_and_they_lead_there(self) -> None:
        certain = replace(point(1), time=NOON + timedelta(microseconds=5))
        doubt = point(2, POSSIBLE)
        chosen = choose([certain, doubt], Wanted(), silent=["paris"], now=NOW)
        assert isinstance(chosen, Unsettled)
        assert chosen.problem.reason == "NewestPointUncertain"
        for way in ("backupJobRef job2", "backupJobRef job1", "pointInTime 2026-12-05T12:00:01Z"):
            assert way in chosen.problem.message
        moment = NOON + timedelta(seconds=1)
        assert choose([certain, doubt], Wanted(moment=moment), silent=[], now=NOW) == certain
        assert choose([certain, doubt], Wanted(manifest="m1"), silent=[], now=NOW) == certain
        assert choose([certain, doubt], Wanted(manifest="m2"), silent=[], now=NOW) == doubt

    def test_what_a_backup_pinned_and_every_location_lacks_holds_nothing_up(self) -> None:
        assert choose([point(1)], Wanted(), pins=[pin(2)], silent=[], now=NOW) == point(1)

    def test_a_named_point_is_taken_or_none(self) -> None:
        points = [point(1), point(2), point(3, UNCOMMITTED), point(4, POSSIBLE)]
        assert choose(points, Wanted(manifest="m1"), silent=[], now=NOW) == points[0]
        assert choose(points, Wanted(manifest="m4"), silent=[], now=NOW) == points[3]
        assert choose(points, Wanted(manifest="m3"), pins=[pin(3)], silent=[], now=NOW) == points[2]
        for missing in ("m3", "m9"):
            problem = choose(points, Wanted(manifest=missing), silent=[], now=NOW)
            assert isinstance(problem, Problem)
            assert problem.reason == "PointNotFound"
            wait = choose(points, Wanted(manifest=missing), silent=["paris"], now=NOW)
            assert isinstance(wait, Unsettled)
            assert "paris" in wait.problem.message

    def test_what_is_dated_in_the_future_is_taken_only_by_name(self) -> None:
        far = Wanted(moment=NOON + timedelta(days=900))
        for ahead in (point(51), point(51, POSSIBLE)):
            for wanted in (Wanted(), far):
                assert choose([point(50), ahead], wanted, silent=[], now=NOW) == point(50)
                unseen = [pin(51, "b")]
                assert choose([point(50)], wanted, pins=unseen, silent=[], now=NOW) == point(50)
            assert choose([ahead], Wanted(manifest="m51"), silent=[], now=NOW) == ahead
        alone = choose([point(51)], Wanted(), silent=[], now=NOW)
        assert isinstance(alone, Problem)
        assert "backupJobRef" in alone.message

    def test_why_there_is_none_is_told_apart(self) -> None:
        none = choose([point(1, UNCOMMITTED)], Wanted(), silent=[], now=NOW)
        early = choose([point(1)], Wanted(moment=NOON), silent=[], now=NOW)
        assert isinstance(none, Problem)
        assert isinstance(early, Problem)
        assert (none.reason, early.reason) == ("NoRecoveryPoint", "NoPointThatEarly")
        assert "2026-12-05T13:00:00Z" in early.message
        asked_again = choose([], Wanted(), silent=["paris"], now=NOW)
        assert isinstance(asked_again, Unsettled)
        assert asked_again.problem.reason == "NoRecoveryPoint"
