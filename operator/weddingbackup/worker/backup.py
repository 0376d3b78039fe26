"""Backs up a policy's sources into its vault: the task says which, the engine does it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

from weddingbackup.log import redact
from weddingbackup.resources.reports import BackupReport, LocationReport, SourceReport
from weddingbackup.resources.tasks import BackupTask, SourceTask
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.vault import write
from weddingbackup.vault.entries import Source
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import LocationResult, SourceResult
from weddingbackup.worker import brokered
from weddingbackup.worker.client import Client
from weddingbackup.worker.environment import Environment, read_file
from weddingbackup.worker.reporter import telling


def backup(task: BackupTask, environment: Environment, progress: Progress) -> BackupReport:
    """Do one backup.

    Raises:
        RefusedError: the pod lacks its token or a connection string, or the task makes no sense.
        BrokerError: the broker refused, or stayed away.
        SourceError, SourceUnavailableError: a source cannot be read, for good or for now.
        VaultError: it could not be committed.
    """
    client = Client(task.broker, environment.token_file)
    job = write.JobFacts(
        uid=task.job.uid,
        namespace=task.job.namespace,
        name=task.job.name,
        scheduled_at=task.scheduled_at,
    )
    with ExitStack() as opened:
        opened.enter_context(telling(client.tell, progress))
        vault = opened.enter_context(
            brokered.opened(
                client,
                task.vault,
                locations=task.locations,
                patience=write.patience(task.quorum),
            )
        )
        sources = [
            write.SourceInput(
                source.name, source.data_class, _open(source, client, environment, opened)
            )
            for source in task.sources
        ]
        estimate = Thread(target=_estimate, args=(sources, progress), name="estimate", daemon=True)
        estimate.start()
        result = write.backup(
            vault,
            job,
            sources,
            quorum=task.quorum,
            progress=progress,
            distrust=task.distrust,
        )
        # An adopted point holds what an earlier attempt read: this one's facts are not its own.
        facts = {} if result.adopted else {s.name: s.source.facts() for s in sources}
        estimate.join()
    return BackupReport(
        manifest=result.manifest,
        sha256=result.sha256,
        started_at=result.started_at,
        finished_at=datetime.now(UTC),
        point_time=result.point_time,
        locations=[_location_report(location) for location in result.locations],
        sources=[_source_report(source, facts.get(source.name, {})) for source in result.sources],
    )


def _open(task: SourceTask, client: Client, environment: Environment, opened: ExitStack) -> Source:
    if task.volume is not None:
        return VolumeSource(Path(task.volume.path), task.volume.include, task.volume.exclude)
    if task.postgres is not None:
        # Here and not above: the driver takes longer to import than all of ours, and many need none.
        from weddingbackup.sources.postgres import PostgresSource  # noqa: PLC0415  see above

        uri = read_file(
            Path(task.postgres.connection_file), what=f"source {task.name}'s connection string"
        )
        return opened.enter_context(PostgresSource(uri, task.postgres.tables))
    # As above.
    from weddingbackup.worker.rows import shared_source  # noqa: PLC0415  see above

    return shared_source(client, task.name, environment.scratch)


def _estimate(sources: Sequence[write.SourceInput], progress: Progress) -> None:
    """Find out how much there is, beside the backup itself: a large volume takes a while to walk."""
    try:
        sizes = [source.source.estimate() for source in sources]
    except (OSError, SourceError, SourceUnavailableError):
        return  # whoever reads the source says so, and better
    progress.bytes_total = sum(size or 0 for size in sizes)


def _location_report(result: LocationResult) -> LocationReport:
    return LocationReport(
        name=result.name,
        phase=result.phase,
        bytes=result.bytes,
        seconds=result.seconds,
        message=result.message and redact(result.message),
    )


def _source_report(result: SourceResult, facts: Mapping[str, Any]) -> SourceReport:
    return SourceReport(
        name=result.name,
        data_class=result.data_class,
        files=result.files,
        rows=facts.get("rows"),
        bytes=result.bytes,
        new_bytes=result.new_bytes,
        warnings=list(dict.fromkeys([*result.warnings, *facts.get("warnings", ())])),
    )
