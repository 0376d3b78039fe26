"""Moments and durations as the API writes them."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """A moment in UTC, to the second, as Kubernetes writes them: 2026-12-05T18:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
