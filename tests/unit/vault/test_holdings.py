"""What a writer knows of what is where, and how little memory that takes."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vault.fakes import MemoryStore
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.vault.holdings import Holdings

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGESTS = [hashlib.sha256(b"%d" % number).digest() for number in range(4)]
SIZES = st.integers(0, 3) | st.sampled_from([-1, 2**63, 2**64 - 1, 2**64, 2**80])
OBJECTS = st.lists(st.tuples(st.booleans(), st.sampled_from(DIGESTS), SIZES), max_size=8)


class Listed(MemoryStore):
    """A location that lists what it is told to."""

    def __init__(
        self, location: str, packs: list[tuple[bytes, int]], indexes: list[tuple[bytes, int]]
    ) -> None:
        super().__init__(location)
        self._listed = {"packs/": packs, "index/": indexes}

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for digest, size in self._listed[prefix]:
            yield ObjectInfo(prefix + digest.hex(), size, None)


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.sets(st.sampled_from(DIGESTS)))
def test_it_holds_what_was_listed(
    listed: list[list[tuple[bool, bytes, int]]], bad: set[bytes]
) -> None:
    stores = [
        Listed(
            str(number),
            [(digest, size) for pack, digest, size in objects if pack],
            [(digest, size) for pack, digest, size in objects if not pack],
        )
        for number, objects in enumerate(listed)
    ]
    holdings = Holdings(stores, distrust=[f"packs/{digest.hex()}" for digest in bad])
    # A negative size is as good as none, and no object has none.
    for digest, size in product(DIGESTS, range(1, 4)):
        holders = [
            str(number)
            for number, objects in enumerate(listed)
            if any((digest, size) == found[1:] for found in objects) and digest not in bad
        ]
        assert [x for x in "0123" if holdings.at(x, digest, size)] == holders
        assert holdings.count("0123", digest, size) == len(holders)
        assert holdings.count(holders[1:], digest, size) == len(holders[1:])
        assert not holdings.at("0", digest + b"\0", size)
    packs = {(d, s) for objects in listed for pack, d, s in objects if pack and d not in bad}
    assert {x for x in holdings.packs() if 0 < x[1] < 4} == {x for x in packs if 0 < x[1] < 4}


def test_a_pack_takes_little_memory_at_seven_locations() -> None:
    count = 5_000

    class Many(MemoryStore):
        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            for number in range(count if prefix == "packs/" else 0):
                digest = hashlib.sha256(b"%d" % number).hexdigest()
                yield ObjectInfo(prefix + digest, 20_000_000 + number, None)

    stores = [Many(str(number)) for number in range(7)]
    tracemalloc.start()
    try:
        holdings = Holdings(stores)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert holdings.count("0123456", hashlib.sha256(b"1").digest(), 20_000_001) == len(stores)
    assert held < 220 * count
    assert peak < 650 * count
