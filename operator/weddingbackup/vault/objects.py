"""Whole objects that must verify: get one from whoever has good bytes, put one beside bad bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
)
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.names import LAST_REPLACEMENT, base_name, replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from weddingbackup.stores.api import ObjectInfo, Store

T = TypeVar("T")


def put_object(store: Store, name: str, data: bytes | memoryview, sha256: bytes) -> str:
    """Store an object; where other bytes have its name, as its first free replacement.

    Returns:
        the name that it has there now.

    Raises:
        StoreError: it could not be stored.
    """
    for number in range(LAST_REPLACEMENT + 1):
        try:
            store.put(replacement(name, number), data, sha256=sha256)
        except ExistsError:
            if number == LAST_REPLACEMENT:
                raise
        else:
            return replacement(name, number)
    raise AssertionError("unreachable")


def get_object(
    stores: Sequence[Store],
    name: str,
    read: Callable[[str, bytes], T],
    *,
    damaged: Callable[[str, str], None] = lambda _location, _name: None,
    silent: dict[str, TransientError] | None = None,
) -> T:
    """Get a small object whole from the first location whose copy `read` accepts.

    All locations are asked for the object itself before any is asked for a replacement. `read`
    parses (name, bytes), and raises VaultDamageError where they do not verify; `damaged` is told
    (location, object) of each copy that did not. Who does not answer is noted in `silent`
    (location -> why) and not asked again: hand the same on where many objects are needed, or a dead
    location costs its timeout for each of them.

    Raises:
        VaultDamageError: copies answered, and none is good.
        StoreError: none answered with bytes; MissingError only where all said so. ArchivedError where
            one has it archived, and none has it good and at hand.
    """
    silent = {} if silent is None else silent
    failure: StoreError | VaultDamageError | None = next(
        (silent[store.location] for store in stores if store.location in silent), None
    )
    for number in range(LAST_REPLACEMENT + 1):
        found = False
        for store in stores:
            if store.location in silent:
                continue
            try:
                return read(name, store.get(replacement(name, number)))
            except VaultDamageError as error:
                damaged(store.location, replacement(name, number))
                found, failure = True, _telling(failure, error)
            except StoreError as error:
                if isinstance(error, TransientError):
                    silent[store.location] = error
                found = found or isinstance(error, (ArchivedError, CorruptError))
                failure = _telling(failure, error)
        if number and not found:
            break  # see `reachable`
    if failure is None:
        raise VaultDamageError(name, "no location was given that could hold it")
    raise failure


def reachable(listed: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Give those of one location's listed objects that readers come to.

    They ask for an object, then for its replacements, and stop behind `.r1` at the first that
    nobody has: a replacement counts only while all before it are there, good or not.
    """
    replacements: dict[str, ObjectInfo] = {}
    for info in listed:
        if base_name(info.name) == info.name:
            yield info
        else:
            replacements[info.name] = info
    for name, info in replacements.items():
        before = range(1, int(name[-1]))
        if all(replacement(base_name(name), number) in replacements for number in before):
            yield info


def _telling(
    first: StoreError | VaultDamageError | None, second: StoreError | VaultDamageError
) -> StoreError | VaultDamageError:
    """Who has it archived has it: that says the most. Who did not answer may: more than "missing"."""
    if isinstance(first, ArchivedError):
        return first
    if isinstance(second, (ArchivedError, VaultDamageError)) or first is None:
        return second
    return second if isinstance(first, MissingError) else first


def digest(data: bytes | memoryview) -> bytes:
    """Give the SHA-256 of an object's bytes."""
    return hashlib.sha256(data).digest()
