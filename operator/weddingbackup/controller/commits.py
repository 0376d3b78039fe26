"""Looking for a backup's manifest at the locations, with the operator's own credentials."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from weddingbackup.controller import access
from weddingbackup.controller.context import Context
from weddingbackup.resources.backup_job import ManifestStatus
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.backup_location import Phase as Health
from weddingbackup.rules.commit import Sight
from weddingbackup.stores import open_store
from weddingbackup.stores.errors import MissingError
from weddingbackup.stores.retry import Retry
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.manifest import Plain, read_plain
from weddingbackup.vault.objects import get_object

_log = structlog.get_logger()

_SECONDS = 10.0
"""For one location to give the manifest."""


@dataclass(frozen=True, slots=True)
class Look:
    """What locations showed.

    Attributes:
        sights: by location.
        plain: what the manifest says in plain; None where nobody showed it.
    """

    sights: Mapping[str, Sight]
    plain: Plain | None


async def look(
    context: Context, locations: Iterable[BackupLocation], prefix: str, wanted: ManifestStatus
) -> Look:
    """Ask these locations, all at once, for the manifest of a vault at `prefix`."""
    asked = list(locations)
    answers = await asyncio.gather(*(_ask(context, location, prefix, wanted) for location in asked))
    sights = {
        location.metadata.name: Sight.THERE if isinstance(answer, Plain) else answer
        for location, answer in zip(asked, answers, strict=True)
    }
    return Look(sights, next((each for each in answers if isinstance(each, Plain)), None))


async def _ask(
    context: Context, location: BackupLocation, prefix: str, wanted: ManifestStatus
) -> Plain | Sight:
    name = location.metadata.name
    if location.status.phase is Health.UNAVAILABLE:
        return Sight.SILENT

    def ask() -> Plain | Sight:
        store = open_store(reach, credentials, prefix=prefix, retry=Retry(deadline_seconds=1))
        try:
            return get_object([store], wanted.name, read)
        except (MissingError, VaultDamageError):
            return Sight.ABSENT
        finally:
            store.close()

    def read(manifest: str, data: bytes) -> Plain:
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            raise VaultDamageError(manifest, "it is not the one that was announced")
        return read_plain(manifest, data)[1]

    try:
        reach, credentials = await access.for_operator(context, location)
        return await context.bulkheads.run(f"commit/{name}", ask, seconds=_SECONDS)
    except Exception as error:  # noqa: BLE001  whatever an SDK throws, one location never holds up another
        _log.warning("a location did not show a manifest", location=name, error=str(error))
        return Sight.SILENT
