"""How much a backup may hold and do at once."""

from dataclasses import dataclass

from weddingbackup.vault.pack import CAPACITY


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a backup's memory and time, whatever the size of its data.

    Attributes:
        pack_bytes: size of a full pack; a chunk is smaller.
        packs: packs in memory at once, open and on their way (at least 6: each sealing thread has
            up to two open). Beyond that come a few chunks, and what dropped locations still send.
        streams: objects that travel to one location at once.
        grace_seconds: how long a committed backup still waits for locations that are under way.
        patience_seconds: see `Patience`, for the listings at the start.
    """

    pack_bytes: int = CAPACITY
    packs: int = 8
    streams: int = 2
    grace_seconds: float = 60.0
    patience_seconds: float = 5.0
