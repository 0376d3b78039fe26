"""What the providers' keepers have in common: where a location's objects are, and for how long we sign."""

from datetime import UTC, datetime, timedelta

from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import names


class BaseKeeper:
    """Begin a keeper with this. Each says its `address` itself, as only it knows its endpoint."""

    address: str

    def __init__(self, access: LocationAccess, prefix: str, lifetime: timedelta) -> None:
        self.location = access.name
        self._prefix = names.below(access.prefix, prefix)
        self._lifetime = lifetime

    def _path(self, name: str) -> str:
        """An object's name in the bucket."""
        return self._prefix + names.check(name)

    def _expiry(self) -> datetime:
        """When a request that is signed now expires."""
        return datetime.now(UTC) + self._lifetime

    def _about(self, name: str) -> dict[str, str]:
        """What an error is about."""
        return {"location": self.location, "address": self.address, "name": name}
