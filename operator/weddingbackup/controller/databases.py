"""BackupDatabase: looked at now and then, so that an administrator sees what a worker would meet."""

import base64

from weddingbackup.controller.bulkheads import HungError
from weddingbackup.controller.context import Context
from weddingbackup.kube.client import DATABASES, SECRETS, Object
from weddingbackup.log import redact
from weddingbackup.resources.backup_database import BackupDatabase
from weddingbackup.rules.databases import described, judge
from weddingbackup.rules.workload import Problem
from weddingbackup.sources.errors import SourceError, SourceUnavailableError
from weddingbackup.sources.postgres import look

_SECONDS = 20.0


async def reconcile(context: Context, body: Object) -> bool:
    """Look whether the database is as its object says, and write what came of it."""
    database = BackupDatabase.model_validate(body)
    if database.metadata.deletion_timestamp is not None:
        return False
    problem, passing = await _find_out(context, database)
    status = judge(database, problem, passing=passing, now=context.now())
    await context.publish(DATABASES, body, status)
    return False


async def _find_out(context: Context, database: BackupDatabase) -> tuple[Problem | None, bool]:
    """What is wrong, and whether it may pass by itself."""
    reference = database.spec.connection_secret_ref
    secret = await context.cluster.get(SECRETS, reference.name, context.home)
    data = (secret or {}).get("data") or {}
    if reference.key not in data:
        message = (
            f"Secret {reference.name} of namespace {context.home} has no key {reference.key}: put the "
            "connection string there, postgresql://…."
        )
        return Problem("SecretNotFound", message), False
    uri = base64.b64decode(data[reference.key]).decode(errors="replace").strip()
    try:
        await context.bulkheads.run(
            f"database/{database.metadata.name}",
            lambda: look(uri, described(database)),
            seconds=_SECONDS,
        )
    except SourceError as error:
        return Problem("DatabaseRefused", redact(str(error))), False
    except (SourceUnavailableError, HungError) as error:
        return Problem("DatabaseUnavailable", redact(str(error))), True
    return None, False
