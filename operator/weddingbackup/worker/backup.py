"""Backs up a policy's sources into its vault: the task says which, the engine does it."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from weddingbackup.log import redact
from weddingbackup.resources.reports import BackupReport, LocationReport, SourceReport
from weddingbackup.resources.tasks import BackupTask, SourceTask
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.vault import write
from weddingbackup.vault.entries import Source
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import LocationResult, SourceResult
from weddingbackup.vault.vault import Vault
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment, read_file
from weddingbackup.worker.errors import RefusedError


def backup(task: BackupTask, environment: Environment, progress: Progress) -> BackupReport:
    """Do one backup.

    Raises:
        RefusedError: the pod lacks the kit or a connection string, or the task makes no sense.
        SourceError, SourceUnavailableError: a source cannot be read, for good or for now.
        VaultError: it could not be committed.
    """
    kit = access.kit(environment, task.vault)
    vault = Vault.open(
        kit,
        access.stores(environment, task.locations, task.vault),
        classes={source.data_class for source in task.sources},
    )
    job = write.JobFacts(
        uid=task.job.uid,
        namespace=task.job.namespace,
        name=task.job.name,
        scheduled_at=task.scheduled_at,
    )
    with ExitStack() as opened:
        sources = [
            write.SourceInput(source.name, source.data_class, _open(source, opened))
            for source in task.sources
        ]
        result = write.backup(vault, job, sources, quorum=task.quorum, progress=progress)
        rows = {source.name: _rows(source, adopted=result.adopted) for source in sources}
    return BackupReport(
        manifest=result.manifest,
        sha256=result.sha256,
        started_at=result.started_at,
        finished_at=datetime.now(UTC),
        point_time=result.point_time,
        locations=[_location_report(location) for location in result.locations],
        sources=[_source_report(source, rows[source.name]) for source in result.sources],
    )


def _open(task: SourceTask, opened: ExitStack) -> Source:
    if task.volume is not None:
        return VolumeSource(Path(task.volume.path), task.volume.include, task.volume.exclude)
    if task.postgres is not None:
        # Here and not above: the driver takes longer to import than all of ours, and many need none.
        from weddingbackup.sources.postgres import PostgresSource  # noqa: PLC0415  see above

        uri = read_file(
            Path(task.postgres.connection_file), what=f"source {task.name}'s connection string"
        )
        return opened.enter_context(PostgresSource(uri, task.postgres.tables))
    raise RefusedError("BadTask", f"source {task.name} has neither a volume nor a database")


def _rows(source: write.SourceInput, *, adopted: bool) -> int | None:
    """Rows of a database source. An adopted point holds what an earlier attempt read: not known."""
    rows: int | None = None if adopted else source.source.facts().get("rows")
    return rows


def _location_report(result: LocationResult) -> LocationReport:
    return LocationReport(
        name=result.name,
        phase=result.phase,
        bytes=result.bytes,
        seconds=result.seconds,
        message=result.message and redact(result.message),
    )


def _source_report(result: SourceResult, rows: int | None) -> SourceReport:
    return SourceReport(
        name=result.name,
        data_class=result.data_class,
        files=result.files,
        rows=rows,
        bytes=result.bytes,
        new_bytes=result.new_bytes,
        warnings=result.warnings,
    )
