"""Jobs in the operator's namespace are made when it is their organisation's turn.

An organisation is known by the namespace of what a Job works for, as the operator wrote it on the Job: into the
operator's namespace nobody else writes. What runs is counted there each time: killed anywhere, the operator
forgets who waits, and no Job.
"""

from collections.abc import Collection, Iterable

from weddingbackup.controller import workers
from weddingbackup.controller.context import Context
from weddingbackup.kube import jobs
from weddingbackup.kube.client import JOBS, Object
from weddingbackup.kube.jobs import Owner, Work
from weddingbackup.resources import names
from weddingbackup.rules import turns as rules
from weddingbackup.rules.turns import Bounds


async def create(
    context: Context, works: Collection[Work], bounds: Bounds, body: Object, owner: Owner
) -> str | None:
    """Make a Job if it is time; why it waits, where it is not.

    Args:
        context: of this operator.
        works: the kinds of work that share the bounds.
        bounds: that hold for them.
        body: the Job.
        owner: what it works for.

    Raises:
        UnmadeError: it cannot be made until a person acts.
    """
    body = counted(body, bounds)
    key = "/".join([*sorted(works), bounds.apart])
    line = context.lines.setdefault(key, {})

    async def ask() -> str | None:
        under_way = await _under_way(context, works, bounds)
        return rules.ask(line, owner.namespace, under_way, bounds, now=context.now())

    # Those who have to wait look without the lock, all at a time.
    if reason := await ask():
        return reason
    # Two that look at each other would both see a free place.
    async with context.lock(JOBS, context.home, f"turns/{key}"):
        if reason := await ask():
            return reason
        # First of all: one that is refused for good would keep its place from all others.
        rules.leave(line, owner.namespace)
        await workers.create(context, body, owner)
    return None


_APART = f"{names.GROUP}/counted-apart"
"""Annotation of a Job that counts apart from others of its work; one made by an older operator has none."""


def counted(body: Object, bounds: Bounds) -> Object:
    """The Job, saying where it counts."""
    if not bounds.apart:
        return body
    metadata = body["metadata"]
    annotations = {**(metadata.get("annotations") or {}), _APART: bounds.apart}
    return {**body, "metadata": {**metadata, "annotations": annotations}}


async def _under_way(context: Context, works: Collection[Work], bounds: Bounds) -> list[str]:
    """The organisation of each Job that has a place."""
    found: list[Object] = []
    for work in works:
        labels = {names.LABEL_TASK: work.value}
        # Those that went well stay for an hour, thousands when many small copies are caught up.
        going = {"status.successful": "0"}
        found += await context.cluster.list(JOBS, context.home, labels=labels, fields=going)
    return holders(found, context.home, bounds)


def holders(found: Iterable[Object], home: str, bounds: Bounds) -> list[str]:
    """The organisation of each of these Jobs that has a place here; "" where a Job does not tell it.

    A Job whose node is gone is to fail (FailureTarget), and does not while the Node object stays, which may
    be for ever: its place is free as soon as its end is decided.
    """
    owners = [
        jobs.owner_of(job, home)
        for job in found
        if (job["metadata"].get("annotations") or {}).get(_APART, "") == bounds.apart
        and not _true(job) & (_ENDED | _DECIDED)
    ]
    return [owner.namespace if owner else "" for owner in owners]


def has_ended(job: Object) -> bool:
    """Whether a Job is done or has failed for good."""
    return bool(_true(job) & _ENDED)


_ENDED = frozenset({"Complete", "Failed"})
_DECIDED = frozenset({"SuccessCriteriaMet", "FailureTarget"})


def _true(job: Object) -> set[str]:
    """The conditions that hold of a Job."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return {condition["type"] for condition in conditions if condition["status"] == "True"}
