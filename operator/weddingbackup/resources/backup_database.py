"""BackupDatabase: one PostgreSQL that several organisations share, and who may back up which rows of it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, OneOf
from weddingbackup.resources.common import SecretKeyRef, SqlName, Via
from weddingbackup.resources.fields import Cel, keyed_by
from weddingbackup.resources.kind import AGE, Column, Definition, Kind, KindStatus, Scope, name_rule
from weddingbackup.resources.selectors import LabelSelector


class Owner(Model):
    """Rows belong to the namespace whose label their column equals."""

    column: SqlName
    """The column that says whose a row is, for example vendor_id."""
    namespace_label: Annotated[str, Field(min_length=1, max_length=316)]
    """The label of the namespace that the column's value has to equal as text, for example wedsync.io/vendor-id. A namespace without it sees no row."""


class ReferencedBy(StrEnum):
    """Whose rows may come to point to rows of a table."""

    OWNER = "Owner"
    EVERYONE = "Everyone"


class SharedTable(OneOf):
    """One table that organisations may protect rows of, and whose each row is."""

    members = ("owner", "via")

    schema_name: Annotated[SqlName, Field(alias="schema")] = "public"
    """The schema that the table is in."""
    name: SqlName
    """The table's name."""
    owner: Owner | None = None
    """Rows belong to the namespace that one of their columns names."""
    via: Via | None = None
    """Rows belong to whom the row belongs that they point to."""
    referenced_by: ReferencedBy = ReferencedBy.OWNER
    """Owner: a recovery is refused where it would bring back rows that point to rows of this table that are another organisation's. Everyone: it may, as the contracts of all vendors point to one wedding; whoever may recover then learns by trying which keys this table has."""


class Spec(Model):
    """How the database is reached, and what of it belongs to whom."""

    connection_secret_ref: SecretKeyRef
    """Secret in the operator's namespace whose key (uri, if none is named) holds a connection string, postgresql://…. Its role has to see the rows of all organisations; no worker ever gets it."""
    allowed_namespaces: LabelSelector
    """Namespaces with these labels may back up and recover rows of it; {} for all."""
    tables: Annotated[
        list[SharedTable],
        Field(min_length=1, max_length=128),
        keyed_by("schema", "name"),
        Cel(
            "self.all(t, !has(t.via) || (t.via.table != t.name"
            " && self.exists(o, o.name == t.via.table && o.schema == t.schema)))",
            "write in via.table the name of another table of this list, in the same schema",
        ),
    ]
    """The tables that policies may name, and tables that say whose their rows are. No other table can be protected through this object."""


class Status(KindStatus):
    """Whether the database can be used."""


class BackupDatabase(Kind):
    """One PostgreSQL that several organisations share, registered by an administrator.

    A policy that names it chooses rows of its tables; of those, a worker gets the ones that belong to
    its namespace, read and written for it by the broker, and never the connection.
    """

    definition = Definition(
        kind="BackupDatabase",
        plural="backupdatabases",
        short="bdb",
        scope=Scope.CLUSTER,
        columns=(
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Message", ".status.message", priority=1),
            AGE,
        ),
        rules=(name_rule(63, "labels contain it"),),
    )

    spec: Spec
    """How the database is reached, and what of it belongs to whom."""
    status: Status = Status()
    """Whether the database can be used."""
