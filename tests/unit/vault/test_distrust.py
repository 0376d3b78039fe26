"""What is not to be relied on is stored anew, and no new point needs it."""

from __future__ import annotations

import pytest

from tests.unit.vault.fakes import MemorySource, World, bring_back, some_files
from weddingbackup.vault.catalog import points
from weddingbackup.vault.commit import closure
from weddingbackup.vault.names import INDEXES, PACKS


@pytest.mark.parametrize("kind", [PACKS, INDEXES])
def test_a_distrusted_object_is_stored_anew(kind: str) -> None:
    """Its listing looks good everywhere, and its bytes are good nowhere: locks hold them."""
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    world.backup(source)
    for bad in [name for name in world.stores[0].objects if name.startswith(kind)]:
        before = {store.location: store.objects[bad] for store in world.stores}
        for store in world.stores:
            store.objects[bad] = bytes(len(before[store.location]))
        result = world.backup(source, distrust=[bad])
        newest = points(world.stores)[0]
        assert newest.manifest == result.manifest
        refs = {ref for each in newest.sources for ref in each.indexes}
        assert bad not in {x.name for x in closure(world.stores, refs)}
        if kind == PACKS:
            assert result.sources[0].new_bytes < sum(map(len, source.data.values()))
        assert bring_back(world).files == source.data
        for store in world.stores:
            store.objects[bad] = before[store.location]


def test_a_distrusted_pack_of_a_killed_writer_is_not_used() -> None:
    """Also where no index names it."""
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    world.backup(source)
    for store in world.stores:
        store.objects = {n: d for n, d in store.objects.items() if n.startswith(("p", "k", "fo"))}
    packs = [name for name in world.stores[0].objects if name.startswith(PACKS)]
    world.backup(source, distrust=packs)
    refs = {ref for each in points(world.stores)[0].sources for ref in each.indexes}
    assert not {x.name for x in closure(world.stores, refs)} & set(packs)


def test_where_all_is_distrusted_all_is_stored_anew() -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    first = world.backup(source)
    stored = {name for name in world.stores[0].objects if name.startswith(PACKS)}
    again = world.backup(source, distrust=[PACKS])
    assert again.sources[0].new_bytes == first.sources[0].new_bytes
    for store in world.stores:
        store.objects = {name: x for name, x in store.objects.items() if name not in stored}
    assert bring_back(world).files == source.data
