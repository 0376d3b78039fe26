"""What the demo applies: locations with their Secrets, one policy, one recovery."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.demo.places import CLAIM, DATABASE_SECRET, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.demo.services import Cloud

API_VERSION = "backup.wedsync.io/v1alpha1"


def secret(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A Secret in the demo's namespace."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
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


def policy(name: str, wedding: str, tables: list[dict[str, Any]], trigger: str) -> dict[str, Any]:
    """The wedding's policy: its rows and its photographs, five copies, three of them the commit.

    Each new `trigger` asks for a backup now, apart from the nightly ones.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "WeddingBackupPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "wedding": {
                "id": wedding,
                "date": "2026-12-05",
                "timeZone": "Europe/London",
                "venue": {"latitude": 51.48, "longitude": -0.61, "country": "GB"},
            },
            "sources": [
                {
                    "name": "planning",
                    "dataClass": "Timeline",
                    "postgres": {
                        "connectionSecretRef": {"name": DATABASE_SECRET},
                        "tables": tables,
                    },
                },
                {"name": "portfolio", "dataClass": "Portfolio", "volume": {"claimName": CLAIM}},
            ],
            "redundancy": {"copies": 5, "quorum": 3, "minProviders": 4, "minRegions": 5},
            "placement": {"locationSelector": {"matchLabels": {"demo": "wedding"}}},
            "schedule": {"cron": "30 3 * * *", "timeZone": "Europe/London"},
            "trigger": {"manual": trigger},
        },
    }


def recovery(name: str, policy_name: str) -> dict[str, Any]:
    """Bring the newest point back, in place, as fast as can be."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RecoveryRequest",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"policyRef": {"name": policy_name}, "urgency": "Emergency"},
    }
