"""What of a shared database belongs to a namespace: the fence around each table that is named.

Everything follows from what an administrator wrote (the BackupDatabase, the namespace's labels). What an
organisation writes in a policy chooses among the rows inside, and never widens the fence.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from weddingbackup.resources.backup_database import (
    BackupDatabase,
    ReferencedBy,
    SharedTable,
    Status,
)
from weddingbackup.resources.common import Table
from weddingbackup.rules.conditions import State, merge, summary
from weddingbackup.rules.placement import matches
from weddingbackup.rules.workload import Problem


def fence(
    database: BackupDatabase,
    namespace: str,
    labels: Mapping[str, str],
    tables: Iterable[Table],
) -> list[Table] | Problem:
    """Say which rows of these tables belong to a namespace.

    Args:
        database: as registered.
        namespace: its name, for messages.
        labels: those of the Namespace object.
        tables: those that are to be read or written; only their names count.

    Returns:
        The tables, and those that they are reached by, each with the rows that are the namespace's
        (`match` means: the column, as text, equals the value to the letter); or what is in the way.
    """
    name = database.metadata.name
    if not matches(database.spec.allowed_namespaces, labels):
        return Problem(
            "DatabaseNotAllowed",
            f"BackupDatabase {name} does not serve namespace {namespace}: an administrator labels the "
            "namespace so that spec.allowedNamespaces chooses it, or widens that.",
        )
    shared = {(table.schema_name, table.name): table for table in database.spec.tables}
    found: dict[tuple[str, str], Table] = {}
    waiting = [(table.schema_name, table.name) for table in tables]
    while waiting:
        key = waiting.pop(0)
        if key in found:
            continue
        if key not in shared:
            return Problem(
                "TableNotShared",
                f"BackupDatabase {name} does not share table {'.'.join(key)}; it shares "
                f"{', '.join(sorted('.'.join(each) for each in shared))}: leave the table away, or an "
                "administrator lists it there and says whose its rows are.",
            )
        table = shared[key]
        own = _own(table, labels)
        if own is None:
            assert table.owner is not None
            return Problem(
                "NamespaceLabelMissing",
                f"Namespace {namespace} has no label {table.owner.namespace_label} with a value, which "
                f"says whose rows of table {'.'.join(key)} of BackupDatabase {name} are: an "
                "administrator sets it on the namespace.",
            )
        found[key] = own
        if own.via is not None:
            waiting.append((own.schema_name, own.via.table))
    return list(found.values())


def judge(
    database: BackupDatabase, problem: Problem | None, *, passing: bool, now: datetime
) -> Status:
    """What a probe says about a database: what it met, and whether that may pass by itself."""
    if problem is None:
        verdicts = summary(State.READY, "ProbeSucceeded", "Reachable, and every table is there.")
    else:
        state = State.RECONCILING if passing else State.STALLED
        verdicts = summary(state, problem.reason, problem.message)
    generation = database.metadata.generation
    return Status(
        observed_generation=generation,
        conditions=merge(database.status.conditions, verdicts, generation=generation, now=now),
        message=(problem.message if problem else "Reachable, and every table is there.")[:4096],
    )


def parents_of_all(database: BackupDatabase) -> list[tuple[str, str]]:
    """Schema and name of the tables to whose rows everybody's may come to point."""
    return [
        (table.schema_name, table.name)
        for table in database.spec.tables
        if table.referenced_by is ReferencedBy.EVERYONE
    ]


def described(database: BackupDatabase) -> list[Table]:
    """All its tables as a probe looks for them, with each owner's column; the values are not read."""
    return [
        Table(
            schema_name=table.schema_name,
            name=table.name,
            match=None if table.owner is None else {table.owner.column: ""},
            via=table.via,
        )
        for table in database.spec.tables
    ]


def _own(table: SharedTable, labels: Mapping[str, str]) -> Table | None:
    """The rows of one table that are the namespace's; None where it lacks the label that says so."""
    if table.owner is None:
        return Table(schema_name=table.schema_name, name=table.name, via=table.via)
    value = labels.get(table.owner.namespace_label)
    # A label may be empty, and a column of a row that is nobody's may be, too.
    if not value:
        return None
    return Table(schema_name=table.schema_name, name=table.name, match={table.owner.column: value})
