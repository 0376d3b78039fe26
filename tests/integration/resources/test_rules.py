"""Each rule of the schemas, asked of a real API server: good is taken, bad is refused in words that help."""

from typing import Any

import pytest

from tests import objects
from tests.integration.resources.conftest import ApiServer
from tests.objects import MISSING, Object, with_

pytestmark = pytest.mark.integration

LOCATION = objects.location()
POLICY = objects.policy()
JOB = objects.backup_job()
REQUEST = objects.recovery_request()
ALERT = objects.alert()
DATABASE = objects.database()

TABLES = "spec.sources.0.postgres.tables"
EVENTS = {"name": "timeline_events", "match": {"wedding_id": "w-2026-1205-017"}}

GOOD: list[tuple[str, Object, str, Any]] = [
    ("R2 with an endpoint", objects.location(provider="R2", endpoint="https://a.r2.example.com"), "spec.region", "auto"),
    ("every provider: GCS", LOCATION, "spec.provider", "GCS"),
    ("every provider: Azure", LOCATION, "spec.provider", "Azure"),
    ("an endpoint with port and path", LOCATION, "spec.endpoint", "http://10.0.0.1:9000/base"),
    ("a prefix", LOCATION, "spec.prefix", "weddings/prod.2026"),
    ("a container with underscores and dots", LOCATION, "spec.bucket", "my_weddings.eu"),
    ("the poles", LOCATION, "spec.coordinates", {"latitude": -90, "longitude": 180}),
    ("a probe as long as its interval", LOCATION, "spec.probe", {"interval": "15s", "timeout": "15s"}),
    ("durations of several units", LOCATION, "spec.probe", {"interval": "0h1m30s"}),
    ("a leap day", POLICY, "spec.wedding.date", "2028-02-29"),
    ("a week-long wedding", POLICY, "spec.wedding.days", 7),
    ("a zone of three parts", POLICY, "spec.wedding.timeZone", "America/Argentina/Buenos_Aires"),
    ("UTC", POLICY, "spec.wedding.timeZone", "UTC"),
    ("an id with all its characters", POLICY, "spec.wedding.id", "W_2026.12-05"),
    ("quorum as large as copies", POLICY, "spec.redundancy", {"copies": 5, "quorum": 5}),
    ("a cron expression", POLICY, "spec.schedule", {"cron": "*/15 8-18 1,15 JAN-MAR MON"}),
    ("an interval", POLICY, "spec.schedule", {"every": "6h", "jitter": "10m"}),
    ("a table of another schema", POLICY, f"{TABLES}.0.schema", "public"),
    ("tables of one name in two schemas", POLICY, f"{TABLES}.1", EVENTS | {"schema": "archive"}),
    ("a folder of the volume", POLICY, "spec.sources.1.volume.path", "photos/2026 summer/Jürgen & Zoë"),
    ("amounts as numbers and text", POLICY, "spec.worker.resources", {"requests": {"cpu": 1, "memory": "512Mi"}, "limits": {"cpu": "1500m"}}),
    ("a toleration of everything", POLICY, "spec.worker.tolerations", [{"operator": "Exists"}]),
    ("Root", POLICY, "spec.worker", {"privilege": "Root", "fsGroup": 1000}),
    ("a selector", POLICY, "spec.placement", {"locationSelector": {"matchLabels": {"tier": "hot"}, "matchExpressions": [{"key": "region", "operator": "In", "values": ["eu"]}, {"key": "old", "operator": "DoesNotExist"}]}}),
    ("jurisdictions", POLICY, "spec.placement.jurisdictions", ["GB", "FR"]),
    ("erasure", POLICY, "spec.retention", {"keepLast": 1, "hourly": 0, "deletionPolicy": "Erase"}),
    ("a trigger", POLICY, "spec.trigger", {"manual": "before the rehearsal, 3 Dec"}),
    ("a name of 40 characters", POLICY, "metadata.name", "w" * 40),
    ("a cancelled order", JOB, "spec.cancel", True),
    ("an emergency", JOB, "spec.reason", "Emergency"),
    ("a moment with an offset", REQUEST, "spec.pointInTime", "2026-12-05T14:30:00+01:00"),
    ("the first moment", REQUEST, "spec.pointInTime", "1970-01-01T00:00:00Z"),
    ("the last moment", REQUEST, "spec.pointInTime", "2999-12-31T23:59:59.999999999Z"),
    ("exactly one backup", REQUEST, "spec.backupJobRef", {"name": "before-the-weekend"}),
    ("some sources, elsewhere", objects.recovery_request(sources=["portfolio"]), "spec.targets", [{"source": "portfolio", "volume": {"claimName": "new", "path": "restored"}}]),
    ("another database", REQUEST, "spec.targets", [{"source": "planning", "postgres": {"connectionSecretRef": {"name": "db"}, "schema": "restored"}}]),
    ("a database for labelled namespaces", DATABASE, "spec.allowedNamespaces", {"matchLabels": {"kind": "vendor"}}),
    ("a shared table of another schema", DATABASE, "spec.tables.1", {"schema": "archive", "name": "weddings", "owner": {"column": "v", "namespaceLabel": "v"}}),
    ("a policy's rows of a shared database", with_(POLICY, "spec.sources.0.postgres.connectionSecretRef", MISSING), "spec.sources.0.postgres.databaseRef", {"name": "platform"}),
    ("rows back into a shared database", REQUEST, "spec.targets", [{"source": "planning", "postgres": {"databaseRef": {"name": "platform"}}}]),
    ("an alert that somebody looks after", ALERT, "spec.acknowledgedBy", "ana@bella.example"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path", "value"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])  # fmt: skip
def test_good_is_taken(api: ApiServer, body: Object, path: str, value: Any) -> None:
    api.accepts(with_(body, path, value))


BAD: list[tuple[str, Object, str, Any, str]] = [
    # locations
    ("no region", LOCATION, "spec.region", MISSING, "spec.region: Required value"),
    ("unknown provider", LOCATION, "spec.provider", "Dropbox", 'supported values: "S3", "R2", "GCS", "Azure"'),
    ("R2 without endpoint", LOCATION, "spec.provider", "R2", "write https://ACCOUNT_ID.r2.cloudflarestorage.com"),
    ("endpoint without scheme", LOCATION, "spec.endpoint", "s3.example.com", "for example https://s3.example.com"),
    ("endpoint with a password", LOCATION, "spec.endpoint", "https://me:secret@s3.example.com", "for example https://s3.example.com"),
    ("bucket with a path", LOCATION, "spec.bucket", "weddings/2026", "write the bucket's or container's name alone"),
    ("bucket as a URL", LOCATION, "spec.bucket", "s3://weddings", "write the bucket's or container's name alone"),
    ("prefix that climbs", LOCATION, "spec.prefix", "weddings/../other", "write a path like weddings/prod"),
    ("prefix with a slash first", LOCATION, "spec.prefix", "/weddings", "no slash at its ends"),
    ("latitude beyond the pole", LOCATION, "spec.coordinates", {"latitude": 91, "longitude": 0}, "should be less than or equal to 90"),
    ("longitude beyond the date line", LOCATION, "spec.coordinates", {"latitude": 0, "longitude": -181}, "should be greater than or equal to -180"),
    ("UK for GB", LOCATION, "spec.country", "UK", "for example GB (not UK)"),
    ("country in small letters", LOCATION, "spec.country", "gb", "two capital letters"),
    ("probe too often", LOCATION, "spec.probe.interval", "1s", "write a duration between 5s and 1h"),
    ("probe longer than its interval", LOCATION, "spec.probe", {"interval": "10s", "timeout": "11s"}, "write a timeout that is not longer than the interval"),
    ("a Secret's name in capitals", LOCATION, "spec.credentialsSecretRef.name", "London", "write the object's metadata.name"),
    ("a location's name with a dot", LOCATION, "metadata.name", "london.s3", "write a metadata.name of at most 40 small letters"),
    # the wedding
    ("a day that no calendar has", POLICY, "spec.wedding.date", "2026-02-30", 'write a day of the calendar as YYYY-MM-DD in quotes, for example "2026-12-05"'),
    ("a date the British way", POLICY, "spec.wedding.date", "05/12/2026", "YYYY-MM-DD"),
    ("a date with a time", POLICY, "spec.wedding.date", "2026-12-05T00:00:00Z", "may not be more than 10"),
    ("no date", POLICY, "spec.wedding.date", MISSING, "spec.wedding.date: Required value"),
    ("a zone that does not exist", POLICY, "spec.wedding.timeZone", "Europe/Lodnon", "write a time zone of the IANA database, for example Europe/London"),
    ("a zone as an offset", POLICY, "spec.wedding.timeZone", "+01:00", "write a time zone of the IANA database"),
    ("the server's own zone", POLICY, "spec.wedding.timeZone", "Local", "write a time zone of the IANA database"),
    ("no day", POLICY, "spec.wedding.days", 0, "should be greater than or equal to 1"),
    ("eight days", POLICY, "spec.wedding.days", 8, "should be less than or equal to 7"),
    ("an id with a space", POLICY, "spec.wedding.id", "w 17", "write an id of letters"),
    ("an unknown tier", POLICY, "spec.wedding.tier", "VIP", 'supported values: "Standard", "Critical"'),
    ("a policy's name too long to derive from", POLICY, "metadata.name", "w" * 41, "write a metadata.name of at most 40 small letters"),
    # sources
    ("no source", POLICY, "spec.sources", [], "should have at least 1 items"),
    ("a source of nothing", POLICY, "spec.sources.1.volume", MISSING, "write exactly one of: volume, postgres"),
    ("a source of two things", POLICY, "spec.sources.0.volume", {"claimName": "c"}, "write exactly one of: volume, postgres"),
    ("two sources of one name", POLICY, "spec.sources.1.name", "planning", 'Duplicate value: {"name":"planning"}'),
    ("a source's name with an underscore", POLICY, "spec.sources.1.name", "my_photos", "for example planning"),
    ("a source's name too long", POLICY, "spec.sources.1.name", "p" * 33, "may not be more than 32"),
    ("an unknown data class", POLICY, "spec.sources.1.dataClass", "Photos", 'supported values: "Timeline", "Guests", "Contracts", "Messages", "Portfolio", "Other"'),
    ("a table chosen in no way", POLICY, f"{TABLES}.0", {"name": "t"}, "write exactly one of: match, via"),
    ("a table chosen in both ways", POLICY, f"{TABLES}.1.match", {"a": "b"}, "write exactly one of: match, via"),
    ("match without a column", POLICY, f"{TABLES}.0.match", {}, "should have at least 1 properties"),
    ("via a table that is not listed", POLICY, f"{TABLES}.1.via.table", "events", "write in via.table the name of another table of this list"),
    ("via itself", POLICY, f"{TABLES}.1.via.table", "timeline_notes", "write in via.table the name of another table of this list"),
    ("via a table of another schema", POLICY, f"{TABLES}.1.schema", "notes", "in the same schema"),
    ("one table twice", POLICY, f"{TABLES}.1", EVENTS, 'Duplicate value: {"name":"timeline_events","schema":"public"}'),
    ("a number to match", POLICY, f"{TABLES}.0.match", {"wedding_id": 17}, 'must be of type string: "integer"'),
    ("a key of a Secret with a slash", POLICY, "spec.sources.0.postgres.connectionSecretRef.key", "a/b", "write a key of the Secret's data"),
    ("a folder that climbs", POLICY, "spec.sources.1.volume.path", "photos/../../etc", "write the folder without . and .. in it"),
    ("a folder from the root", POLICY, "spec.sources.1.volume.path", "/photos", "without a slash at its ends"),
    ("a claim's name with a slash", POLICY, "spec.sources.1.volume.claimName", "other/claim", "write the object's metadata.name"),
    # how it is protected
    ("a quorum of one", POLICY, "spec.redundancy.quorum", 1, "should be greater than or equal to 2"),
    ("a quorum above copies", POLICY, "spec.redundancy", {"copies": 3, "quorum": 4}, "2 <= quorum <= copies"),
    ("a quorum above the default copies", POLICY, "spec.redundancy.quorum", 4, "2 <= quorum <= copies"),
    ("one copy", POLICY, "spec.redundancy.copies", 1, "should be greater than or equal to 2"),
    ("ten copies", POLICY, "spec.redundancy.copies", 10, "should be less than or equal to 9"),
    ("more regions than copies", POLICY, "spec.redundancy.minRegions", 4, "not larger than copies"),
    ("more providers than copies", POLICY, "spec.redundancy", {"copies": 2, "minProviders": 3}, "not larger than copies"),
    ("cron and every", POLICY, "spec.schedule", {"cron": "30 3 * * *", "every": "6h"}, "write only one of cron and every"),
    ("cron with four fields", POLICY, "spec.schedule.cron", "30 3 * * ", 'for example "30 3 * * *"'),
    ("cron out of range", POLICY, "spec.schedule.cron", "61 3 * * *", 'for example "30 3 * * *"'),
    ("every half minute", POLICY, "spec.schedule.every", "30s", "write a duration between 1m and 168h"),
    ("every, without a unit", POLICY, "spec.schedule.every", "15", "for example 30s, 10m, 24h or 1h30m"),
    ("every, in days", POLICY, "spec.schedule.every", "1d", "for example 30s, 10m, 24h or 1h30m"),
    ("every, of nothing", POLICY, "spec.schedule.every", "", "for example 30s, 10m, 24h or 1h30m"),
    ("jitter beyond the interval", POLICY, "spec.schedule", {"every": "5m", "jitter": "5m"}, "write a jitter that is shorter than every"),
    ("a schedule's zone that does not exist", POLICY, "spec.schedule.timeZone", "GMT+1", "write a time zone of the IANA database"),
    ("continuous capture, which is not there yet", POLICY, "spec.continuous", "Auto", 'supported values: "Never"'),
    ("no last point", POLICY, "spec.retention.keepLast", 0, "should be greater than or equal to 1"),
    ("an unknown deletion policy", POLICY, "spec.retention.deletionPolicy", "Delete", 'supported values: "Retain", "Erase"'),
    ("a jurisdiction that is no country", POLICY, "spec.placement.jurisdictions", ["EU"], "write an ISO 3166 country code"),
    ("one exclusion twice", POLICY, "spec.placement.exclude", ["a", "a"], 'Duplicate value: "a"'),
    ("In without values", POLICY, "spec.placement.locationSelector", {"matchExpressions": [{"key": "a", "operator": "In"}]}, "write values with In and NotIn"),
    ("Exists with values", POLICY, "spec.placement.locationSelector", {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}, "none with Exists"),
    ("an amount that is none", POLICY, "spec.worker.resources", {"limits": {"memory": "much"}}, "for example 500m of cpu or 512Mi of memory"),
    ("a negative amount", POLICY, "spec.worker.resources", {"requests": {"cpu": "-1"}}, "for example 500m of cpu or 512Mi of memory"),
    ("a negative number", POLICY, "spec.worker.resources", {"limits": {"cpu": -1}}, "for example 500m of cpu or 512Mi of memory"),
    ("an unknown privilege", POLICY, "spec.worker.privilege", "Admin", 'supported values: "App", "Root"'),
    ("Root with a user", POLICY, "spec.worker", {"privilege": "Root", "runAsUser": 1000}, "leave runAsUser and runAsGroup away"),
    ("root by its number", POLICY, "spec.worker.runAsUser", 0, "should be greater than or equal to 1"),
    ("a deadline of seconds", POLICY, "spec.worker.deadline", "59s", "write a duration between 1m and 168h"),
    ("an empty trigger", POLICY, "spec.trigger.manual", "", "should be at least 1 chars long"),
    # orders
    ("a job of no policy", JOB, "spec.policyRef", MISSING, "spec.policyRef: Required value"),
    ("an unknown reason", JOB, "spec.reason", "Friday", 'supported values: "Scheduled", "Manual", "Emergency"'),
    ("a policy of another namespace", JOB, "spec.policyRef.name", "other/policy", "write the object's metadata.name"),
    ("a job's name too long for a label", JOB, "metadata.name", "j" * 64, "write a metadata.name of at most 63 small letters"),
    ("a moment and a backup", objects.recovery_request(pointInTime="2026-12-05T13:30:00Z"), "spec.backupJobRef", {"name": "b"}, "write only one of pointInTime and backupJobRef"),
    ("a moment in words", REQUEST, "spec.pointInTime", "yesterday", "write a moment of the years 1970 to 2999"),
    ("the year 0", REQUEST, "spec.pointInTime", "0000-01-01T00:00:00Z", "write a moment of the years 1970 to 2999"),
    ("a moment before year 1 in UTC", REQUEST, "spec.pointInTime", "0001-01-01T00:00:00+14:00", "write a moment of the years 1970 to 2999"),
    ("a moment after year 9999 in UTC", REQUEST, "spec.pointInTime", "9999-12-31T23:59:59-14:00", "write a moment of the years 1970 to 2999"),
    ("a moment of 1969 in UTC", JOB, "spec.scheduledAt", "1970-01-01T00:00:00+00:01", "write a moment of the years 1970 to 2999"),
    ("a moment of 3000 in UTC", JOB, "spec.scheduledAt", "2999-12-31T23:59:59-00:01", "write a moment of the years 1970 to 2999"),
    ("an offset of a day", JOB, "spec.scheduledAt", "2026-12-05T13:30:00+24:00", "write a moment of the years 1970 to 2999"),
    ("a comma before the fraction", JOB, "spec.scheduledAt", "2026-12-05T13:30:00,5Z", "write a moment of the years 1970 to 2999"),
    ("a moment without an offset", JOB, "spec.scheduledAt", "2026-12-05T13:30:00", "write a moment of the years 1970 to 2999"),
    ("an unknown urgency", REQUEST, "spec.urgency", "Now", 'supported values: "Standard", "Critical", "Emergency"'),
    ("one source twice", REQUEST, "spec.sources", ["a", "a"], 'Duplicate value: "a"'),
    ("a target of nothing", REQUEST, "spec.targets", [{"source": "a"}], "write exactly one of: volume, postgres"),
    ("two targets of one source", REQUEST, "spec.targets", [{"source": "a", "volume": {"claimName": "x"}}, {"source": "a", "volume": {"claimName": "y"}}], 'Duplicate value: {"source":"a"}'),
    ("a target of a source that is not asked for", objects.recovery_request(sources=["a"]), "spec.targets", [{"source": "b", "volume": {"claimName": "x"}}], "write in targets only sources that sources names"),
    ("a target folder that climbs", REQUEST, "spec.targets", [{"source": "a", "volume": {"claimName": "x", "path": ".."}}], "write the folder without . and .. in it"),
    ("a request's name with a dot", REQUEST, "metadata.name", "r.1", "write a metadata.name of at most 63 small letters"),
    # shared databases
    ("nobody said to be served", DATABASE, "spec.allowedNamespaces", MISSING, "spec.allowedNamespaces: Required value"),
    ("no shared table", DATABASE, "spec.tables", [], "should have at least 1 items"),
    ("a shared table that is nobody's", DATABASE, "spec.tables.0.owner", MISSING, "write exactly one of: owner, via"),
    ("a shared table that is somebody's twice over", DATABASE, "spec.tables.1.owner", {"column": "v", "namespaceLabel": "v"}, "write exactly one of: owner, via"),
    ("an owner without a label", DATABASE, "spec.tables.0.owner.namespaceLabel", MISSING, "namespaceLabel: Required value"),
    ("shared via a table that is not listed", DATABASE, "spec.tables.1.via.table", "couples", "write in via.table the name of another table of this list"),
    ("shared via itself", DATABASE, "spec.tables.1.via.table", "guests", "write in via.table the name of another table of this list"),
    ("one shared table twice", DATABASE, "spec.tables.1.name", "weddings", "Duplicate value"),
    ("a connection and a shared database", POLICY, "spec.sources.0.postgres.databaseRef", {"name": "platform"}, "write exactly one of: connectionSecretRef, databaseRef"),
    # alerts
    ("an unknown severity", ALERT, "spec.severity", "Fatal", 'supported values: "Info", "Warning", "Critical"'),
    ("an alert that says nothing", ALERT, "spec.summary", "", "should be at least 1 chars long"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path", "value", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])  # fmt: skip
def test_bad_is_refused_with_what_to_write(
    api: ApiServer, body: Object, path: str, value: Any, words: str
) -> None:
    assert words in api.refusal(with_(body, path, value))


TARGETS = objects.recovery_request(
    targets=[
        {"source": "a", "volume": {"claimName": "c"}},
        {"source": "b", "postgres": {"connectionSecretRef": {"name": "d"}}},
    ]
)
# Rules that many fields share are tried at each of them: value, words, places.
SHARED: list[tuple[Any, str, list[tuple[Object, str]]]] = [
    (
        "Not_a_name",
        "write the object's metadata.name",
        [
            (LOCATION, "spec.caSecretRef.name"),
            (LOCATION, "spec.credentialsSecretRef.name"),
            (POLICY, "spec.sources.0.postgres.connectionSecretRef.name"),
            (POLICY, "spec.sources.1.volume.claimName"),
            (JOB, "spec.policyRef.name"),
            (REQUEST, "spec.policyRef.name"),
            (REQUEST, "spec.backupJobRef.name"),
            (TARGETS, "spec.targets.0.volume.claimName"),
            (TARGETS, "spec.targets.1.postgres.connectionSecretRef.name"),
            (ALERT, "spec.policyRef.name"),
        ],
    ),
    (["Not_a_name"], "write the object's metadata.name", [(POLICY, "spec.placement.exclude")]),
    (
        "a/b",
        "write a key of the Secret's data",
        [
            (POLICY, "spec.sources.0.postgres.connectionSecretRef.key"),
            (TARGETS, "spec.targets.1.postgres.connectionSecretRef.key"),
        ],
    ),
    (
        "my_photos",
        "for example planning",
        [(POLICY, "spec.sources.0.name"), (TARGETS, "spec.targets.0.source")],
    ),
    (["my_photos"], "for example planning", [(REQUEST, "spec.sources")]),
    (
        "/photos",
        "without a slash at its ends",
        [(POLICY, "spec.sources.1.volume.path"), (TARGETS, "spec.targets.0.volume.path")],
    ),
    (
        "a/./b",
        "write the folder without . and .. in it",
        [(POLICY, "spec.sources.1.volume.path"), (TARGETS, "spec.targets.0.volume.path")],
    ),
    (
        "UK",
        "for example GB (not UK)",
        [(LOCATION, "spec.country"), (POLICY, "spec.wedding.venue.country")],
    ),
    (
        "P1D",
        "for example 30s, 10m, 24h or 1h30m",
        [
            (LOCATION, "spec.probe.interval"),
            (LOCATION, "spec.probe.timeout"),
            (POLICY, "spec.schedule.every"),
            (POLICY, "spec.schedule.jitter"),
            (POLICY, "spec.worker.deadline"),
        ],
    ),
    (
        "Europe/Lodnon",
        "write a time zone of the IANA database",
        [(POLICY, "spec.wedding.timeZone"), (POLICY, "spec.schedule.timeZone")],
    ),
]


@pytest.mark.parametrize(
    ("body", "path", "value", "words"),
    [(*place, value, words) for value, words, places in SHARED for place in places],
)
def test_a_shared_rule_holds_everywhere(
    api: ApiServer, body: Object, path: str, value: Any, words: str
) -> None:
    refusal = api.refusal(with_(body, path, value))
    assert words in refusal
    assert path.rsplit(".", maxsplit=1)[-1] in refusal


@pytest.mark.parametrize("body", objects.ALL, ids=lambda body: body["kind"])
class TestEveryKind:
    def test_the_smallest_object_is_taken(self, api: ApiServer, body: Object) -> None:
        api.accepts(body)

    def test_a_misspelt_field_is_refused(self, api: ApiServer, body: Object) -> None:
        refusal = api.refusal(with_(body, "spec.polcyRef", "x"))
        assert 'unknown field "spec.polcyRef"' in refusal

    def test_a_spec_is_needed(self, api: ApiServer, body: Object) -> None:
        assert "spec: Required value" in api.refusal(with_(body, "spec", MISSING))
