"""What a vault takes, as it was last listed at each location, and when it is listed again. Pure.

Not every copy takes as much: a backup that never committed may have stored at one location alone. So all
are listed, and the largest counts. One that is not listed to its end counts as it last was, never as less.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, Time

AGAIN = timedelta(minutes=10)
"""After a look that was not the last one. So long does a request live that a worker had signed: until then
something may arrive for a backup that has ended."""


class Measured(Model):
    """What a vault was last seen to take."""

    at: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Bytes by location, where it was ever listed to its end."""
    unlisted: list[str] = Field(default_factory=list)
    """Locations whose last listing did not end."""
    state: str = ""
    """What the vault had come to by then: another one asks for another look."""
    looked_at: Time | None = None
    """When that was."""
    late: bool = False
    """Whether something that was signed for before may arrive yet."""

    @property
    def bytes(self) -> int | None:
        """Where it takes the most; None where nobody knows."""
        return max(self.at.values(), default=None)

    @property
    def settled(self) -> bool:
        """Whether another look would tell the same."""
        return not self.late and not self.unlisted

    def lacks(self, location: str) -> int:
        """How many bytes less a location holds, which an honest backup may have to bring there."""
        most = self.bytes or 0
        # Of one that could not be listed nobody knows that it lacks anything.
        return 0 if location in self.unlisted else most - self.at.get(location, 0)


def due(
    known: Measured, state: str, locations: Collection[str], *, began: bool, now: datetime
) -> list[str]:
    """The locations to list a vault at, in which no backup is under way.

    Args:
        known: what was last seen.
        state: what the vault has come to.
        locations: all that are registered.
        began: whether a backup has begun since the last look, whatever became of it.
        now: the moment to decide for.
    """
    if began or known.state != state or known.looked_at is None:
        return sorted(locations)
    if now - known.looked_at < AGAIN:
        return []
    return sorted(locations if known.late else {*known.unlisted} & {*locations})


def seen(
    known: Measured,
    heard: Mapping[str, int],
    locations: Collection[str],
    *,
    failed: Collection[str] = (),
    unfinished: Collection[str] = (),
    state: str,
    began: bool,
    now: datetime,
) -> Measured:
    """What is known after a look.

    Args:
        known: what was before.
        heard: bytes by location that was listed to its end, now or while nobody looked.
        locations: all that are registered: of others nobody will ever know.
        failed: locations that did not answer.
        unfinished: locations that are not listed to the end yet: the look goes on.
        state: what the vault had come to before the look.
        began: as for `due`.
        now: when the look was.
    """
    at = {name: size for name, size in known.at.items() if name in locations} | dict(heard)
    unlisted = sorted({*failed, *unfinished})
    if unfinished:
        return known.model_copy(update={"at": at, "unlisted": unlisted})
    looked_at = now.replace(microsecond=0)
    return Measured(at=at, unlisted=unlisted, state=state, looked_at=looked_at, late=began)
