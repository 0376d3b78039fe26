"""A vault, opened: its keys, and the locations that it is at."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.entrance import Entrance
from weddingbackup.vault.names import FORMAT, KEYS, base_name, data_key_name
from weddingbackup.vault.objects import digest, put_object
from weddingbackup.vault.parallel import MAJORITY, Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Vault:
    """What writers and readers work with.

    Attributes:
        founding: `format` and `keys/…`, which every location should hold.
        random: gives so many random bytes; salts come from it.
    """

    keyring: Keyring
    stores: tuple[Store, ...]
    founding: dict[str, bytes]
    random: Callable[[int], bytes] = field(default=os.urandom)

    @classmethod
    def open(
        cls,
        keyring: Keyring,
        founding: Mapping[str, bytes],
        stores: Sequence[Store],
        *,
        random: Callable[[int], bytes] = os.urandom,
        patience: Patience = MAJORITY,
    ) -> Vault:
        """Look at the locations' formats. Who holds the vault's kit has keys and founding in it.

        A location that does not answer in time, or whose format object is damaged, is tolerated. One
        that holds another vault under this prefix, or a newer format, keeps its place in `stores`
        and fails whatever is asked of it: one such location must not stop those that are good. See
        `Entrance` and `Patience`.

        Raises:
            RefusedError: all locations hold another vault or a newer format.
        """
        entrances = [Entrance(store, keyring.vault_id) for store in stores]
        found = ask_all(entrances, Entrance.enter, patience)
        refusals = [entrance.refusal for entrance in entrances if entrance.refusal]
        if refusals and len(refusals) == len(stores):
            raise refusals[0]
        usable = (
            entrance if isinstance(answer, StoreError) else answer
            for entrance, answer in zip(entrances, found, strict=True)
        )
        return cls(keyring, tuple(usable), dict(founding), random)

    @property
    def silent(self) -> list[str]:
        """Locations that have not answered since the vault was opened."""
        return [s.location for s in self.stores if isinstance(s, Entrance) and s.silent]

    def ensure(self, store: Store) -> None:
        """Put the founding objects at a location where they are missing.

        A key that is there wrapped otherwise is not missing: who opened the vault before its keys were
        rotated must not bring back what the rotation removed.

        Raises:
            StoreError: the location does not take them.
        """
        there = {base_name(info.name) for info in store.list(FORMAT)}
        there |= {data_key_name(info.name) or info.name for info in store.list(KEYS)}
        for name, data in self.founding.items():
            if (data_key_name(name) or name) not in there:
                put_object(store, name, data, digest(data))

    def init(self, patience: Patience = MAJORITY) -> dict[str, StoreError]:
        """Found the vault at all its locations; gives the locations that did not take it.

        See `Patience`.
        """
        answers = zip(self.stores, ask_all(self.stores, self.ensure, patience), strict=True)
        return {s.location: answer for s, answer in answers if isinstance(answer, StoreError)}
