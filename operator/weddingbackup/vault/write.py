"""The write road: sources -> chunks -> packs -> all locations -> indexes -> the manifest.

Every step only adds objects, and a manifest comes last, so a writer that is killed anywhere leaves
nothing that a reader would take for a point, and everything that the next one can use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from weddingbackup.resources.words import DataClass
from weddingbackup.rules.points import is_ahead
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.commit import Commit, closure
from weddingbackup.vault.errors import QuorumError, RefusedError
from weddingbackup.vault.fanout import Fanout
from weddingbackup.vault.holdings import Holdings
from weddingbackup.vault.keyring import SALT_SIZE
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.manifest import Body, Plain, encode_manifest, open_body
from weddingbackup.vault.marks import Marks
from weddingbackup.vault.names import digest_of
from weddingbackup.vault.parallel import Patience
from weddingbackup.vault.results import BackupResult, SourceResult
from weddingbackup.vault.writer import SourceInput, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.catalog import Point
    from weddingbackup.vault.marks import Marked
    from weddingbackup.vault.progress import Progress
    from weddingbackup.vault.vault import Vault

__all__ = ["JobFacts", "SourceInput", "backup", "patience"]

_LIMITS = Limits()


def patience(quorum: int, limits: Limits = _LIMITS) -> Patience:
    """How long a backup waits for who does not answer: a quorum is enough."""
    return Patience(quorum, limits.patience_seconds)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a point records of the job that made it. The uid decides the manifest's name."""

    uid: str
    namespace: str
    name: str
    scheduled_at: datetime


def backup(
    vault: Vault,
    job: JobFacts,
    sources: Sequence[SourceInput],
    *,
    quorum: int,
    progress: Progress,
    distrust: Collection[str] = (),
    paranoid: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    limits: Limits = _LIMITS,
) -> BackupResult:
    """Make one recovery point, committed at a quorum of the vault's locations.

    A second run for the same job goes on with what the first one stored; where that one had
    written its manifest already, this one only spreads it.

    Args:
        vault: where to.
        job: what the point is for; its uid tells one run from another job's.
        sources: what to read.
        quorum: at how many locations it has to be before it is committed.
        progress: counts.
        distrust: names of packs and indexes that the point may not need: what they hold is stored
            anew.
        paranoid: read every file, also those that look unchanged.
        clock: gives the time, in UTC.
        limits: of memory and of patience.

    Raises:
        QuorumError: too few locations took everything; try again later.
        RefusedError: the input makes no sense.
        WrongKeyError: a key is missing for a source's class, or is another vault's.
        Exception: whatever a source raises, save OSError about one file.
    """
    names = [source.name for source in sources]
    if not names or len(set(names)) != len(names):
        raise RefusedError(f"the sources need names, each once: {names}")
    if not 1 <= quorum <= len(vault.stores):
        raise RefusedError(f"the quorum is {quorum}, but there are {len(vault.stores)} locations")
    # Who was late once is not asked again: a location's silence costs its time once, not at each step.
    patient = patience(quorum, limits)
    failed = {name: str(error) for name, error in vault.init(patient).items()}
    found = catalog(_left(vault, failed), patience=patient)
    failed |= found.unanswered
    marked = Marks().look(_left(vault, failed), patient)
    failed |= marked.unanswered
    stores = _left(vault, failed)
    holdings = Holdings(stores, patient, distrust=chain(distrust, marked.names()))
    failed |= holdings.unanswered
    mine = [point for point in found.points if point.plain.job_uid == job.uid]
    mine = [point for point in mine if not _goes(stores, point, marked)]
    if mine:
        point = max(mine, key=lambda p: (p.committed, p.manifest))
        return _adopt(vault, point, progress, limits, holdings=holdings, failed=failed)
    staying = (point for point in found.points if point.manifest not in marked)
    # What is taken for unchanged is believed of the parent: none may stay it for years.
    now = clock()
    parent = next((p for p in staying if p.committed and not is_ahead(p.time, now)), None)
    incomplete = _incomplete(vault.stores, holdings, parent)
    fanout = Fanout(
        vault.stores, quorum, progress, failed=failed, incomplete=incomplete, limits=limits
    )
    writer = Writer(
        vault,
        fanout,
        holdings,
        progress,
        points=found.points,
        parent=parent,
        paranoid=paranoid,
    )
    try:
        started_at = clock()
        for data_class in DataClass:
            writer.write_class(data_class, [s for s in sources if s.data_class == data_class])
        plain = Plain(
            job_uid=job.uid,
            job_name=job.name,
            scheduled_at=job.scheduled_at,
            started_at=started_at,
            point_time=clock(),
            quorum=quorum,
            locations=tuple(store.location for store in vault.stores),
            sources=tuple(writer.written[name].plain for name in names),
        )
        body = Body(job.namespace, tuple(writer.written[name].sealed for name in names))
        name, data = encode_manifest(vault.keyring, plain, body, vault.random(SALT_SIZE))
        commit = Commit(fanout, holdings, writer.needed())
        commit.run(name, data, limits.grace_seconds)
    finally:
        fanout.close()  # first, so that nobody waits for memory any more
        writer.close()
    return _result(name, plain, fanout, [writer.written[n].result for n in names], adopted=False)


def _left(vault: Vault, failed: Collection[str]) -> list[Store]:
    return [store for store in vault.stores if store.location not in failed]


def _adopt(
    vault: Vault,
    point: Point,
    progress: Progress,
    limits: Limits,
    *,
    holdings: Holdings,
    failed: dict[str, str],
) -> BackupResult:
    """Spread the manifest that an earlier run of the job wrote, instead of writing a second one."""
    plain = point.plain
    stores = [store for store in vault.stores if store.location in plain.locations]
    answering = [store for store in stores if store.location not in failed]
    if len(answering) < plain.quorum:
        raise QuorumError(
            f"{point.manifest} needs {plain.quorum} of {', '.join(plain.locations)}; "
            f"only {len(answering)} answer"
        )
    refs = {ref for source in plain.sources for ref in source.indexes}
    needed = closure(answering, refs)
    body = open_body(vault.keyring, point.manifest, point.data)
    fanout = Fanout(stores, plain.quorum, progress, failed=failed, incomplete=(), limits=limits)
    try:
        Commit(fanout, holdings, needed).run(point.manifest, point.data, limits.grace_seconds)
    finally:
        fanout.close()
    results = [
        SourceResult(shown.name, shown.data_class, shown.files, shown.bytes, 0, list(own.warnings))
        for shown, own in zip(plain.sources, body.sources, strict=True)
    ]
    return _result(point.manifest, plain, fanout, results, adopted=True)


def _goes(stores: Sequence[Store], point: Point, marked: Marked) -> bool:
    """Whether a point, or anything that it needs, is marked to be removed: no location would take it."""
    if not marked.marks:
        return False
    refs = {ref for source in point.sources for ref in source.indexes}
    return point.manifest in marked or any(x.name in marked for x in closure(stores, refs))


def _incomplete(stores: Sequence[Store], holdings: Holdings, parent: Point | None) -> list[str]:
    """Say which locations lack something that the parent point needs, as far as indexes tell."""
    refs = [ref for source in parent.sources for ref in source.indexes] if parent else []
    return [
        store.location
        for store in stores
        if any(not holdings.at(store.location, ref.digest, ref.size) for ref in refs)
    ]


def _result(
    name: str, plain: Plain, fanout: Fanout, sources: list[SourceResult], *, adopted: bool
) -> BackupResult:
    return BackupResult(
        manifest=name,
        sha256=(digest_of(name) or b"").hex(),
        started_at=plain.started_at,
        point_time=plain.point_time,
        locations=[lane.result for lane in fanout.lanes],
        sources=sources,
        adopted=adopted,
    )
