"""A vault in memory whose objects lie in tiers; what is archived there is away until a test says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tests.unit.vault.collecting import DatedStore, Vault
from weddingbackup.resources.words import Provider, Tier
from weddingbackup.rules.tiers import Wish, return_seconds
from weddingbackup.stores.errors import ArchivedError, DeniedError, MissingError
from weddingbackup.vault.archived import Archived
from weddingbackup.vault.tier import Mover, Shelf, TierResult, Told, tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from weddingbackup.stores.api import ObjectInfo

RECENT = timedelta(days=30)


class ShelvedStore(DatedStore):
    """A location with a provider's tiers."""

    def __init__(
        self, location: str, clock: Callable[[], datetime], provider: Provider = Provider.S3
    ) -> None:
        super().__init__(location, clock)
        self.provider = provider
        self.tiers: dict[str, Tier] = {}
        self.returning: set[str] = set()
        self.back: set[str] = set()

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if self.is_away(name):
            raise ArchivedError("archived", location=self.location, name=name)
        return super().get(name, offset=offset, length=length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in super().list(prefix):
            yield replace(
                info,
                tier=self.tier(info.name),
                since=info.modified,
                at_hand=not self.is_away(info.name),
                returning=info.name in self.returning,
            )

    def set_tier(self, name: str, tier: Tier) -> None:
        self._fail("tier", name)
        if name not in self.objects:
            raise MissingError("no such object", location=self.location, name=name)
        if name in self.locked:
            raise DeniedError("locked", location=self.location, name=name)
        if self.is_away(name):
            raise ArchivedError("archived", location=self.location, name=name)
        self.tiers[name] = tier
        self.stored[name] = self.clock()
        self.back.discard(name)

    def request_return(self, name: str) -> None:
        self._fail("return", name)
        if self.is_away(name):
            self.returning.add(name)

    def copy(self) -> ShelvedStore:
        twin = ShelvedStore(self.location, self.clock, self.provider)
        twin.objects, twin.stored = dict(self.objects), dict(self.stored)
        twin.tiers, twin.locked = dict(self.tiers), set(self.locked)
        twin.returning, twin.back = set(self.returning), set(self.back)
        return twin

    def arrive(self) -> None:
        """Let come what was asked back."""
        self.back |= self.returning
        self.returning.clear()

    def tier(self, name: str) -> Tier:
        return self.tiers.get(name, Tier.HOT)

    def is_away(self, name: str) -> bool:
        return name not in self.back and return_seconds(self.provider, self.tier(name)) > 0

    def in_tier(self, tier: Tier) -> set[str]:
        return {name for name in self.objects if self.tier(name) is tier}


class ShelvedVault(Vault):
    """A vault at such locations."""

    @classmethod
    def on(cls, *locations: str, quorum: int = 2) -> ShelvedVault:
        world = cls([], quorum=quorum)
        world.use([ShelvedStore(name, lambda: world.now) for name in locations])
        return world

    @property
    def shelved(self) -> list[ShelvedStore]:
        return [store for store in self.dated if isinstance(store, ShelvedStore)]

    def tier(
        self,
        wish: Tier = Tier.COLD,
        *,
        at: tuple[str, ...] = (),
        quorum: int = 1,
        dry_run: bool = False,
        tell: Callable[[Told], None] = lambda _: None,
    ) -> TierResult:
        """Bring all locations, or these, nearer to a tier for what is older than 30 days."""
        shelves = {
            store.location: Shelf(
                store.provider, partial(_self, store), Wish(wish, RECENT, smallest=0)
            )
            for store in self.shelved
            if not at or store.location in at
        }
        return tier(
            self.shelved,
            shelves,
            quorum=quorum,
            clock=lambda: self.now,
            dry_run=dry_run,
            tell=tell,
        )

    def archived(self) -> Archived:
        return Archived(self.shelved, {store.location: store.provider for store in self.shelved})

    def movers(self) -> dict[str, Callable[[], Mover]]:
        return {store.location: partial(_self, store) for store in self.shelved}


def _self(store: ShelvedStore) -> Mover:
    return store
