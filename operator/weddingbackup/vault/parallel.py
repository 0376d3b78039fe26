"""Asks several locations at once, so that the slowest sets the time, and not the sum of all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from weddingbackup.stores.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weddingbackup.stores.api import Store

T = TypeVar("T")


def ask_all(stores: Sequence[Store], ask: Callable[[Store], T]) -> list[T | StoreError]:
    """Ask each store in a thread of its own; gives answers, or the errors, in their order."""

    def answer(store: Store) -> T | StoreError:
        try:
            return ask(store)
        except StoreError as error:
            return error

    if not stores:
        return []
    with ThreadPoolExecutor(len(stores), thread_name_prefix="ask") as pool:
        return list(pool.map(answer, stores))
