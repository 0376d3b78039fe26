"""The smallest good object of each kind, and how to change one place of it."""

import copy
from typing import Any

from weddingbackup.resources.names import API_VERSION

Object = dict[str, Any]

MISSING = object()
"""Written in place of a value, takes the field away."""


def with_(body: Object, path: str, value: Any) -> Object:
    """A copy of the object with another value at a path like `spec.sources.0.name`."""
    changed = copy.deepcopy(body)
    *parents, last = path.split(".")
    place: Any = changed
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if value is MISSING:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return changed


def location(name: str = "london-s3", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "BackupLocation",
        "metadata": {"name": name},
        "spec": {
            "provider": "S3",
            "region": "eu-west-2",
            "bucket": "weddings-eu",
            "credentialsSecretRef": {"name": "london-s3"},
            **spec,
        },
    }


def policy(name: str = "w-2026-1205-017", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "WeddingBackupPolicy",
        "metadata": {"name": name},
        "spec": {
            "wedding": {
                "id": "w-2026-1205-017",
                "date": "2026-12-05",
                "timeZone": "Europe/London",
                "venue": {"latitude": 51.48, "longitude": -0.61, "country": "GB"},
            },
            "sources": [
                {
                    "name": "planning",
                    "dataClass": "Timeline",
                    "postgres": {
                        "connectionSecretRef": {"name": "wedsync-db"},
                        "tables": [
                            {"name": "timeline_events", "match": {"wedding_id": "w-2026-1205-017"}},
                            {
                                "name": "timeline_notes",
                                "via": {"table": "timeline_events", "foreignKey": "event_id"},
                            },
                        ],
                    },
                },
                {
                    "name": "portfolio",
                    "dataClass": "Portfolio",
                    "volume": {"claimName": "portfolio"},
                },
            ],
            **spec,
        },
    }


def backup_job(name: str = "before-the-weekend", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "BackupJob",
        "metadata": {"name": name},
        "spec": {"policyRef": {"name": "w-2026-1205-017"}, **spec},
    }


def recovery_request(name: str = "bring-it-back", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "RecoveryRequest",
        "metadata": {"name": name},
        "spec": {"policyRef": {"name": "w-2026-1205-017"}, **spec},
    }


def alert(name: str = "london-s3-unreachable", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "BackupAlert",
        "metadata": {"name": name},
        "spec": {"severity": "Warning", "summary": "london-s3 cannot be reached.", **spec},
    }


def database(name: str = "platform", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "BackupDatabase",
        "metadata": {"name": name},
        "spec": {
            "connectionSecretRef": {"name": "platform-db"},
            "allowedNamespaces": {},
            "tables": [
                {
                    "name": "weddings",
                    "owner": {"column": "vendor_id", "namespaceLabel": "wedsync.io/vendor-id"},
                },
                {"name": "guests", "via": {"table": "weddings", "foreignKey": "wedding_id"}},
            ],
            **spec,
        },
    }


ALL = (location(), policy(), backup_job(), recovery_request(), alert(), database())
