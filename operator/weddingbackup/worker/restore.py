"""Brings one source of one recovery point back: files into a volume, rows into a database."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from weddingbackup.resources.broker import Applied
from weddingbackup.resources.common import Privilege
from weddingbackup.resources.reports import DamagedObject, ErrorReport, RestoreReport
from weddingbackup.resources.tasks import PostgresTarget, RestoreTask
from weddingbackup.sources.volume import VolumeTarget
from weddingbackup.stores.retry import Retry
from weddingbackup.vault import read
from weddingbackup.vault.opened import resolve
from weddingbackup.vault.parallel import URGENT
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import RestoreResult
from weddingbackup.vault.vault import Vault
from weddingbackup.worker import brokered
from weddingbackup.worker.client import Client
from weddingbackup.worker.environment import Environment, read_file
from weddingbackup.worker.reporter import telling

# Where another location can be asked instead, that is better than waiting for this one; the broker
# can be asked by nobody else, and its time does not count.
_IMPATIENT = Retry(deadline_seconds=2)
_SILENT = "location {} did not answer when the recovery began, which did not wait for it"


def restore(task: RestoreTask, environment: Environment, progress: Progress) -> RestoreReport:
    """Do one source's recovery.

    Raises:
        RefusedError: the pod lacks its token or a connection string, or the task makes no sense.
        BrokerError: the broker refused, or stayed away.
        SourceError, SourceUnavailableError: the target cannot be written, for good or for now.
        VaultError: not everything could be brought back.
    """
    begun = time.monotonic()
    client = Client(task.broker, environment.token_file)
    with (
        telling(client.tell, progress),
        brokered.opened(client, task.vault, impatience=_IMPATIENT, patience=URGENT) as vault,
    ):
        warnings = [_SILENT.format(location) for location in vault.silent]
        result, applied = _put_back(task, client, vault, progress)
    return report(
        task.source,
        result,
        rows=applied.rows if applied else None,
        warnings=[*warnings, *(applied.warnings if applied else ())],
        seconds=time.monotonic() - begun,
    )


def _put_back(
    task: RestoreTask, client: Client, vault: Vault, progress: Progress
) -> tuple[RestoreResult, Applied | None]:
    """Bring files to where they belong, or rows by way of a directory."""
    target = task.target
    if target.volume is not None:
        privileged = task.privilege is Privilege.ROOT
        path = Path(target.volume.path)
        return _bring(vault, task, path, progress, privileged=privileged), None
    # Rows rest here in the clear: not a moment longer than it takes.
    with TemporaryDirectory(prefix="rows-") as name:
        directory = Path(name)
        if target.postgres is not None:
            # Here and not above: the driver takes longer to import than all of ours.
            from weddingbackup.sources.postgres import apply  # noqa: PLC0415  see above

            uri = _uri(task.source, target.postgres)
            result = _bring(vault, task, directory, progress, privileged=False)
            done = apply(directory, uri, schema=target.postgres.schema_name)
            applied = Applied(rows=done.rows, warnings=done.warnings)
        else:
            # As above.
            from weddingbackup.worker.rows import put_back  # noqa: PLC0415  see above

            result = _bring(vault, task, directory, progress, privileged=False)
            applied = put_back(client, task.source, directory)
    result.warnings.clear()  # about owners and times of files that nobody keeps
    return result, applied


def report(
    source: str,
    result: RestoreResult,
    *,
    rows: int | None = None,
    warnings: Sequence[str] = (),
    seconds: float = 0.0,
    error: ErrorReport | None = None,
) -> RestoreReport:
    """What the engine did, in the words of a report; of a recovery that stayed incomplete too."""
    return RestoreReport(
        source=source,
        files=result.files,
        rows=rows,
        bytes=result.bytes,
        kept_files=result.kept_files,
        kept_bytes=result.kept_bytes,
        seconds=round(seconds, 3),
        locations=result.locations,
        damaged=[
            DamagedObject(location=location, object=name) for location, name in result.damaged
        ],
        warnings=[*result.warnings, *warnings],
        error=error,
    )


def _bring(
    vault: Vault, task: RestoreTask, directory: Path, progress: Progress, *, privileged: bool
) -> RestoreResult:
    point = resolve(vault, task.point, URGENT)
    progress.bytes_total = sum(s.bytes for s in point.sources if s.name == task.source)
    with VolumeTarget(directory, privileged=privileged) as target:
        return read.restore(vault, point, task.source, target, progress=progress)


def _uri(source: str, target: PostgresTarget) -> str:
    return read_file(Path(target.connection_file), what=f"source {source}'s connection string")
