"""The kinds' objects as tests of rules need them."""

from datetime import UTC, datetime
from typing import Any

from weddingbackup.resources.backup_job import BackupJob
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy

NOON = datetime(2026, 12, 5, 12, tzinfo=UTC)


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "home",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "creationTimestamp": "2026-12-05T11:00:00Z",
        **more,
    }


def policy(*, status: dict[str, Any] | None = None, **spec: Any) -> WeddingBackupPolicy:
    return WeddingBackupPolicy.model_validate(
        {
            "metadata": metadata("wedding"),
            "spec": {
                "wedding": {
                    "id": "w",
                    "date": "2026-12-05",
                    "timeZone": "Europe/London",
                    "venue": {"latitude": 51, "longitude": 0, "country": "GB"},
                },
                "sources": [
                    {"name": "p", "dataClass": "Portfolio", "volume": {"claimName": "photos"}}
                ],
                **spec,
            },
            "status": status or {},
        }
    )


def placed(*names: str, **status: Any) -> dict[str, Any]:
    rows = [{"name": name, "provider": "S3", "region": name} for name in names]
    seen = {"observedGeneration": 1, "phase": "Active", "vault": {"id": "v"}}
    return {**seen, "locations": rows, **status}


def backup(
    name: str = "one", *, status: dict[str, Any] | None = None, meta: Any = None, **spec: Any
) -> BackupJob:
    return BackupJob.model_validate(
        {
            "metadata": metadata(name, **(meta or {})),
            "spec": {"policyRef": {"name": "wedding"}, **spec},
            "status": status or {},
        }
    )


def running(*names: str, **status: Any) -> dict[str, Any]:
    rows = [{"name": name} for name in names]
    return {"phase": "Running", "quorum": 2, "locations": rows, **status}


def location(name: str, phase: str = "Healthy", **spec: Any) -> BackupLocation:
    return BackupLocation.model_validate(
        {
            "metadata": metadata(name, namespace=None),
            "spec": {
                "provider": "S3",
                "region": name,
                "bucket": "weddings",
                "credentialsSecretRef": {"name": "s"},
                **spec,
            },
            "status": {"phase": phase},
        }
    )


def request(*, status: dict[str, Any] | None = None, **spec: Any) -> RecoveryRequest:
    return RecoveryRequest.model_validate(
        {
            "metadata": metadata("back"),
            "spec": {"policyRef": {"name": "wedding"}, **spec},
            "status": status or {},
        }
    )
