"""WeddingBackupPolicy: one wedding as one organisation protects it."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, OneOf, Rule, Time
from weddingbackup.resources.common import (
    CheckLevel,
    DatabaseRef,
    DataClass,
    Privilege,
    Provider,
    SecretKeyRef,
    Table,
)
from weddingbackup.resources.cron import CRON
from weddingbackup.resources.fields import (
    UNIQUE,
    CalendarDate,
    Cel,
    Country,
    Duration,
    FolderPath,
    Glob,
    Latitude,
    Longitude,
    ObjectName,
    Quantity,
    Says,
    SourceName,
    TimeZone,
    keyed_by,
)
from weddingbackup.resources.kind import AGE, Column, Definition, Kind, KindStatus, Scope, name_rule
from weddingbackup.resources.selectors import LabelSelector, LabelValue


class Tier(StrEnum):
    """How much a wedding's data matters before the calendar says so."""

    STANDARD = "Standard"
    CRITICAL = "Critical"


class DeletionPolicy(StrEnum):
    """What becomes of recovery points when their policy is deleted."""

    RETAIN = "Retain"
    ERASE = "Erase"


class Continuous(StrEnum):
    """Whether changes between backups are captured. Other values come when they work."""

    NEVER = "Never"


class Phase(StrEnum):
    """What a policy does at the moment."""

    PENDING = "Pending"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    BLOCKED = "Blocked"
    ERASING = "Erasing"


class Venue(Model):
    """Where the wedding is held."""

    latitude: Latitude
    """Degrees north of the equator, -90 to 90, for example 51.48."""
    longitude: Longitude
    """Degrees east of Greenwich, -180 to 180, for example -0.61."""
    country: Country
    """ISO 3166 code of the country, for example GB."""


class Wedding(Model):
    """The wedding itself: which, when and where."""

    id: Annotated[
        str,
        Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
        Says("write an id of letters, digits, hyphens, dots and underscores, e.g. w-2026-1205-017"),
        Cel(
            "self == oldSelf",
            "the wedding of a policy cannot change, its recovery points belong to it:"
            " make a new policy for another wedding",
        ),
    ]
    """The wedding's id in the platform, for example w-2026-1205-017. Organisations that write the same id are backed up at one moment; it gives nobody a right to another's data."""
    date: CalendarDate
    """The wedding's first day at its venue, for example "2026-12-05". It may be moved."""
    days: Annotated[int, Field(ge=1, le=7)] = 1
    """How many days the wedding lasts, 1 to 7."""
    time_zone: TimeZone
    """The venue's time zone, for example Europe/London."""
    venue: Venue
    """Where the wedding is held."""
    tier: Tier = Tier.STANDARD
    """Critical treats the wedding as critical from now on, not only from seven days before its date."""
    cancelled: bool = False
    """The wedding does not take place. Its recovery points are kept as the retention says."""


class Postgres(OneOf):
    """The rows of one wedding in a PostgreSQL database: its own connection, or a shared database."""

    members = ("connection_secret_ref", "database_ref")

    connection_secret_ref: SecretKeyRef | None = None
    """Secret in the policy's namespace whose key (uri, if none is named) holds a connection string, postgresql://…. The backup sees what its role may see."""
    database_ref: DatabaseRef | None = None
    """A BackupDatabase that an administrator has registered and that serves this namespace. Of the rows that tables choose, only those that it gives to this namespace are seen."""
    tables: Annotated[
        list[Table],
        Field(min_length=1, max_length=64),
        keyed_by("schema", "name"),
        Cel(
            "self.all(t, !has(t.via) || (t.via.table != t.name"
            " && self.exists(o, o.name == t.via.table && o.schema == t.schema)))",
            "write in via.table the name of another table of this list, in the same schema",
        ),
    ]
    """The tables, and how the wedding's rows are found in each. Rows of other weddings are neither read nor touched."""


class Volume(Model):
    """The files of a persistent volume claim."""

    claim_name: ObjectName
    """The PersistentVolumeClaim in the policy's namespace."""
    path: FolderPath | None = None
    """Only this folder of the volume, for example photos/2026; without it, all of the volume."""
    include: Annotated[list[Glob], Field(max_length=64)] = Field(default_factory=list)
    """Only files that match one of these patterns, for example "**/*.jpg"; without any, all files."""
    exclude: Annotated[list[Glob], Field(max_length=64)] = Field(default_factory=list)
    """Files that match one of these patterns are left out, for example "cache/**"."""


class Source(OneOf):
    """One thing to protect: rows of a database, or files of a volume."""

    members = ("volume", "postgres")

    name: SourceName
    """Name of the source inside the policy, for example planning. A recovery can ask for it by this name."""
    data_class: DataClass
    """What the data is for. Recovery brings classes back in this order: Timeline, Guests, Contracts, Messages, Portfolio, Other. Guests is personal data."""
    volume: Volume | None = None
    """Files of a persistent volume claim."""
    postgres: Postgres | None = None
    """Rows of a PostgreSQL database."""


class Redundancy(Model):
    """How many copies are kept, and how different their places are."""

    copies: Annotated[int, Field(ge=2, le=9)] = 3
    """How many locations hold every backup, 2 to 9."""
    quorum: Annotated[int, Field(ge=2, le=9)] = 2
    """How many of them must have confirmed every byte before a backup counts; at least 2, at most copies. The others follow."""
    min_providers: Annotated[int, Field(ge=1, le=4)] = 1
    """The copies lie at this many different providers or more."""
    min_regions: Annotated[int, Field(ge=1, le=9)] = 1
    """The copies lie in this many different regions or more."""

    rules = (
        Rule(
            "self.quorum <= self.copies",
            "write a quorum that is not larger than copies: 2 <= quorum <= copies",
        ),
        Rule(
            "self.minProviders <= self.copies && self.minRegions <= self.copies",
            "write minProviders and minRegions that are not larger than copies",
        ),
    )


class Placement(Model):
    """Which locations may be used."""

    location_selector: LabelSelector | None = None
    """Only BackupLocations with these labels; without it, all."""
    exclude: Annotated[list[ObjectName], Field(max_length=32), UNIQUE] = Field(default_factory=list)
    """Names of BackupLocations that are not used."""
    jurisdictions: Annotated[list[Country], Field(max_length=32), UNIQUE] = Field(
        default_factory=list
    )
    """Only locations in these countries (ISO 3166 codes); without any, everywhere."""


class Schedule(Model):
    """When backups are made. Without cron and every: every 24 hours."""

    cron: (
        Annotated[
            str,
            Field(min_length=9, max_length=100, pattern=CRON),
            Says(
                'write five cron fields (minute hour day month weekday), for example "30 3 * * *"'
            ),
        ]
        | None
    ) = None
    """Five cron fields, read in timeZone, for example "30 3 * * *" for half past three every night."""
    every: Annotated[timedelta, Duration("1m", "168h")] | None = None
    """Time from one backup to the next, for example 6h; from 1m to 168h."""
    time_zone: TimeZone = "UTC"
    """The time zone in which cron is read, for example Europe/London."""
    jitter: Annotated[timedelta, Duration("0s", "1h")] | None = None
    """Spreads the starts of many policies over this time; each policy keeps its own place in it."""
    suspend: bool = False
    """No scheduled backups while this is true; on-demand ones still run."""

    rules = (
        Rule(
            "!(has(self.cron) && has(self.every))",
            "write only one of cron and every",
        ),
        Rule(
            "!has(self.jitter) || !has(self.every) || duration(self.jitter) < duration(self.every)",
            "write a jitter that is shorter than every",
        ),
    )


class Retention(Model):
    """Which recovery points are kept at least. A policy's last good point is never removed."""

    keep_last: Annotated[int, Field(ge=1, le=1000)] = 7
    """The newest this many points."""
    hourly: Annotated[int, Field(ge=0, le=1000)] = 48
    """The newest point of each of the last this many hours that have one."""
    daily: Annotated[int, Field(ge=0, le=1000)] = 30
    """The newest point of each of the last this many days that have one."""
    weekly: Annotated[int, Field(ge=0, le=1000)] = 12
    """The newest point of each of the last this many weeks that have one."""
    monthly: Annotated[int, Field(ge=0, le=1000)] = 12
    """The newest point of each of the last this many months that have one."""
    yearly: Annotated[int, Field(ge=0, le=100)] = 5
    """The newest point of each of the last this many years that have one."""
    point_in_time_window: Annotated[timedelta, Duration("0s", "744h")] = timedelta(hours=24)
    """Every point of that last time is kept, and the newest one before it, for example 72h."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """When the policy is deleted, Retain keeps all its recovery points (a policy made anew under its name finds them), Erase destroys its keys and removes them."""


class Recovery(Model):
    """Who else may bring this policy's data back."""

    allowed_namespaces: Annotated[list[ObjectName], Field(max_length=32), UNIQUE] = Field(
        default_factory=list
    )
    """Other namespaces whose RecoveryRequests may name this policy and bring its data back into themselves. Whoever may make requests there reads all of this policy's data. A namespace that is deleted and made anew under its name has no part in it: see status.grants."""


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class TolerationOperator(StrEnum):
    """How a taint's value is compared."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class Toleration(Model):
    """A taint of nodes that workers may run on all the same."""

    key: Annotated[str, Field(max_length=316)] | None = None
    """The taint's key; none, with operator Exists, for all taints."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Equal compares the value, Exists does not."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: TaintEffect | None = None
    """The taint's effect; none for all effects."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is tolerated; none for ever."""


class Resources(Model):
    """What a worker's pod asks of its node and may use."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the node must have free, for example cpu: 500m and memory: 512Mi."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the worker may use at most."""


class Worker(Model):
    """How the pods that back up and restore this policy's data run."""

    privilege: Privilege = Privilege.APP
    """App runs as an ordinary user under the restricted Pod Security level. Root can read and restore files of any owner; its namespace must allow the baseline level."""
    resources: Resources | None = None
    """What the pods ask for and may use; without it, the operator's defaults."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that workers may run on."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(default_factory=list)
    """Taints of nodes that workers may run on all the same."""
    run_as_user: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """User id of the worker with privilege App: the one that owns the volume's files, so that it may read and write them."""
    run_as_group: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Group id of the worker with privilege App."""
    fs_group: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Group that Kubernetes gives the volume's files to, where the volume's driver does so."""
    deadline: Annotated[timedelta, Duration("1m", "168h")] = timedelta(hours=6)
    """A job that has not ended after this time is stopped and has failed, for example 6h."""

    rules = (
        Rule(
            "self.privilege != 'Root' || (!has(self.runAsUser) && !has(self.runAsGroup))",
            "leave runAsUser and runAsGroup away with privilege Root, or write privilege: App",
        ),
    )


class Trigger(Model):
    """Asks for a backup now, in a way that fits GitOps."""

    manual: Annotated[str, Field(min_length=1, max_length=253)]
    """Any text, for example a date. Each new text makes one backup; status.lastManualTrigger repeats it once that is ordered."""


class Spec(Model):
    """Which wedding, what of it, and how it is protected."""

    wedding: Wedding
    """The wedding that is protected."""
    sources: Annotated[list[Source], Field(min_length=1, max_length=16), keyed_by("name")]
    """What is protected: rows of databases and files of volumes. Names are unique."""
    redundancy: Redundancy = Redundancy()
    """How many copies are kept, and how different their places are."""
    placement: Placement = Placement()
    """Which locations may be used."""
    schedule: Schedule = Schedule()
    """When backups are made; every 24 hours if nothing is said."""
    continuous: Continuous = Continuous.NEVER
    """Whether changes between backups are captured. Only Never is possible in this version."""
    retention: Retention = Retention()
    """Which recovery points are kept at least, and what becomes of them when the policy is deleted."""
    recovery: Recovery = Recovery()
    """Who else may bring this policy's data back; nobody, if nothing is said."""
    worker: Worker = Worker()
    """How the pods that do the work run."""
    trigger: Trigger | None = None
    """Asks for a backup now."""


class VaultStatus(Model):
    """The vault that holds the policy's recovery points."""

    id: Annotated[str, Field(max_length=64)]
    """The vault's id."""


class PlacedLocation(Model):
    """A location that was chosen for this policy."""

    name: Annotated[str, Field(max_length=253)]
    """The BackupLocation's name."""
    provider: Provider
    """Its provider."""
    region: Annotated[str, Field(max_length=64)]
    """Its region."""


class Point(Model):
    """A recovery point: a moment that can be brought back."""

    time: Time
    """The moment that it stands for."""
    backup_job: Annotated[str, Field(max_length=253)]
    """The BackupJob that made it."""
    manifest: Annotated[str, Field(max_length=512)]
    """Name of its manifest in the stores."""


class CheckedCopy(Model):
    """One location's copy of the vault, as the last checks found it."""

    name: Annotated[str, Field(max_length=253)]
    """The BackupLocation's name."""
    verified_time: Time | None = None
    """Every byte that had arrived there before this moment was read since, and is good."""
    missing: Annotated[int, Field(ge=0)] = 0
    """Objects that were missing there at the last check."""
    damaged: Annotated[int, Field(ge=0)] = 0
    """Objects that were damaged there at the last check."""
    replaced: Annotated[int, Field(ge=0)] = 0
    """Those of them that have a good copy there again."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What is wrong there, if something is."""


class Check(Model):
    """The last look at the vault's copies."""

    time: Time
    """When it ended."""
    level: CheckLevel
    """Provider: listings and the providers' checksums. Full: every byte was read."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it did not get through, if it did not."""


class Loss(Model):
    """What a check found good nowhere."""

    time: Time
    """When it was found."""
    objects: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=20)] = Field(
        default_factory=list
    )
    """Names of the first of these objects."""
    count: Annotated[int, Field(ge=0)] = 0
    """How many there are."""
    points: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=10)] = Field(
        default_factory=list
    )
    """Manifests of the newest points that needed them; a backup made since is whole again."""
    backup_job: Annotated[str, Field(max_length=253)] | None = None
    """The BackupJob that was ordered to store anew what the source still has."""


class Collection(Model):
    """The last removal of what no kept recovery point needs."""

    time: Time
    """When it ended."""
    points: Annotated[int, Field(ge=0)] = 0
    """Recovery points that expired and were removed."""
    objects: Annotated[int, Field(ge=0)] = 0
    """Objects removed, at all locations together."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Their bytes."""
    marked: Annotated[int, Field(ge=0)] = 0
    """Objects that the next run removes, if nobody needs them by then."""
    locked: Annotated[int, Field(ge=0)] = 0
    """Objects that a bucket's lock holds; they are tried again."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it could not do its work, if it could not."""


class Grant(Model):
    """A namespace that may recover, as it was first seen."""

    namespace: ObjectName
    """The namespace's name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID; a later namespace of this name has another one, and is refused."""


class Status(KindStatus):
    """Whether the wedding is protected, and since when."""

    phase: Phase = Phase.PENDING
    """Active: backups are made. Suspended: by schedule.suspend. Blocked: something has to be put right first, see conditions."""
    vault: VaultStatus | None = None
    """The vault that holds the recovery points; it stays when the policy is deleted and Retain is set."""
    locations: Annotated[list[PlacedLocation], Field(max_length=32), keyed_by("name")] = Field(
        default_factory=list
    )
    """The locations that were chosen."""
    grants: Annotated[list[Grant], Field(max_length=32), keyed_by("namespace")] = Field(
        default_factory=list
    )
    """Who of spec.recovery.allowedNamespaces was found. An entry stays until its name is taken out there."""
    copies: Annotated[str, Field(max_length=16)] | None = None
    """Copies of the newest point, out of those that are asked for, for example 5/5."""
    newest_point: Point | None = None
    """The newest moment that can be brought back."""
    last_backup_time: Time | None = None
    """When the last backup ended, well or not."""
    last_success_time: Time | None = None
    """When the last backup that committed ended."""
    last_scheduled_time: Time | None = None
    """The last moment of the schedule for which a backup was ordered."""
    next_backup_time: Time | None = None
    """When the next backup is due."""
    active_job: Annotated[str, Field(max_length=253)] | None = None
    """The BackupJob that is under way."""
    last_manual_trigger: Annotated[str, Field(max_length=253)] | None = None
    """The text of spec.trigger.manual for which a backup was last ordered."""
    last_manual_generation: Annotated[int, Field(ge=0)] | None = None
    """The newest generation of the policy that was looked at for it: only a later edit can ask anew."""
    stored_bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes that its vault takes at the location where it takes the most, as last listed."""
    stored_unlisted: Annotated[
        list[Annotated[str, Field(max_length=253)]], Field(max_length=32)
    ] = Field(default_factory=list)
    """The first of the locations whose last listing did not end: they count as they last did, and are listed again."""
    last_check: Check | None = None
    """The last look at the vault's copies."""
    check_waits: Annotated[str, Field(max_length=1024)] | None = None
    """Why a check that is due, or was asked for, is not made yet."""
    checked: Annotated[list[CheckedCopy], Field(max_length=32), keyed_by("name")] = Field(
        default_factory=list
    )
    """Each location's copy, as the last checks found it."""
    loss: Loss | None = None
    """What was found good nowhere, until a check finds all that is kept whole again."""
    last_collection: Collection | None = None
    """The last removal of what no kept recovery point needs."""
    collection_waits: Annotated[str, Field(max_length=1024)] | None = None
    """Why a collection that is due, or was asked for, is not made yet."""
    estimated_recovery_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a recovery would take now, from what was measured."""


class WeddingBackupPolicy(Kind):
    """One wedding as one organisation protects it.

    The operator keeps several verified, encrypted copies of the sources at different locations,
    and brings them back when a RecoveryRequest asks for it.
    """

    definition = Definition(
        kind="WeddingBackupPolicy",
        plural="weddingbackuppolicies",
        short="wbp",
        scope=Scope.NAMESPACED,
        columns=(
            Column("Wedding", ".spec.wedding.id"),
            Column("Date", ".spec.wedding.date"),
            Column("Protected", '.status.conditions[?(@.type=="Protected")].status'),
            Column("Copies", ".status.copies"),
            Column("Newest", ".status.newestPoint.time", "date"),
            # Not a date: kubectl shows one that lies ahead as <invalid>.
            Column("Next", ".status.nextBackupTime"),
            Column("Phase", ".status.phase", priority=1),
            Column("Message", ".status.message", priority=1),
            AGE,
        ),
        rules=(name_rule(40, "names of its BackupJobs add the moment, and become labels"),),
        selectable=(".spec.wedding.id", ".spec.wedding.date", ".status.phase"),
    )

    spec: Spec
    """Which wedding, what of it, and how it is protected."""
    status: Status = Status()
    """Whether the wedding is protected, and since when."""
