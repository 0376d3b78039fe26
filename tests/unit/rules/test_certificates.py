"""The broker's certificate over a virtual year: whoever works believes it, whatever is killed or edited."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from weddingbackup.rules.certificates import (
    AUTHORITY_LIFE,
    AUTHORITY_REPLACED_AFTER,
    LONGEST_JOB,
    OVERLAP,
    SERVING_LIFE,
    SERVING_RENEWED_AFTER,
    Authority,
    Found,
    Serving,
    Step,
    decide,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = frozenset({"broker.example"})
HOUR = timedelta(hours=1)


@dataclass
class World:
    """The two Secrets as steps leave them, and what workers were told when."""

    found: Found = field(default_factory=Found)
    now: datetime = START
    made: int = 0
    told: deque[tuple[datetime, frozenset[str]]] = field(default_factory=deque)
    taken: list[Step] = field(default_factory=list)

    def authority(self) -> Authority:
        self.made += 1
        return Authority(f"authority {self.made}", self.now, self.now + AUTHORITY_LIFE)

    def serving(self, signer: Authority | None) -> Serving:
        assert signer is not None
        until = min(self.now + SERVING_LIFE, signer.not_after)
        return Serving(signer.id, NAMES, self.now, until)

    def act(self, step: Step) -> None:
        """One write, as the operator does it."""
        found = self.found
        pairs = (found.current, found.successor)
        known = frozenset(pair.id for pair in pairs if pair is not None)
        match step:
            case Step.FOUND:
                self.found = replace(found, current=self.authority(), successor=None)
            case Step.SUCCEED:
                self.found = replace(found, successor=self.authority())
            case Step.PROMOTE:
                self.found = replace(found, current=found.successor, successor=None)
            case Step.ANNOUNCE:
                self.found = replace(found, believed=found.believed | known, since=self.now)
            case Step.ISSUE:
                self.found = replace(found, serving=self.serving(found.current))
            case Step.SWITCH:
                serving = self.serving(found.successor)
                self.found = replace(found, serving=serving, since=self.now)
            case Step.DROP:
                self.found = replace(found, believed=known, since=self.now)
        self.taken.append(step)
        self.start_a_job()

    def run(self, *, most: int = 12) -> None:
        """The operator's look; it is killed after `most` steps."""
        for _ in range(most):
            step = decide(self.found, NAMES, self.now)
            if step is None:
                return
            self.act(step)

    def start_a_job(self) -> None:
        if self.found.serving is not None:
            self.told.append((self.now, self.found.believed))

    def check(self) -> None:
        """Every job that may still run believes the broker."""
        serving = self.found.serving
        assert serving is not None
        while self.told and self.told[0][0] < self.now - LONGEST_JOB:
            self.told.popleft()
        assert serving.not_before <= self.now < serving.not_after
        for when, believed in self.told:
            assert serving.issuer in believed, (when, self.now, self.taken)


def settled() -> World:
    world = World()
    world.run()
    return world


def test_at_the_beginning_it_is_made() -> None:
    world = settled()
    assert world.taken == [Step.FOUND, Step.ANNOUNCE, Step.ISSUE]
    world.check()


def test_a_rotation_is_announced_longer_than_a_job_runs() -> None:
    world = settled()
    world.taken.clear()
    days = 0
    at: dict[Step, timedelta] = {}
    while Step.DROP not in world.taken:
        world.now += HOUR
        days += 1
        before = len(world.taken)
        world.run()
        for step in world.taken[before:]:
            at[step] = world.now - START
    order = [step for step in world.taken if step is not Step.ISSUE]
    assert order == [Step.SUCCEED, Step.ANNOUNCE, Step.SWITCH, Step.PROMOTE, Step.DROP]
    assert at[Step.SUCCEED] == AUTHORITY_REPLACED_AFTER
    assert at[Step.SWITCH] - at[Step.ANNOUNCE] == OVERLAP > LONGEST_JOB
    assert at[Step.DROP] - at[Step.SWITCH] == OVERLAP


def test_a_certificate_is_renewed_in_good_time() -> None:
    world = settled()
    world.now += SERVING_RENEWED_AFTER
    before = world.found
    world.run()
    assert world.taken[-1] is Step.ISSUE
    assert world.found.believed == before.believed
    assert world.found.serving is not None
    assert world.found.serving.not_before == world.now


def test_another_name_gets_another_certificate_at_once() -> None:
    world = settled()
    assert decide(world.found, frozenset({"other.example"}), world.now) is Step.ISSUE


def test_a_lost_key_is_replaced_without_surprising_anybody() -> None:
    world = settled()
    world.found = replace(world.found, current=None)
    world.run()
    assert world.found.successor is not None
    world.check()
    world.now += OVERLAP
    world.start_a_job()
    world.run()
    world.check()
    assert world.found.current is not None
    assert world.found.serving is not None
    assert world.found.serving.issuer == world.found.current.id


@given(st.lists(st.tuples(st.integers(1, 24 * 20), st.integers(0, 4)), min_size=20, max_size=120))
@example([(1, 1)] * 24 * 120)
@example([(24 * 8, 1)] * 60)
def test_all_year_every_worker_believes_the_broker(looks: list[tuple[int, int]]) -> None:
    """Looks come hours or weeks apart, and the operator may be killed between any two steps."""
    world = settled()
    for hours, most in looks:
        if world.now > START + timedelta(days=400):
            break
        for _ in range(0, hours, 12):
            world.now += timedelta(hours=min(12, hours))
            world.start_a_job()
            world.check()
        # Killed in one look, but not in each one for a month.
        world.run(most=most)
        world.check()
        if most < 4 and hours > 24 * 3:
            world.now += HOUR
            world.run()
            world.check()


def _authorities() -> st.SearchStrategy[Authority | None]:
    moments = st.integers(-24 * 500, 24 * 400).map(lambda hours: START + hours * HOUR)
    ids = st.sampled_from(["authority a", "authority b", "authority c"])
    return st.none() | st.builds(
        lambda name, begin: Authority(name, begin, begin + AUTHORITY_LIFE), ids, moments
    )


def _servings() -> st.SearchStrategy[Serving | None]:
    moments = st.integers(-24 * 90, 24 * 90).map(lambda hours: START + hours * HOUR)
    return st.none() | st.builds(
        lambda issuer, names, begin: Serving(issuer, names, begin, begin + SERVING_LIFE),
        st.sampled_from(["", "authority a", "authority b", "authority c"]),
        st.sampled_from([NAMES, frozenset[str]()]),
        moments,
    )


FOUND = st.builds(
    Found,
    current=_authorities(),
    successor=_authorities(),
    believed=st.frozensets(st.sampled_from(["authority a", "authority b", "authority c"])),
    serving=_servings(),
    since=st.none() | st.integers(-1000, 1000).map(lambda hours: START + hours * HOUR),
)


@given(FOUND)
def test_whatever_is_found_a_few_steps_mend_it(found: Found) -> None:
    world = World(found)
    world.run()
    assert decide(world.found, NAMES, world.now) is None
    mended = world.found
    assert mended.serving is not None
    assert mended.serving.issuer in mended.believed
    assert mended.serving.names == NAMES
    assert mended.serving.not_before <= world.now < mended.serving.not_after
    assert mended.since is not None
    assert mended.since <= world.now


@given(FOUND)
def test_and_after_some_weeks_it_is_as_new(found: Found) -> None:
    world = World(found)
    for _ in range(8):
        world.run()
        world.now += timedelta(days=5)
    world.run()
    assert world.found.current is not None
    assert world.found.serving is not None
    assert world.found.serving.issuer == world.found.current.id
