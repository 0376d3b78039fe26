"""Listings of vaults that go on behind the reconciles that ask for them.

Listing a large vault takes minutes, and backups go on meanwhile. So each listing remembers what had come to
the vault when it began, and tells that much when it ends, however many looks were made in between; it is
never thrown away for being older than the question, else whoever asks often would never be told.

At each location few vaults are listed at a time, one of each organisation, in the order in which they came.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

SLOTS = 4
"""Vaults that are listed at one location at once."""

Ask = Callable[[int], Awaitable[int | None]]
"""Lists a vault at a location, in one of its slots: bytes, or None where it does not answer.

Raises:
    UnfinishedError: it was too large to be listed to its end.
"""


class UnfinishedError(Exception):
    """A listing was given up: it is begun anew, and what it was to cover stays open."""


@dataclass(frozen=True, slots=True)
class Version:
    """What had come to a vault.

    Attributes:
        state: another one asks for another look.
        began: UIDs of the BackupJobs that had begun, and ended.
    """

    state: str = ""
    began: frozenset[str] = frozenset()

    def covers(self, other: "Version") -> bool:
        """Whether who saw this has seen that as well."""
        return self.state == other.state and other.began <= self.began


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has come to.

    Attributes:
        heard: bytes by location, of the last listing that ended there.
        failed: locations that did not answer.
        unfinished: locations whose listing goes on, or has to be made anew.
        covered: UIDs of BackupJobs all of whose bytes are in what was heard.
    """

    heard: Mapping[str, int]
    failed: frozenset[str]
    unfinished: frozenset[str]
    covered: frozenset[str]


@dataclass(slots=True)
class _Listing:
    """At one location: the one that goes on, and what the last one told."""

    task: asyncio.Task[int | None] | None = None
    asked: Version = Version()
    told: Version | None = None
    bytes: int | None = None


class Listings:
    """All that go on."""

    def __init__(self) -> None:
        self._vaults: dict[str, dict[str, _Listing]] = {}
        self._places: dict[str, _Place] = {}

    async def look(
        self,
        vault: str,
        organisation: str,
        asks: Mapping[str, Ask],
        version: Version,
        *,
        patience: float,
    ) -> Found:
        """Begin what is not begun, wait a while, and tell what is known.

        Args:
            vault: its prefix.
            organisation: whose turn it is.
            asks: how to list it, by location.
            version: what has come to the vault by now.
            patience: seconds to wait.
        """
        mine = self._vaults.setdefault(vault, {})
        listings = {name: mine.setdefault(name, _Listing()) for name in asks}
        for name, listing in listings.items():
            self._go_on(name, listing, organisation, asks[name], version)
        if going := [listing.task for listing in listings.values() if listing.task]:
            await asyncio.wait(going, timeout=patience)
        for name, listing in listings.items():
            self._go_on(name, listing, organisation, asks[name], version)
        unfinished = frozenset(name for name, x in listings.items() if x.task is not None)
        if not unfinished and self._vaults.get(vault) is mine:
            del self._vaults[vault]
        told = [x for name, x in listings.items() if name in unfinished or x.bytes is not None]
        covered = version.began
        for listing in told:
            covered &= listing.told.began if listing.told else frozenset()
        return Found(
            heard={name: x.bytes for name, x in listings.items() if x.bytes is not None},
            failed=frozenset(
                name for name, x in listings.items() if name not in unfinished and x.bytes is None
            ),
            unfinished=unfinished,
            covered=covered,
        )

    def _go_on(
        self, location: str, listing: _Listing, organisation: str, ask: Ask, version: Version
    ) -> None:
        """Take what has ended; begin anew where that does not say all that is asked."""
        task = listing.task
        if task is not None and task.done():
            listing.task = None
            try:
                listing.bytes = task.result()
                listing.told = listing.asked
            except UnfinishedError:
                pass
        if listing.task is None and not (listing.told and listing.told.covers(version)):
            place = self._places.setdefault(location, _Place())
            listing.asked = version
            listing.task = asyncio.create_task(place.run(organisation, ask))


@dataclass(slots=True)
class _Place:
    """Whose turn it is at one location."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS))
    free: list[int] = field(default_factory=lambda: list(range(SLOTS)))
    organisations: "WeakValueDictionary[str, asyncio.Lock]" = field(
        default_factory=WeakValueDictionary
    )

    async def run(self, organisation: str, ask: Ask) -> int | None:
        """Ask when it is the organisation's turn."""
        async with self.organisations.setdefault(organisation, asyncio.Lock()), self.slots:
            slot = self.free.pop()
            try:
                return await ask(slot)
            finally:
                self.free.append(slot)
