"""What a walk makes of files that are not as they were listed, and how it names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.unit.vault.fakes import LARGE_PACKS, MemorySource, MemoryTarget, World, bring_back, rng
from weddingbackup.sources.volume import VolumeSource
from weddingbackup.vault.catalog import points
from weddingbackup.vault.entries import SMALL, SourceChangedError
from weddingbackup.vault.errors import RefusedError, RestoreIncompleteError
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import read_file, restore

if TYPE_CHECKING:
    from pathlib import Path

    from weddingbackup.vault.entries import Entry


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


class _Guessing(MemorySource):
    """Lists every file as of one byte."""

    def children(self, path: bytes) -> list[Entry]:
        return [msgspec.structs.replace(entry, size=1) for entry in super().children(path)]


def test_a_file_that_is_larger_than_listed_is_cut_like_any_large_one() -> None:
    world = World.of("a", "b")
    world.limits = LARGE_PACKS
    files = {b"a": b"before", b"rows": b"all the same. " * 1_500_000, b"z": b"after"}
    for source in (_Guessing({}), MemorySource({})):
        for path, data in files.items():
            source.write(path, data, ctime_ns=0)  # so that the second one reads them, too
        (result,) = world.backup(source).sources
        assert source.reads
        assert result.warnings == []
        assert bring_back(world).files == files
    assert result.new_bytes == 0  # the same chunks, and the same page


def test_a_volumes_file_that_grows_after_it_was_listed_is_kept(tmp_path: Path) -> None:
    class Growing(VolumeSource):
        def children(self, path: bytes) -> list[Entry]:
            found = super().children(path)
            (tmp_path / "log").write_bytes(body)
            return found

    body = rng(6)(20_000_000)
    (tmp_path / "log").write_bytes(b"first line")
    (tmp_path / "notes").write_bytes(b"so be it")
    world = World.of("a", "b")
    world.limits = LARGE_PACKS
    (result,) = world.backup(Growing(tmp_path)).sources
    assert result.warnings == []
    assert bring_back(world).files == {b"log": body, b"notes": b"so be it"}


def test_no_more_of_a_file_than_a_small_one_has_is_read_at_once() -> None:
    source = MemorySource({b"exact": bytes(SMALL), b"below": bytes(SMALL - 1)})
    below, exact = source.read_small(b"", source.children(b""))
    assert isinstance(below, tuple)
    assert isinstance(exact, SourceChangedError)


def test_a_files_name_does_not_steer_the_terminal() -> None:
    world = World.of("a", "b")
    name = b"\x1b]0;mine\x07\x1b[2J\n\xe2\x80\xae\xff caf\xc3\xa9"
    source = MemorySource({name: b"data", b"good": b"fine"})
    escaped = r"\x1b]0;mine\x07\x1b[2J\n\u202e\xff café"
    world.backup(source)
    source.write(name, b"other")
    source.failing[name] = PermissionError(13, "Permission denied")
    (result,) = world.backup(source).sources
    assert result.warnings == [
        f"{escaped}: it could not be read and was left out: Permission denied"
    ]
    vault = world.vault()
    whole = points(vault.stores)[1]
    with pytest.raises(RefusedError) as refused:
        list(read_file(vault, whole, "photos", name + b"2"))
    assert str(refused.value) == f"this point has no file {escaped}2"
    target = MemoryTarget()
    target.failing[name] = PermissionError(13, "Permission denied")
    with pytest.raises(RestoreIncompleteError) as incomplete:
        restore(vault, whole, "photos", target, progress=Progress())
    assert f"could not bring back {escaped}: " in str(incomplete.value)
