"""What a walk makes of files that are not as they were listed, and how it names them."""

from __future__ import annotations


from tests.unit.vault.fakes import LARGE_PACKS, MemorySource, World, bring_back, rng


def test_a_sparse_file_that_keeps_changing_keeps_its_holes() -> None:
    world = World.of("a", "b")
    world.limits = LARGE_PACKS
    data = rng(5)(700_000)
    source = MemorySource({})
    segments = ((4096, 100_000), (5_000_000, 600_000))
    source.write(b"database", data, size=6_000_000, segments=segments)
    source.changing = {b"database": 99}
    (result,) = world.backup(source).sources
    assert result.warnings == [
        "database: it changed while it was read; it is kept as it was read last"
    ]
    wanted = bytearray(6_000_000)
    wanted[4096:104_096], wanted[5_000_000:5_600_000] = data[:100_000], data[100_000:]
    assert bring_back(world).files == {b"database": bytes(wanted)}


def test_a_file_whose_bytes_never_fit_what_is_said_of_it_is_left_out_by_name() -> None:
    world = World.of("a", "b")
    source = MemorySource({b"good": b"fine"})
    source.write(b"odd", b"12345", size=100, segments=((0, 3), (90, 4)))
    (result,) = world.backup(source).sources
    assert result.warnings == [
        "odd: it kept changing while it was read and was left out: back it up while it is not in use"
    ]
    assert bring_back(world).files == {b"good": b"fine"}
