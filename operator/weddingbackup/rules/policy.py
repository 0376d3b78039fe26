"""What a policy's status says: whether it can work, where its copies go, and what its backups came to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_job import Phase as BackupPhase
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.wedding_backup_policy import (
    Phase,
    PlacedLocation,
    Point,
    Status,
    VaultStatus,
    WeddingBackupPolicy,
)
from weddingbackup.rules import backup as backups
from weddingbackup.rules import maintenance, protection, schedule
from weddingbackup.rules.access import allowed_namespaces, granted, grants
from weddingbackup.rules.conditions import State, Verdict, merge, summary
from weddingbackup.rules.locations import candidate, is_readable, is_unprobed
from weddingbackup.rules.placement import Candidate, Health, Placement, Wish, place
from weddingbackup.rules.workload import Problem

_DEFAULT_EVERY = timedelta(hours=24)

RETRY = timedelta(hours=1)
"""From the end of a backup that failed, after all its worker's own retries, to the next one."""

HISTORY = 50
"""BackupJobs that are kept of a policy once they have ended; points outlive them."""

MANUAL_TRIGGER = "manual-trigger"
"""Annotation (below our prefix) of a BackupJob that a trigger made: which edit of which policy, and its text."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy's status is decided on.

    Attributes:
        problems: references of the spec that lead nowhere.
        locations: all that are registered, by name.
        backups: the policy's BackupJobs, of this vault.
        vault: the id of its vault, and when that was founded.
        labels: of its namespace; locations choose by them whom they serve.
        guests: UIDs of the namespaces that its spec lets recover, by name; without those that are not there.
        kit: whether its vault could be opened with the cluster gone; see rules/kits.py.
    """

    problems: Sequence[Problem]
    locations: Mapping[str, BackupLocation]
    backups: Sequence[BackupJob]
    vault: tuple[str, datetime]
    labels: Mapping[str, str] = field(default_factory=dict)
    guests: Mapping[str, str] = field(default_factory=dict)
    kit: Verdict | None = None


def of_vault(jobs: Sequence[BackupJob], vault: str) -> list[BackupJob]:
    """Without those into a vault that was erased since, under the same policy's name: they count for nothing."""
    return [job for job in jobs if job.status.vault is None or job.status.vault.id == vault]


def placement(
    policy: WeddingBackupPolicy, locations: Mapping[str, BackupLocation], labels: Mapping[str, str]
) -> Placement:
    """Where the copies go of a policy in a namespace with these labels."""
    spec = policy.spec
    wish = Wish(
        copies=spec.redundancy.copies,
        min_providers=spec.redundancy.min_providers,
        min_regions=spec.redundancy.min_regions,
        selector=spec.placement.location_selector,
        exclude=spec.placement.exclude,
        jurisdictions=spec.placement.jurisdictions,
        current=[location.name for location in policy.status.locations],
        seed=policy.metadata.uid,
    )
    return place([_candidate(location, labels) for location in locations.values()], wish)


def _candidate(location: BackupLocation, labels: Mapping[str, str]) -> Candidate:
    found = candidate(location)
    if allowed_namespaces(location, labels):
        return found
    problem = "its spec.allowedNamespaces leaves this namespace out"
    return replace(found, health=Health.UNFIT, problem=problem)


def timetable(policy: WeddingBackupPolicy, now: datetime) -> schedule.Schedule:
    """The policy's schedule."""
    spec = policy.spec.schedule
    return schedule.Schedule(
        anchor=policy.metadata.creation_timestamp or now,
        cron=spec.cron,
        every=None if spec.cron else spec.every or _DEFAULT_EVERY,
        zone=spec.time_zone,
        jitter=spec.jitter or timedelta(),
        seed=policy.metadata.uid,
    )


def due_slot(
    policy: WeddingBackupPolicy, jobs: Sequence[BackupJob], *, now: datetime
) -> datetime | None:
    """The slot to order a backup for; None where it is not time, or the last backup is not over.

    A slot that comes while a backup runs waits until that one has ended. Slots that have passed by then, or
    that a backup on demand came after, are served by the newest one.

    Raises:
        ScheduleError: nobody can follow the schedule.
    """
    if policy.spec.schedule.suspend or active(jobs) is not None:
        return None
    served = [
        _created(job)
        for job in jobs
        if job.status.phase not in {BackupPhase.FAILED, BackupPhase.CANCELLED}
    ]
    last = max(
        [*served, *filter(None, [policy.status.last_scheduled_time])],
        default=None,
    )
    return schedule.due(timetable(policy, now), last=last, now=now) or _retry(jobs, now)


def _retry(jobs: Sequence[BackupJob], now: datetime) -> datetime | None:
    """The moment to make up for the newest backup if that failed: the next slot may be a day away.

    It is derived from the failure alone, so that deciding it twice gives the same BackupJob's name.
    """
    newest = max(jobs, key=_created, default=None)
    if newest is None or newest.status.phase is not BackupPhase.FAILED:
        return None
    again = (newest.status.completed_at or _created(newest)) + RETRY
    return again.replace(second=0, microsecond=0) if again <= now else None


def expendable(jobs: Sequence[BackupJob], registered: Collection[str]) -> list[BackupJob]:
    """The BackupJobs to delete: history only, the oldest first.

    Never one that is under way, that still has registered locations to catch up, or that tells of the newest point.
    """
    over = [
        job
        for job in sorted(jobs, key=_created)
        if job.status.phase in {BackupPhase.FAILED, BackupPhase.CANCELLED}
        or (job.status.phase is BackupPhase.COMPLETED and not _is_behind(job, registered))
    ]
    done = [job for job in over if job.status.phase is BackupPhase.COMPLETED]
    newest = max(done, key=_moment, default=None)
    return [job for job in over[: max(0, len(over) - HISTORY)] if job is not newest]


def _is_behind(job: BackupJob, registered: Collection[str]) -> bool:
    committed = backups.committed_rows(job.status)
    return any(row.name in registered and row.name not in committed for row in job.status.locations)


def trigger_edit(policy: WeddingBackupPolicy, text: str) -> str:
    """What a trigger's BackupJob is annotated with: another one for each edit of the spec."""
    return f"{policy.metadata.uid}/{policy.metadata.generation}/{text}"


def due_trigger(policy: WeddingBackupPolicy, jobs: Sequence[BackupJob], key: str) -> str | None:
    """The text of a manual trigger that no backup was ordered for yet.

    What was ordered last is remembered by its BackupJob and, a moment later, by status: the operator may be
    killed in between, and anybody may delete the BackupJob afterwards. So the later edit of the two counts.
    """
    if policy.spec.trigger is None:
        return None
    told = (policy.status.last_manual_generation or 0, policy.status.last_manual_trigger)
    orders = [order for job in jobs if (order := _order_of(policy, job, key)) is not None]
    _, served = max([told, *orders], key=lambda order: order[0])
    return None if served == policy.spec.trigger.manual else policy.spec.trigger.manual


def _order_of(policy: WeddingBackupPolicy, job: BackupJob, key: str) -> tuple[int, str] | None:
    """The generation and the text that this policy's trigger made a BackupJob for."""
    uid, _, edit = job.metadata.annotations.get(key, "").partition("/")
    generation, _, text = edit.partition("/")
    if uid != policy.metadata.uid or not generation.isdecimal():
        return None
    return int(generation), text


def active(jobs: Sequence[BackupJob]) -> BackupJob | None:
    """The backup that is under way, or else the first that waits."""
    waiting = [job for job in jobs if job.status.phase not in backups.ENDED]
    running = [job for job in waiting if job.status.phase is BackupPhase.RUNNING]
    return min(running or waiting, key=_created, default=None)


def assess(policy: WeddingBackupPolicy, facts: Facts, *, now: datetime) -> Status:
    """The policy's status."""
    where = placement(policy, facts.locations, facts.labels)
    problems = list(facts.problems)
    try:
        times = timetable(policy, now)
        upcoming, period = schedule.upcoming(times, now=now), schedule.period(times, now=now)
    except schedule.ScheduleError as error:
        problems.append(Problem("BadSchedule", str(error)))
        upcoming, period = None, _DEFAULT_EVERY
    phase, state, problem = _condition(policy, problems, where, facts.locations)
    status = _roll_up(policy, facts.backups)
    newest = _newest(status, facts.backups)
    held, unreachable = _copies(status, newest, facts.locations)
    asked = policy.spec.redundancy.copies
    rows = grants(policy, facts.guests)
    verdicts = [
        *summary(state, problem.reason, problem.message),
        Verdict(
            "Placed",
            not where.problem,
            "NotEnoughLocations" if where.problem else "Placed",
            where.problem or f"Copies go to {', '.join(where.chosen)}.",
        ),
        protection.protected(
            protection.Facts(
                newest=status.newest_point.time if status.newest_point else None,
                period=period,
                left_out=_left_out(policy, newest),
                held=held,
                unreachable=unreachable,
                copies=asked,
                min_providers=policy.spec.redundancy.min_providers,
                min_regions=policy.spec.redundancy.min_regions,
                lost=_lost(status),
                verified_since=maintenance.verified_since(
                    status, holders(status, facts.backups), facts.vault[1]
                ),
            ),
            now=now,
        ),
        *granted(policy, rows, facts.guests),
        *([facts.kit] if facts.kit else []),
    ]
    return status.model_copy(
        update={
            "observed_generation": policy.metadata.generation,
            "phase": phase,
            "message": problem.message[:4096] or None,
            "conditions": merge(
                policy.status.conditions,
                verdicts,
                generation=policy.metadata.generation,
                now=now,
            ),
            "vault": VaultStatus(id=facts.vault[0]),
            "grants": rows,
            "copies": f"{min(len(held), asked)}/{asked}" if newest and held is not None else None,
            "locations": [_placed(facts.locations[name]) for name in where.chosen],
            "next_backup_time": None if policy.spec.schedule.suspend else upcoming,
        }
    )


def blocked(policy: WeddingBackupPolicy, problem: Problem, *, now: datetime) -> Status:
    """The status of a policy that nothing can be done for until a person acts."""
    verdicts = [
        *summary(State.STALLED, problem.reason, problem.message),
        Verdict("Protected", None, problem.reason, problem.message),
    ]
    generation = policy.metadata.generation
    return policy.status.model_copy(
        update={
            "observed_generation": generation,
            "phase": Phase.BLOCKED,
            "message": problem.message[:4096],
            "conditions": merge(policy.status.conditions, verdicts, generation=generation, now=now),
            "next_backup_time": None,
        }
    )


def _condition(
    policy: WeddingBackupPolicy,
    problems: Sequence[Problem],
    where: Placement,
    locations: Mapping[str, BackupLocation],
) -> tuple[Phase, State, Problem]:
    working = Phase.SUSPENDED if policy.spec.schedule.suspend else Phase.ACTIVE
    if problems:
        message = " ".join(problem.message for problem in problems)
        return Phase.BLOCKED, State.STALLED, Problem(problems[0].reason, message)
    if not where.problem:
        return working, State.READY, Problem("Active", f"Copies go to {', '.join(where.chosen)}.")
    if any(is_unprobed(locations[name]) for name in where.rejected):
        # Locations and policy may be applied in one go: the first backup is to go to all of them.
        problem = Problem("WaitingForProbes", f"Locations are still to be probed. {where.problem}")
        return Phase.PENDING, State.RECONCILING, problem
    problem = Problem("NotEnoughLocations", where.problem)
    enough = len(where.chosen) >= policy.spec.redundancy.quorum
    return working if enough else Phase.BLOCKED, State.STALLED, problem


def _roll_up(policy: WeddingBackupPolicy, jobs: Sequence[BackupJob]) -> Status:
    before = policy.status
    ended = [job for job in jobs if job.status.completed_at and job.status.phase in backups.ENDED]
    done = [job for job in ended if job.status.phase is BackupPhase.COMPLETED]
    newest = max(done, key=_moment, default=None)
    point = before.newest_point
    success = _latest(done, before.last_success_time)
    ahead = point is not None and success is not None and point.time > success
    if newest is not None and (point is None or ahead or _moment(newest) >= point.time):
        assert newest.status.manifest is not None
        point = Point(
            time=_moment(newest),
            backup_job=newest.metadata.name,
            manifest=newest.status.manifest.name,
        )
    under_way = active(jobs)
    return before.model_copy(
        update={
            "newest_point": point,
            "active_job": under_way.metadata.name if under_way else None,
            "last_backup_time": _latest(ended, before.last_backup_time),
            "last_success_time": success,
        }
    )


def _newest(status: Status, jobs: Sequence[BackupJob]) -> BackupJob | None:
    """The BackupJob of the newest point; None where it was deleted, or there is no point."""
    name = status.newest_point.backup_job if status.newest_point else None
    return next((job for job in jobs if job.metadata.name == name), None)


def holders(status: Status, jobs: Sequence[BackupJob]) -> list[str]:
    """The locations that hold the newest point."""
    newest = _newest(status, jobs)
    return [] if newest is None else list(backups.committed_rows(newest.status))


def _lost(status: Status) -> bool:
    """Whether the newest point lacks something that is good nowhere."""
    return (
        status.loss is not None
        and status.newest_point is not None
        and status.newest_point.manifest in status.loss.points
    )


def _left_out(policy: WeddingBackupPolicy, newest: BackupJob | None) -> list[str]:
    if newest is None:
        return []
    taken = {source.name for source in newest.status.sources}
    return [source.name for source in policy.spec.sources if source.name not in taken]


def _copies(
    status: Status, newest: BackupJob | None, locations: Mapping[str, BackupLocation]
) -> tuple[list[protection.Copy] | None, list[str]]:
    """The newest point's copies that can be read now (None: nobody knows), and where others lie."""
    if status.newest_point is None:
        return [], []
    if newest is None:
        return None, []
    committed = backups.committed_rows(newest.status)
    unsound = maintenance.unsound(status)
    readable = [
        locations[name]
        for name in committed
        if name in locations and is_readable(locations[name]) and name not in unsound
    ]
    names = {location.metadata.name for location in readable}
    copies = [
        protection.Copy(location.spec.provider, location.spec.region) for location in readable
    ]
    return copies, [name for name in committed if name not in names]


def _placed(location: BackupLocation) -> PlacedLocation:
    return PlacedLocation(
        name=location.metadata.name, provider=location.spec.provider, region=location.spec.region
    )


def _latest(jobs: Sequence[BackupJob], before: datetime | None) -> datetime | None:
    times = [job.status.completed_at for job in jobs if job.status.completed_at]
    return max([*times, *([before] if before else [])], default=None)


def _moment(job: BackupJob) -> datetime:
    """What its worker said, but no later than we saw its end: nothing of the future protects anybody."""
    told = [time for time in (job.status.point_time, job.status.completed_at) if time is not None]
    return min(told, default=_created(job))


def _created(job: BackupJob) -> datetime:
    return job.metadata.creation_timestamp or datetime.max.replace(tzinfo=UTC)
