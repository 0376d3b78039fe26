"""How many indexes a point needs, and which of them a backup writes anew."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault.fakes import MemorySource, World, bring_back, some_files
from weddingbackup.vault import writer
from weddingbackup.vault.catalog import points
from weddingbackup.vault.index import open_index

if TYPE_CHECKING:
    from weddingbackup.vault.seal import Kind

RECORDS = 8
"""Of a full index, here; so little data makes many."""

SMALL = 3


@pytest.fixture(autouse=True, scope="module")
def _tiny_indexes() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "MAX_RECORDS", RECORDS)
        patch.setattr(writer, "MERGE", SMALL)
        yield


def indexes(world: World) -> set[str]:
    return {name for name in world.stores[0].objects if name.startswith("index/")}


def needed(world: World) -> dict[str, tuple[Kind, int]]:
    """The indexes of the newest point: kind and number of records."""
    vault = world.vault()
    (source,) = points(vault.stores)[0].sources
    found = {}
    for ref in source.indexes:
        data = world.stores[0].objects[ref.name]
        index = open_index(vault.keyring, ref.name, data)
        found[ref.name] = (index.kind, len(index))
    return found


@settings(max_examples=15)
@given(st.lists(st.integers(0, 2), max_size=12), st.integers(0, 40))
def test_full_indexes_stay_and_small_ones_stay_few(steps: list[int], directories: int) -> None:
    """Each step adds so many directories; 0: nothing changed."""
    world = World.of("a", "b")
    source = MemorySource(some_files(directories=directories))
    world.backup(source)
    before = needed(world)
    for number, new in enumerate(steps):
        stored = indexes(world)
        for one in range(new):
            source.write(b"new%d-%d/file" % (number, one), b"%d of %d" % (one, number))
        world.backup(source)
        after = needed(world)
        if not new:
            assert indexes(world) == stored
        small = Counter(kind for kind, records in after.values() if records < RECORDS)
        assert all(count <= SMALL for count in small.values())
        full = {name for name, (_, records) in before.items() if records >= RECORDS}
        assert full <= after.keys()
        before = after
    assert bring_back(world).files == source.data
