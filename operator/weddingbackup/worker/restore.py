"""Brings one source of one recovery point back: files into a volume, rows into a database."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from weddingbackup.resources.common import Privilege
from weddingbackup.resources.reports import DamagedObject, ErrorReport, RestoreReport
from weddingbackup.resources.tasks import PostgresTarget, RestoreTask
from weddingbackup.sources.volume import VolumeTarget
from weddingbackup.stores.retry import Retry
from weddingbackup.vault import read
from weddingbackup.vault.opened import resolve
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.results import RestoreResult
from weddingbackup.vault.vault import Vault
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment, read_file
from weddingbackup.worker.errors import RefusedError

# Where another location can be asked instead, that is better than waiting for this one.
_IMPATIENT = Retry(deadline_seconds=2)


def restore(task: RestoreTask, environment: Environment, progress: Progress) -> RestoreReport:
    """Do one source's recovery.

    Raises:
        RefusedError: the pod lacks the kit or a connection string, or the task makes no sense.
        SourceError, SourceUnavailableError: the target cannot be written, for good or for now.
        VaultError: not everything could be brought back.
    """
    begun = time.monotonic()
    kit = access.kit(environment, task.vault)
    stores = access.stores(
        environment, task.locations, task.vault, retry=_IMPATIENT if task.locations[1:] else None
    )
    vault = Vault.open(kit.keyring(), kit.objects, stores)
    rows: int | None = None
    warnings: list[str] = []
    if task.target.volume is not None:
        privileged = task.privilege is Privilege.ROOT
        result = _bring(vault, task, Path(task.target.volume.path), progress, privileged=privileged)
    elif task.target.postgres is not None:
        # Here and not above: the driver takes longer to import than all of ours, and many need none.
        from weddingbackup.sources.postgres import apply  # noqa: PLC0415  see above

        target = task.target.postgres
        uri = _uri(task.source, target)
        # Rows rest here in the clear: not a moment longer than it takes.
        with TemporaryDirectory(prefix="rows-") as directory:
            result = _bring(vault, task, Path(directory), progress, privileged=False)
            applied = apply(Path(directory), uri, schema=target.schema_name)
        result.warnings.clear()  # about owners and times of files that nobody keeps
        rows, warnings = applied.rows, applied.warnings
    else:
        raise RefusedError("BadTask", f"source {task.source} has no target, volume or database")
    return report(
        task.source,
        result,
        rows=rows,
        warnings=warnings,
        seconds=time.monotonic() - begun,
    )


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
    point = resolve(vault, task.point)
    progress.bytes_total = sum(s.bytes for s in point.sources if s.name == task.source)
    with VolumeTarget(directory, privileged=privileged) as target:
        return read.restore(vault, point, task.source, target, progress=progress)


def _uri(source: str, target: PostgresTarget) -> str:
    return read_file(Path(target.connection_file), what=f"source {source}'s connection string")
