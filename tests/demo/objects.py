"""What the demo applies: locations and a shared database with their Secrets; policies and recoveries."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.demo import platform
from tests.demo.places import CLAIM, DATABASE, DATABASE_SECRET, HOME_NAMESPACE, VENDOR_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.demo.places import Organisation
    from tests.demo.services import Cloud

API_VERSION = "backup.wedsync.io/v1alpha1"


def secret(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A Secret in the operator's namespace: no organisation sees it."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": HOME_NAMESPACE},
        "data": data,
    }


def location(cloud: Cloud) -> list[dict[str, Any]]:
    """One BackupLocation and the Secret with its credentials."""
    return [
        secret(f"location-{cloud.name}", cloud.credentials),
        {
            "apiVersion": API_VERSION,
            "kind": "BackupLocation",
            "metadata": {"name": cloud.name, "labels": {"demo": "wedding"}},
            "spec": {
                "provider": cloud.provider,
                "region": cloud.region,
                "country": cloud.country,
                "bucket": cloud.bucket,
                "endpoint": cloud.endpoint,
                "credentialsSecretRef": {"name": f"location-{cloud.name}"},
                "probe": {"interval": "5s", "timeout": "4s"},
            },
        },
    ]


def namespace(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A namespace under the restricted Pod Security Standard."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**restricted, **(labels or {})}},
    }


def organisation(which: Organisation) -> dict[str, Any]:
    """An organisation's namespace; its label says whose rows it may protect, and only administrators set it."""
    return namespace(which.namespace, {VENDOR_LABEL: str(which.vendor)})


def shared_database() -> dict[str, Any]:
    """The platform's database as an administrator registers it for all organisations."""
    return {
        "apiVersion": API_VERSION,
        "kind": "BackupDatabase",
        "metadata": {"name": DATABASE},
        "spec": {
            "connectionSecretRef": {"name": DATABASE_SECRET},
            "allowedNamespaces": {
                "matchExpressions": [{"key": VENDOR_LABEL, "operator": "Exists"}]
            },
            "tables": platform.shared_tables(VENDOR_LABEL),
        },
    }


def rows(wedding: str) -> dict[str, Any]:
    """A source: a wedding's rows in the shared database, if they are the organisation's."""
    return {
        "name": "planning",
        "dataClass": "Timeline",
        "postgres": {
            "databaseRef": {"name": DATABASE},
            "tables": platform.policy_tables(wedding),
        },
    }


def photographs() -> dict[str, Any]:
    """A source: the files of a volume."""
    return {"name": "portfolio", "dataClass": "Portfolio", "volume": {"claimName": CLAIM}}


def policy(
    which: Organisation, wedding: str, sources: list[dict[str, Any]], trigger: str
) -> dict[str, Any]:
    """A wedding as its organisation protects it: five copies, three of them the commit.

    Each new `trigger` asks for a backup now, apart from the nightly ones.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "WeddingBackupPolicy",
        "metadata": {"name": wedding.lower(), "namespace": which.namespace},
        "spec": {
            "wedding": {
                "id": wedding,
                "date": "2026-12-05",
                "timeZone": "Europe/London",
                "venue": {"latitude": 51.48, "longitude": -0.61, "country": "GB"},
            },
            "sources": sources,
            "redundancy": {"copies": 5, "quorum": 3, "minProviders": 4, "minRegions": 5},
            "placement": {"locationSelector": {"matchLabels": {"demo": "wedding"}}},
            "schedule": {"cron": "30 3 * * *", "timeZone": "Europe/London"},
            "trigger": {"manual": trigger},
        },
    }


def recovery(which: Organisation, name: str, policy_name: str) -> dict[str, Any]:
    """Bring the newest point back, in place, as fast as can be."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RecoveryRequest",
        "metadata": {"name": name, "namespace": which.namespace},
        "spec": {"policyRef": {"name": policy_name}, "urgency": "Emergency"},
    }
