"""What goes in comes out: trees, metadata, links, holes; and what is unchanged is not read again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.vault.fakes import (
    LARGE_PACKS,
    START,
    MemorySource,
    MemoryTarget,
    World,
    bring_back,
    rng,
    some_files,
    ticking,
)
from weddingbackup.resources.common import DataClass
from weddingbackup.vault.catalog import points
from weddingbackup.vault.commit import closure
from weddingbackup.vault.entries import Entry, EntryType
from weddingbackup.vault.errors import RefusedError, WrongKeyError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import listing, read_file, restore
from weddingbackup.vault.vault import Vault
from weddingbackup.vault.write import JobFacts, SourceInput, backup

_names = st.binary(min_size=1, max_size=6).filter(
    lambda n: n not in {b".", b".."} and b"/" not in n and b"\0" not in n
)
_trees = st.recursive(
    st.binary(max_size=3000),
    lambda below: st.dictionaries(_names, below, max_size=5),
    max_leaves=25,
)


def flatten(tree: object, path: bytes = b"") -> dict[bytes, bytes]:
    if isinstance(tree, bytes):
        return {path or b"only": tree}
    assert isinstance(tree, dict)
    found: dict[bytes, bytes] = {}
    for name, below in tree.items():
        found |= flatten(below, path + b"/" + name if path else name)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_trees)
def test_any_tree_comes_back(tree: object) -> None:
    world = World.of("a", "b", "c")
    source = MemorySource(flatten(tree))
    world.backup(source)
    target = bring_back(world)
    assert target.files == source.data
    for path, entry in source.entries.items():
        assert target.entries[path] == entry
    assert target.finished[-1] == b""
    assert set(target.finished) == {
        path for path, e in target.entries.items() if e.type == EntryType.DIRECTORY
    }


def test_a_point_records_what_was_backed_up() -> None:
    world = World.of("a", "b", "c")
    files = some_files()
    result = world.backup(MemorySource(files), "uid-1")
    (point,) = points(world.stores)
    assert point.manifest == result.manifest
    assert point.manifest.startswith("snapshots/2026/12/05/uid-1-")
    assert point.committed
    assert point.held_by == ("a", "b", "c")
    assert (point.plain.quorum, point.plain.locations) == (2, ("a", "b", "c"))
    (source,) = point.sources
    assert (source.name, source.data_class) == ("photos", DataClass.PORTFOLIO)
    assert (source.files, source.bytes) == (len(files), sum(map(len, files.values())))
    assert point.started_at < point.time


def test_every_location_has_the_same_objects() -> None:
    world = World.of("a", "b", "c")
    world.backup(MemorySource(some_files()))
    first, *others = (store.objects for store in world.stores)
    assert sum(name.startswith("packs/") for name in first) > 2
    assert all(objects == first for objects in others)


def test_unchanged_files_are_not_read_again() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    world.backup(source)
    before = set(world.stores[0].objects)
    source.reads.clear()
    source.write(b"d1/f2", b"retouched")
    result = world.backup(source)
    assert source.reads == [b"d1/f2"]
    new = set(world.stores[0].objects) - before
    assert sorted(name.split("/")[0] for name in new) == [
        "index",
        "index",
        "packs",
        "packs",
        "snapshots",
    ]
    assert result.sources[0].new_bytes < 3000
    assert bring_back(world).files == source.data
    assert bring_back(world, 1).files == source.data | {b"d1/f2": some_files()[b"d1/f2"]}


def test_an_unchanged_tree_adds_a_manifest_only() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    world.backup(source)
    before = set(world.stores[0].objects)
    world.backup(source)
    (new,) = set(world.stores[0].objects) - before
    assert new.startswith("snapshots/")


def packs(world: World) -> list[str]:
    return sorted(name for name in world.stores[0].objects if name.startswith("packs/"))


def test_what_was_lost_everywhere_is_stored_anew() -> None:
    """Each single pack, and all; what is left of an index is used."""
    whole = World.of("a", "b", "c")
    source = MemorySource(some_files())
    first = whole.backup(source)
    for lost in [[name] for name in packs(whole)] + [packs(whole)]:
        world = World([store.copy() for store in whole.stores], whole.kit, _jobs=1)
        for name in lost:
            for store in world.stores:
                del store.objects[name]
        kept = set(packs(world))
        result = world.backup(source, "second")
        assert {row.phase for row in result.locations} == {"Committed"}
        assert bring_back(world).files == source.data
        refs = {ref for each in points(world.stores)[0].sources for ref in each.indexes}
        assert {x.name for x in closure(world.stores, refs)} >= kept
        assert not kept or result.sources[0].new_bytes < first.sources[0].new_bytes
        before = set(world.stores[0].objects)
        world.backup(source, "third")
        (new,) = set(world.stores[0].objects) - before
        assert new.startswith("snapshots/")


def test_one_changed_name_rewrites_one_page_of_a_large_directory() -> None:
    world = World.of("a", "b")
    source = MemorySource({b"%05d" % n: b"x%d" % n for n in range(3000)})
    world.backup(source)
    source.write(b"01500", b"other")
    result = world.backup(source)
    assert result.sources[0].new_bytes < 90_000  # a page and the node, not 3000 entries
    assert bring_back(world).files == source.data


def test_large_files_are_cut_and_share_what_is_equal() -> None:
    world = World.of("a", "b")
    draw = rng(3)
    body = draw(6 << 20)
    world.limits = LARGE_PACKS
    source = MemorySource({b"film": body}, step=100_003)
    world.backup(source)
    source.write(b"film", body[: 3 << 20] + b"a new scene" + body[3 << 20 :])
    result = world.backup(source)
    assert result.sources[0].new_bytes < 5 << 20
    assert bring_back(world).files == source.data


def test_hard_links_are_read_once_and_linked_again() -> None:
    world = World.of("a", "b")
    source = MemorySource({})
    for path in (b"a/one", b"b/two", b"three"):
        source.write(path, b"shared" * 100, inode=9, links=3, ctime_ns=5, mtime_ns=5)
    world.backup(source)
    assert len(source.reads) == 1
    target = bring_back(world)
    assert target.files == source.data
    assert len(target.links) == 2


@pytest.mark.parametrize("again", [False, True])
def test_sparse_files_and_others_come_back(again: bool) -> None:
    world = World.of("a", "b")
    source = MemorySource({})
    source.write(b"disk", b"ABCDEFGH", size=1_000_000, segments=((10, 3), (500_000, 5)))
    source.write(b"hole", b"", size=4096, segments=((0, 0),))
    source.add(b"link", Entry(b"link", EntryType.SYMLINK, target=b"../\xff", mtime_ns=3))
    source.add(b"pipe", Entry(b"pipe", EntryType.FIFO))
    source.write(b"tagged", b"t", xattrs=((b"user.a", b"\x00"), (b"user.b", b"2")))
    world.backup(source)
    if again:
        world.backup(source)
    target = bring_back(world)
    disk = bytearray(1_000_000)
    disk[10:13], disk[500_000:500_005] = b"ABC", b"DEFGH"
    assert target.files == {b"disk": bytes(disk), b"hole": bytes(4096), b"tagged": b"t"}
    for path in (b"link", b"pipe", b"tagged", b"disk"):
        assert target.entries[path] == source.entries[path]
    vault = world.vault()
    (point, *_) = points(vault.stores)
    assert b"".join(read_file(vault, point, "photos", b"disk")) == disk


def test_only_what_is_asked_for_comes_back() -> None:
    world = World.of("a", "b")
    files = some_files()
    world.backup(MemorySource(files))
    target = bring_back(world, include=(b"d1", b"d2/f3"))
    assert target.files == {
        path: data for path, data in files.items() if path.startswith(b"d1/") or path == b"d2/f3"
    }


def test_listing_and_reading_single_files() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    world.backup(source)
    vault = world.vault()
    (point,) = points(vault.stores)
    assert dict(listing(vault, point, "photos")) == source.entries
    assert b"".join(read_file(vault, point, "photos", b"d0/f3")) == source.data[b"d0/f3"]
    with pytest.raises(RefusedError, match="no file d0/f99"):
        list(read_file(vault, point, "photos", b"d0/f99"))
    with pytest.raises(RefusedError, match="no source guests; it has photos"):
        listing(vault, point, "guests")


def test_the_timeline_opens_without_other_classes() -> None:
    """Packs and indexes of another class, and its key, may be gone."""
    world = World.of("a", "b")
    files = {b"rows": b"18:00 arrival"}
    backup(
        world.vault(),
        JobFacts("u", "n", "j", START),
        [
            SourceInput("photos", DataClass.PORTFOLIO, MemorySource(some_files())),
            SourceInput("plan", DataClass.TIMELINE, MemorySource(files)),
        ],
        quorum=2,
        progress=Progress(),
        clock=ticking(0),
        limits=world.limits,
    )
    (point,) = points(world.stores)
    portfolio, timeline = point.sources
    gone = {ref.name for ref in portfolio.indexes}
    assert not gone & {ref.name for ref in timeline.indexes}
    for store in world.stores:
        for name in gone:
            del store.objects[name]
    keyring = world.kit.keyring([DataClass.TIMELINE])
    vault = Vault.open(keyring, world.kit.objects, world.stores)
    target = MemoryTarget()
    restore(vault, point, "plan", target, progress=Progress())
    assert target.files == files
    with pytest.raises(WrongKeyError, match="Portfolio"):
        restore(vault, point, "photos", MemoryTarget(), progress=Progress())


def test_another_kit_does_not_open_it() -> None:
    world = World.of("a", "b")
    world.backup(MemorySource(some_files()))
    other = Kit.found(random=rng(99))
    with pytest.raises(RefusedError, match="wrong kit, or wrong prefix"):
        Vault.open(other.keyring(), other.objects, world.stores)
    for store in world.stores:
        del store.objects["format"]
    (point,) = points(world.stores)
    vault = Vault.open(other.keyring(), other.objects, world.stores)
    with pytest.raises(RefusedError, match="not the recovery point that was meant"):
        restore(vault, point, "photos", MemoryTarget(), progress=Progress())


def test_files_that_cannot_be_read_are_named_and_left_out() -> None:
    world = World.of("a", "b")
    source = MemorySource(some_files())
    source.failing[b"d1/f1"] = PermissionError(13, "Permission denied")
    source.failing[b"d2"] = PermissionError(13, "Permission denied")
    result = world.backup(source)
    assert result.sources[0].warnings == [
        "d1/f1: it could not be read and was left out: Permission denied",
        "d2: the directory could not be read: Permission denied",
    ]
    target = bring_back(world)
    assert target.files == {
        path: data
        for path, data in source.data.items()
        if path != b"d1/f1" and not path.startswith(b"d2/")
    }


@pytest.mark.parametrize(("times", "warned"), [(1, False), (2, False), (99, True)])
def test_a_file_that_changes_is_read_again(times: int, warned: bool) -> None:
    world = World.of("a", "b")
    source = MemorySource({b"log": b"line\n" * 10, b"film": rng(2)(700_000)})
    world.limits = LARGE_PACKS
    source.changing = {b"log": times, b"film": times}
    result = world.backup(source)
    assert bool(result.sources[0].warnings) is warned
    assert bring_back(world).files == source.data
    source.changing.clear()
    source.reads.clear()
    world.backup(source)
    assert bool(source.reads) is warned  # a file that changed is never taken for unchanged
