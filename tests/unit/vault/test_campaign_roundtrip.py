"""Any tree with any contents, changed in any way, comes back as it was at each point, from any location.

Contents are what chunkers, compressors and packers tell apart: empty, repeating, random, shared with
other files, around the sizes at which files share chunks or are cut, sparse. Metadata is what an
entry can hold. Between two points files are written, cut, moved, removed and linked.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns import examples
from tests.unit.vault.fakes import MemorySource, MemoryTarget, World
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import check
from weddingbackup.vault.entries import SMALL, Entry, EntryType
from weddingbackup.vault.limits import Limits
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import listing, read_file, restore

if TYPE_CHECKING:
    from collections.abc import Callable

PACKS = Limits(pack_bytes=6 << 20, packs=8, streams=2, grace_seconds=30.0)
"""As small as a pack can be that holds any chunk."""

_name = st.binary(min_size=1, max_size=5).filter(
    lambda n: n not in {b".", b".."} and b"/" not in n and b"\0" not in n
)
_path = st.lists(_name, min_size=1, max_size=3).map(b"/".join)
_size = st.one_of(
    st.integers(0, 3000),
    st.sampled_from([0, 1, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL]),
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    size = draw(_size)
    kind = draw(st.sampled_from(["zeros", "text", "random", "shared"]))
    if kind == "zeros":
        return bytes(size)
    if kind == "text":
        return (b"so be it. " * (size // 10 + 1))[:size]
    seed = draw(st.integers(0, 2)) if kind == "shared" else draw(st.integers(0, 2**32))
    return random.Random(seed).randbytes(size)


_wide = st.integers(0, 2**63 - 1)
_metadata = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 2**32 - 1),
        "gid": st.integers(0, 2**32 - 1),
        "mtime_ns": st.integers(-(2**63), 2**63 - 1),
        "xattrs": st.dictionaries(_name, st.binary(max_size=40), max_size=2).map(
            lambda found: tuple(sorted(found.items()))
        ),
    },
)


class Tree:
    """What is to come back: a source that is changed, and remembers each of its states."""

    def __init__(self) -> None:
        self.source = MemorySource({})
        self.states: list[tuple[dict[bytes, bytes], dict[bytes, Entry]]] = []

    def free(self, path: bytes) -> bool:
        """Whether a file may be there: nothing above it is one, and it is no directory."""
        parts = path.split(b"/")
        above = {b"/".join(parts[:n]) for n in range(1, len(parts))}
        entries = self.source.entries
        files = {p for p, entry in entries.items() if entry.type != EntryType.DIRECTORY}
        return not above & files and (path not in entries or path in files)

    def step(self, draw: Callable[..., Any]) -> None:
        path = draw(_path)
        what = draw(
            st.sampled_from(["write", "write", "write", "remove", "cut", "other", "sparse"])
        )
        known = sorted(self.source.data)
        if what in {"remove", "cut"} and known:
            path = draw(st.sampled_from(known))
            data = self.source.data.pop(path)
            del self.source.entries[path]
            if what == "cut":
                self.source.write(path, data[: len(data) // 2] + b"!")
        elif not self.free(path):
            return
        elif what == "other":
            self.source.data.pop(path, None)
            kind = draw(st.sampled_from([EntryType.SYMLINK, EntryType.FIFO, EntryType.CHAR_DEVICE]))
            target = draw(_name) if kind == EntryType.SYMLINK else b""
            self.source.write(path, b"")
            del self.source.data[path]
            name = path.split(b"/")[-1]
            self.source.add(path, Entry(name, kind, target=target, rdev=draw(_wide)))
        elif what == "sparse":
            data = draw(contents())[:2000]
            at = draw(st.integers(0, 10_000))
            metadata = {"size": at + len(data) + 7, "segments": ((at, len(data)),)}
            self.source.write(path, data, **metadata)
        else:
            self.source.write(path, draw(contents()), **draw(_metadata))

    def remember(self) -> None:
        entries = self.source.entries
        files = {path: whole(entries[path], data) for path, data in self.source.data.items()}
        self.states.append((files, dict(entries)))


def whole(entry: Entry, stored: bytes) -> bytes:
    """A file's logical bytes: a sparse one's holes are zeros."""
    if not entry.segments:
        return stored
    ((offset, _),) = entry.segments
    return (bytes(offset) + stored).ljust(entry.size, b"\0")


@examples(12, 1500)
@given(st.data())
def test_every_state_of_any_tree_comes_back(data: st.DataObject) -> None:
    tree = Tree()
    world = World.of("a", "b", "c")
    world.limits = PACKS
    for number in range(data.draw(st.integers(1, 4))):
        for _ in range(data.draw(st.integers(0, 8))):
            tree.step(data.draw)
        world.backup(tree.source, f"job-{number}")
        tree.remember()
    assert check(world.stores, level="full", kit=world.kit) == []
    alone = World([data.draw(st.sampled_from(world.stores))], world.kit)
    found = points(alone.stores)
    assert len(found) == len(tree.states)
    for point, (files, entries) in zip(found, reversed(tree.states), strict=True):
        target = MemoryTarget()
        restore(alone.vault(), point, "photos", target, progress=Progress())
        assert target.files == files
        assert {path: entry for path, entry in target.entries.items() if path} == entries
        assert dict(listing(alone.vault(), point, "photos")) == entries
        if files:
            path = data.draw(st.sampled_from(sorted(files)))
            assert b"".join(read_file(alone.vault(), point, "photos", path)) == files[path]
