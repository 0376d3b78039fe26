"""What is written down of each recovery kit that leaves the cluster: never a key, but whose they are."""

from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, Time


class KitRecord(Model):
    """One kit that one person took out, on the Secret of its vault."""

    kit: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """The beginning of its file's SHA-256: who finds a file can tell which record speaks of it."""
    by: str
    """Who took it, as the API server knows them."""
    keys: dict[str, str] = Field(default_factory=dict)
    """The fingerprint of each class's keys in it."""
    announced_at: Time
    """When it was about to be written: from here on there may be a file."""
    written_at: Time | None = None
    """When it was known to be on a disk; without this nobody may rely on it."""
