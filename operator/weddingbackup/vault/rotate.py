"""New keys for a vault, without touching a pack: its data keys wrapped anew, and others for what comes.

The order makes every moment safe to be killed in:

1. The new kit's key objects are stored, at a majority of the locations.
2. The caller puts the new kit in the old one's place, in one write.
3. What wraps the same data keys otherwise is removed, where no lock forbids.

Nothing is sealed with a new key before 2, and the new kit holds all data keys of the old one. So until 2
either kit reads everything; from then on the new one does, and the old one what was sealed before.
Whoever opened the vault with the old kit may finish and commit: those keys stay good.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.errors import QuorumError, RefusedError
from weddingbackup.vault.keyring import SECRET_SIZE
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.names import FORMAT, KEYS, base_name, data_key_name
from weddingbackup.vault.objects import digest, put_object
from weddingbackup.vault.parallel import Patience, ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from weddingbackup.stores.api import Store


class Remover(Protocol):
    """Whoever may remove objects at a location: a keeper, or a directory's store."""

    def delete(self, name: str) -> None:
        """Remove an object; see `stores.api.Keeper`."""


@dataclass(frozen=True, slots=True)
class Found:
    """Which key objects lie where, before anything is done.

    Attributes:
        names: by location, of those that answered; replacements too.
        silent: why the others did not, by location.
    """

    names: dict[str, frozenset[str]]
    silent: dict[str, StoreError]

    def strangers(self, kit: Kit) -> frozenset[str]:
        """Objects of data keys that the kit does not know.

        They are of a rotation that was cut short before 2, or the kit is not the newest.
        """
        known = _data_keys(kit)
        return frozenset(
            base_name(name)
            for names in self.names.values()
            for name in names
            if data_key_name(name) not in known
        )


def renew(
    kit: Kit,
    *,
    wrapping_keys: bool,
    data_keys: bool,
    random: Callable[[int], bytes] = os.urandom,
) -> Kit:
    """Make a vault's next kit, on paper: nothing is stored yet.

    Args:
        kit: the present one.
        wrapping_keys: wrap all data keys by other wrapping keys.
        data_keys: make a data key a class that seals from now on; all older ones stay.
        random: gives so many random bytes.

    Raises:
        WrongKeyError: the kit's keys do not belong together.
    """
    keyring = kit.keyring()
    fresh = [keyring.current(name).successor(random) for name in kit.wrapping_keys if data_keys]
    wrapping = {
        name: random(SECRET_SIZE) if wrapping_keys else key
        for name, key in kit.wrapping_keys.items()
    }
    wrapped = [*keyring.keys, *fresh] if wrapping_keys else fresh
    # What no wrapping key is left for (an erased class) stays as it is.
    anew = {f"{KEYS}{key.class_name.lower()}-{key.key_id.hex()}" for key in wrapped}
    objects = {name: x for name, x in kit.objects.items() if data_key_name(name) not in anew}
    for key in wrapped:
        name, data = key.wrap(keyring.vault_id, wrapping[key.class_name], random)
        objects[name] = data
    sealing = kit.sealing | {key.class_name: key.key_id.hex() for key in fresh}
    return Kit(kit.vault_id, kit.prefix, wrapping, objects, sealing)


def find(kit: Kit, stores: Sequence[Store]) -> Found:
    """List the key objects everywhere.

    Raises:
        RefusedError: this is not the vault's newest kit, or the vault is not here.
    """
    names: dict[str, frozenset[str]] = {}
    silent = {}
    answers = ask_all(stores, lambda store: frozenset(info.name for info in store.list(KEYS)))
    for store, answer in zip(stores, answers, strict=True):
        if isinstance(answer, StoreError):
            silent[store.location] = answer
        else:
            names[store.location] = answer
    own = sum(bool(kit.objects.keys() & there) for there in names.values())
    others = any(_superseded(kit, there) for there in names.values())
    if others and own <= len(stores) // 2:
        # After 1 a majority holds the newest kit's objects: this one was rotated, and is an old one.
        raise RefusedError(
            "the vault's keys were rotated since this kit was made: take the newest kit. Where there "
            "is none newer, bring back the locations that do not answer, or copy the vault to the new ones"
        )
    return Found(names, silent)


def establish(kit: Kit, stores: Sequence[Store]) -> dict[str, StoreError]:
    """Store a kit's founding objects where they are missing; gives the locations that did not take them.

    Raises:
        QuorumError: a majority did not. A vault that is nowhere yet needs none.
    """

    def put(store: Store) -> None:
        there = {base_name(info.name) for info in store.list(FORMAT)}
        there |= {base_name(info.name) for info in store.list(KEYS)}
        for name in sorted(kit.objects.keys() - there):
            data = kit.objects[name]
            put_object(store, name, data, digest(data))

    answers = zip(stores, ask_all(stores, put), strict=True)
    failed = {store.location: x for store, x in answers if isinstance(x, StoreError)}
    taken = len(stores) - len(failed)
    if stores and taken <= len(stores) // 2:
        why = "; ".join(map(str, failed.values()))
        raise QuorumError(
            f"only {taken} of {len(stores)} locations took the new keys, which is no majority; nothing was "
            f"changed, and the old kit stays good: {why}"
        )
    return failed


def retire(
    kit: Kit,
    stores: Sequence[Store],
    removers: Mapping[str, Remover],
    found: Found,
    *,
    failed: Collection[str],
) -> dict[str, StoreError]:
    """Remove what wraps this kit's data keys otherwise; gives the locations where it stays, and why.

    Only what was found before the kit took its place: another rotation may have begun since. Never
    objects of data keys that the kit does not know. Locations that `failed` to take this kit's keep theirs.
    """

    def remove(store: Store) -> None:
        for name in sorted(_superseded(kit, found.names[store.location])):
            removers[store.location].delete(name)

    wanted = [s for s in stores if s.location in found.names and s.location not in failed]
    answers = ask_all(wanted, remove, Patience(len(wanted)))
    return {
        s.location: x for s, x in zip(wanted, answers, strict=True) if isinstance(x, StoreError)
    }


def discard(
    kit: Kit, instead: Kit, stores: Sequence[Store], removers: Mapping[str, Remover]
) -> None:
    """Take back what `establish` stored for a kit that could not take its place; as far as that goes."""

    def remove(store: Store) -> None:
        for name in sorted(kit.objects.keys() - instead.objects.keys()):
            removers[store.location].delete(name)

    ask_all(stores, remove)


def _superseded(kit: Kit, names: Collection[str]) -> set[str]:
    known = _data_keys(kit)
    return {
        name
        for name in names
        if data_key_name(name) in known and base_name(name) not in kit.objects
    }


def _data_keys(kit: Kit) -> set[str]:
    return {key for name in kit.objects if (key := data_key_name(name))}
