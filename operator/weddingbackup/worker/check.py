"""Looks a vault over at its locations and mends it. It has credentials and no keys: names are enough."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from weddingbackup.log import redact
from weddingbackup.resources.reports import LIMIT_BYTES, CheckedLocation, CheckReport
from weddingbackup.resources.tasks import CheckTask
from weddingbackup.resources.words import CheckLevel
from weddingbackup.stores.errors import TransientError
from weddingbackup.vault import check as checking
from weddingbackup.vault.check import Checked, Problem
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.repair import Repaired, repair
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment
from weddingbackup.worker.errors import RefusedError

_LEVELS: Mapping[CheckLevel, checking.Level] = {
    CheckLevel.PROVIDER: "provider",
    CheckLevel.SAMPLE: "sample",
    CheckLevel.FULL: "full",
}


def check(task: CheckTask, environment: Environment, progress: Progress) -> CheckReport:
    """Do one check, and the repairs that it calls for where the task says so.

    Raises:
        RefusedError: the task names no vault, or a location holds a newer format.
        TransientError: no location answers. One alone is told in its row of the report.
    """
    if not task.vault.prefix:
        # Without it the names of every other vault would be in sight too.
        raise RefusedError("BadTask", "the task gives no vault prefix; nothing was checked")
    begun = time.monotonic()
    stores = access.stores(environment, task.locations, task.vault)
    found = checking.examine(
        stores,
        level=_LEVELS[task.level],
        percent=task.percent,
        seed=task.seed,
        progress=progress,
    )
    mended = Repaired(lost=[x.object for x in found.findings if x.problem is Problem.LOST])
    if task.repair:
        keepers = access.Keepers(environment, task.vault, {x.name: x for x in task.locations})
        try:
            mended = repair(
                stores,
                found,
                remove=lambda location, name: keepers.at(location).delete(name),
                progress=progress,
            )
        finally:
            keepers.close()
    rows = _rows([location.name for location in task.locations], found, mended)
    if rows and all(row.error for row in rows):
        raise TransientError(
            f"no location could be checked: {rows[0].error}", location=rows[0].name
        )
    seconds = round(time.monotonic() - begun, 3)
    return _fitted([_with_archived(row, found) for row in rows], mended, seconds)


def _with_archived(row: CheckedLocation, found: Checked) -> CheckedLocation:
    """Say where not every byte could be read: what is archived is not known to be good."""
    count = found.tallies[row.name].archived
    if not count or row.error:
        return row
    return row.model_copy(
        update={"error": f"{count} objects are archived there, and were not read."}
    )


def _rows(locations: Sequence[str], found: Checked, mended: Repaired) -> list[CheckedLocation]:
    counts: dict[str, Counter[Problem]] = {location: Counter() for location in locations}
    errors: dict[str, str] = {}
    lost = set(mended.lost)
    for finding in found.findings:
        # What is good nowhere is told by itself: no copy is worse for it than another. And nothing
        # was ever written for a stranger, so nothing is missing there.
        told_elsewhere = finding.object in lost or finding.location in found.strangers
        if finding.location and finding.object and not told_elsewhere:
            counts[finding.location][finding.problem] += 1
    for finding in [*found.findings, *mended.left]:
        if finding.location and finding.problem is Problem.UNREADABLE:
            errors.setdefault(finding.location, redact(finding.message))
    replaced = Counter(location for location, _ in mended.replaced)
    return [
        CheckedLocation(
            name=location,
            objects=found.tallies[location].objects,
            bytes=found.tallies[location].bytes,
            missing=counts[location][Problem.MISSING],
            damaged=counts[location][Problem.SIZE] + counts[location][Problem.DAMAGED],
            replaced=replaced[location],
            error=errors.get(location),
        )
        for location in locations
    ]


def _fitted(rows: Sequence[CheckedLocation], mended: Repaired, seconds: float) -> CheckReport:
    """The report, its lists and messages cut until it fits: `lost_count` tells of all."""
    report = CheckReport()
    for names, length in ((20, 400), (20, 120), (10, 80), (5, 40), (2, 20), (1, 5)):
        short = [row.model_copy(update={"error": row.error and row.error[:length]}) for row in rows]
        report = CheckReport(
            locations=short,
            lost=mended.lost[:names],
            lost_count=len(mended.lost),
            lossy=mended.lossy[: max(1, names // 2)],
            seconds=seconds,
        )
        if len(report.to_json().encode()) <= LIMIT_BYTES:
            break
    return report
