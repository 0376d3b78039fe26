"""A location that holds another vault, or a newer format, is that location's failure alone."""

import pytest

from tests.unit.vault.fakes import MemorySource, World, bring_back, rng, some_files
from weddingbackup.vault.errors import QuorumError, RefusedError
from weddingbackup.vault.format import encode_format
from weddingbackup.vault.kit import Kit

_FOREIGN = Kit.found(random=rng(99)).objects["format"]


def _newer(world: World) -> bytes:
    return encode_format(bytes.fromhex(world.kit.vault_id), version=2)


@pytest.mark.parametrize(
    ("newer", "why"), [(False, "wrong kit, or wrong prefix"), (True, "use a newer program")]
)
def test_it_is_left_out_and_named(newer: bool, why: str) -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(some_files())
    world.backup(source)
    strange = world.stores[2]
    strange.objects = {"format": _newer(world) if newer else _FOREIGN}
    before = dict(strange.objects)
    source.write(b"new", b"one more")
    result = world.backup(source)
    assert [row.phase for row in result.locations] == ["Committed", "Committed", "Failed"]
    message = result.locations[2].message or ""
    assert why in message
    assert message.startswith("c")
    assert strange.objects == before
    assert bring_back(world).files == source.data


def test_where_one_location_has_no_format_the_others_do_not_decide() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    world.backup(source)
    world.stores[0].objects["format"] = _FOREIGN
    del world.stores[1].objects["format"]
    assert bring_back(world).files == source.data


def test_a_write_needs_its_quorum_without_it() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    world.backup(source)
    world.stores[1].objects["format"] = _FOREIGN
    with pytest.raises(QuorumError, match=r"b holds vault .* wrong kit, or wrong prefix"):
        world.backup(source)


def test_nothing_is_opened_where_every_location_refuses() -> None:
    world = World.of("a", "b")
    world.backup(MemorySource(some_files()))
    world.stores[0].objects["format"] = _FOREIGN
    world.stores[1].objects["format"] = _newer(world)
    with pytest.raises(RefusedError, match=r"^a holds vault"):
        bring_back(world)
