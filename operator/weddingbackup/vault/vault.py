"""A vault, opened: its keys, and the locations that it is at."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from weddingbackup.stores.errors import StoreError, UnsupportedError
from weddingbackup.vault.errors import RefusedError, VaultDamageError
from weddingbackup.vault.format import check_format
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
    ) -> Vault:
        """Look at the locations' formats. Who holds the vault's kit has keys and founding in it.

        A location that does not answer, or whose format object is damaged, is tolerated. One that
        holds another vault under this prefix, or a newer format, keeps its place in `stores` and
        fails whatever is asked of it: one such location must not stop those that are good.

        Raises:
            RefusedError: all locations hold another vault or a newer format.
        """

        def obstacle(store: Store) -> RefusedError | None:
            try:
                found = check_format(store.get(FORMAT))
            except VaultDamageError:
                return None  # the founding has the true one, a check reports this one
            except RefusedError as error:
                return RefusedError(f"{store.location}: {error}")
            if found == keyring.vault_id:
                return None
            return RefusedError(
                f"{store.location} holds vault {found.hex()} here, not {keyring.vault_id.hex()}: "
                "wrong kit, or wrong prefix"
            )

        found = ask_all(stores, obstacle)
        refusals = [answer for answer in found if isinstance(answer, RefusedError)]
        if refusals and len(refusals) == len(stores):
            raise refusals[0]
        usable = (
            _Refused(store.location, str(answer)) if isinstance(answer, RefusedError) else store
            for store, answer in zip(stores, found, strict=True)
        )
        return cls(keyring, tuple(usable), dict(founding), random)

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


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in for a location that holds something else: nothing is read there, nothing written."""

    location: str
    why: str

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> NoReturn:  # noqa: ARG002  as `Store`
        self._fail(name)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> NoReturn:  # noqa: ARG002  as `Store`
        self._fail(name)

    def list(self, prefix: str) -> NoReturn:  # noqa: ARG002  as `Store`
        self._fail("")

    def _fail(self, name: str) -> NoReturn:
        raise UnsupportedError(self.why, location=self.location, name=name)
