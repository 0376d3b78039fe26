"""Every parser of stored bytes, against bytes of whoever may write them: documented errors, and little memory.

Two kinds of people write nonsense. **Without keys**: any bytes under any name, with a digest that
fits, for the digest is no secret. **With keys**: nonsense that is sealed as it should be. Neither may
get more out of a reader than one of the errors that its docstring names, nor make it hold more than
a fixed multiple of what it read. Time is bounded by pytest's own timeout: nothing here loops by a
number that was read.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import tracemalloc
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from tests.campaigns import examples
from tests.unit.vault.fakes import START, MemoryStore, World
from tests.unit.vault.test_codecs import BODY, DAY, KEYRING, KIT, PARSERS, PLAIN, SALT, SAMPLES
from weddingbackup.resources.common import DataClass
from weddingbackup.sources.volume.target import VolumeTarget
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.catalog import catalog, points
from weddingbackup.vault.check import check
from weddingbackup.vault.errors import RefusedError, VaultDamageError, VaultError
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.index import encode_index, open_index
from weddingbackup.vault.inventory import Inventory
from weddingbackup.vault.keyring import SECRET_SIZE, chunk_id, unwrap
from weddingbackup.vault.manifest import (
    IndexRef,
    PlainSource,
    encode_manifest,
    open_body,
    read_plain,
)
from weddingbackup.vault.marks import MARKS, Marks, encode_mark, read_mark
from weddingbackup.vault.names import (
    base_name,
    data_key_name,
    digest_of,
    key_name,
    snapshot_job,
    snapshot_prefix,
)
from weddingbackup.vault.objects import reachable
from weddingbackup.vault.opened import OpenedSource
from weddingbackup.vault.pack import RECORD, TRAILER, TRAILER_MAGIC, PackBuilder, open_pack_index
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.read import listing, read_file, restore
from weddingbackup.vault.seal import LAST_ORDINAL, Header, Kind, Seal
from weddingbackup.vault.tree import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from weddingbackup.vault.index import Index

CLASS = DataClass.PORTFOLIO
KEY = KEYRING.chunk_key(CLASS)
MOST_MEMORY = 48 << 20
"""What a parser may hold at its peak for the small inputs here: a chunk or two of 16 MiB."""

_numbers = st.one_of(
    st.integers(-2, 12),
    st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]),
)
_text = st.one_of(st.text(max_size=8), st.sampled_from(["a", "photos", "Portfolio", "\0", "../x"]))
_bytes = st.one_of(
    st.binary(max_size=40),
    st.binary(min_size=32, max_size=32),
    st.sampled_from([b"a", b"..", b"a/b", b"a\0b"]),
)
_times = st.sampled_from(
    [DAY, DAY.replace(tzinfo=None), DAY.replace(year=9999), "0001-01-01T00:00:00+14:00"]
)
_values = st.recursive(
    st.one_of(_numbers, _text, _bytes, _times, st.none(), st.booleans(), st.floats(-9, 9)),
    lambda below: st.one_of(
        st.lists(below, max_size=5), st.dictionaries(st.text(max_size=3), below, max_size=3)
    ),
    max_leaves=20,
)
_deep = st.integers(1, 40_000).map(lambda depth: b"\x91" * depth + b"\xc0")


@st.composite
def like(draw: st.DrawFn, sample: bytes) -> bytes:
    """MessagePack that is a sample's, with some of its values changed; or any; or nested deeply."""
    value = msgspec.msgpack.decode(sample)
    for _ in range(draw(st.integers(0, 3))):
        value = _changed(draw, value)
    data = msgspec.msgpack.encode(value)
    return draw(
        st.sampled_from([data, data[:-1], data + b"\xc0", draw(_nested(data)), draw(_deep)])
    )


def _nested(data: bytes) -> st.SearchStrategy[bytes]:
    """An array with one element more, which a decoder would have to pass over."""
    if not 0x90 <= data[0] < 0x9F:
        return st.just(data)
    return _deep.map(lambda deep: bytes([data[0] + 1]) + data[1:] + deep)


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, list) and value and draw(st.booleans() | st.just(value=True)):
        place = draw(st.integers(0, len(value) - 1))
        return [_changed(draw, v) if n == place else v for n, v in enumerate(value)]
    if isinstance(value, int) and draw(st.booleans()):
        return draw(_numbers)
    if isinstance(value, bytes) and draw(st.booleans()):
        return draw(_bytes)
    return draw(_values)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def named(prefix: str, data: bytes) -> str:
    return prefix + hashlib.sha256(data).hexdigest()


# --- without keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
@examples(40, 4000)
@given(data=st.data())
def test_any_bytes(parser: str, data: st.DataObject) -> None:
    sample = SAMPLES[parser]
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.sampled_from([start, start + 1, start + 4, len(changed)]))
        changed[start:end] = data.draw(st.binary(max_size=9) | st.just(b"\xff" * 4) | _deep)
    with suppress(VaultError), little_memory():
        PARSERS[parser](bytes(changed))


@pytest.mark.parametrize("parser", ["format", "kit"])
def test_documents_nested_without_end(parser: str) -> None:
    with pytest.raises(VaultError):
        PARSERS[parser](b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}")


NO_ZONE = msgspec.structs.replace(PLAIN, point_time=DAY.replace(tzinfo=None))
NESTED = b"\x99" + msgspec.msgpack.encode(PLAIN)[1:] + b"\x91" * 50_000 + b"\xc0"


@examples(60, 5000)
@example(msgspec.msgpack.encode(NO_ZONE))
@example(NESTED)
@given(like(msgspec.msgpack.encode(PLAIN)))
def test_plain_parts_of_manifests(shown: bytes) -> None:
    """Also beside true ones: a listing of the points goes on, in their order."""
    header = Header(Kind.MANIFEST, "Vault", bytes(16), bytes(16), SALT).encode()
    data = header + struct.pack(">I", len(shown)) + shown
    true, true_data = encode_manifest(KEYRING, PLAIN, BODY, SALT)
    store = MemoryStore("a")
    store.objects = {true: true_data, named(snapshot_prefix("3f2a", DAY), data): data}
    with little_memory():
        found = catalog([store])
        assert true in {point.manifest for point in found.points}
        for point in found.points:
            assert point.time.utcoffset() == timedelta()
        check([store])


@examples(60, 5000)
@given(like(encode_mark(START, [true_name := f"packs/{'1' * 64}"])[1]))
def test_marks(data: bytes) -> None:
    name = named(f"{MARKS}{START:%Y%m%dt%H%M%Sz}-", data)
    store = MemoryStore("a")
    store.objects[name] = data
    with little_memory():
        found = Marks().look([store])
        assert found.marks or found.unreadable == (name,)
        with suppress(VaultDamageError):
            assert list(read_mark(name, data).names()) == list(found.names())
        with suppress(VaultError):
            found.refuse(f"packs/{'2' * 64}", [])


@examples(100, 20_000)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.from_regex(r"(packs|index|keys|snapshots)/[0-9a-f]{64}(\.r[0-9]){0,2}\n?"),
            st.from_regex(r"snapshots/\d{4}/\d\d/\d\d/[a-z0-9-]{1,9}-[0-9a-f]{64}(\.r\d)?\s?"),
            st.from_regex(r"(marks|fences)/[0-9]{8}t[0-9]{6}z-[0-9a-f]{64}\n?"),
            st.from_regex(r"fences/[0-9]{8}\n?"),
            st.from_regex(r"keys/[a-z]+-[0-9a-f]{32}-[0-9a-f]{64}(\.r\d)?\n?"),
        ),
        max_size=4,
        unique=True,
    )
)
def test_names(names: list[str]) -> None:
    store = MemoryStore("a")
    store.objects = dict.fromkeys(names, b"x")
    for name in names:
        assert base_name(base_name(name)) == base_name(name) or name.count(".r") > 1
        assert digest_of(name) is None or len(digest_of(name) or b"") == 32
        for parse in (data_key_name, snapshot_job):
            parse(name)
    infos = [ObjectInfo(name, 1, None) for name in names]
    assert {info.name for info in reachable(infos)} <= set(names)
    Inventory([store]).fill(store)
    assert points([store]) == []
    Marks().look([store])
    assert check([store]) != []


# --- with keys ------------------------------------------------------------------------------------


def sealed_manifest(plain: Any, raw: bytes) -> tuple[str, bytes]:
    """A manifest whose body is these bytes, sealed as it should be."""
    shown = msgspec.msgpack.encode(plain)
    header, seal = KEYRING.new_seal(Kind.MANIFEST, "Vault", SALT)
    body = seal.seal(LAST_ORDINAL, raw, bound=hashlib.sha256(shown).digest())
    data = header.encode() + struct.pack(">I", len(shown)) + shown + body
    return named(snapshot_prefix(plain.job_uid, plain.scheduled_at), data), data


@examples(60, 5000)
@given(like(msgspec.msgpack.encode(BODY)))
def test_sealed_bodies_of_manifests(raw: bytes) -> None:
    name, data = sealed_manifest(PLAIN, raw)
    read_plain(name, data)
    with suppress(VaultDamageError), little_memory():
        body = open_body(KEYRING, name, data)
        assert len(body.sources) == len(PLAIN.sources)


def page_of(*entries: list[Any]) -> list[Any]:
    return [1, list(entries), b"", b"", [], []]


ENTRY = [b"a", 2, 5, 0o644, 0, 0, 1, 1, 1, 0, 1, b"", 0, [[b"user.a", b"v"]], []]
LINK = [b"b", 3, 0, 0o777, 0, 0, 1, 1, 1, 0, 1, b"target", 0, [], []]
PAGE = [1, [ENTRY, LINK], b"", SALT, [1], [0, 0, 5]]


@examples(60, 5000)
@given(like(msgspec.msgpack.encode(PAGE)))
def test_nodes(raw: bytes) -> None:
    with suppress(VaultDamageError), little_memory():
        decode("packs/x", raw)


@examples(40, 4000)
@given(st.binary(max_size=200), st.sampled_from([DataClass.GUESTS, "Vault"]))
def test_keys(secrets: bytes, class_name: str) -> None:
    wrapping = KIT.wrapping_keys[class_name]
    header = Header(Kind.KEY, class_name, KEYRING.vault_id, bytes(16), SALT)
    data = header.encode() + Seal(wrapping, header).seal(LAST_ORDINAL, secrets)
    name = key_name(class_name, bytes(16), data)
    if len(secrets) == 2 * SECRET_SIZE:
        unwrap(name, data, KEYRING.vault_id, wrapping)
    else:
        with pytest.raises(VaultDamageError, match="holds no key"):
            unwrap(name, data, KEYRING.vault_id, wrapping)


def garbage_pack(records: bytes, body: bytes, count: int | None = None) -> bytes:
    """A pack with these records in its own index, whatever is before it."""
    header, seal = KEYRING.new_seal(Kind.DATA, CLASS, SALT)
    index = seal.seal(LAST_ORDINAL, records)
    number = len(records) // RECORD.size if count is None else count
    trailer = TRAILER.pack(len(index), number, TRAILER_MAGIC)
    return header.encode() + body + index + trailer


_u32 = st.one_of(st.integers(0, 400), st.sampled_from([2**24, 2**31, 2**32 - 1]))
_records = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), _u32, _u32, _u32, _u32), max_size=4
)


@examples(60, 5000)
@given(_records, st.binary(max_size=200))
def test_pack_indexes(records: list[tuple[bytes, int, int, int, int]], body: bytes) -> None:
    """Its own index, an index made of it, and a full check of it."""
    data = garbage_pack(b"".join(RECORD.pack(*record) for record in records), body)
    digest = hashlib.sha256(data).digest()
    with little_memory():
        facts = open_pack_index(KEYRING, digest, len(data), head=data, tail=data)
        name, index = encode_index(KEYRING, Kind.DATA, CLASS, [facts], SALT)
        opened = open_index(KEYRING, name, index)
        for chunk, *_ in records:
            with suppress(VaultDamageError):
                open_chunk(opened, chunk, data)
        with suppress(VaultDamageError):
            opened.pack_facts()
        source = PlainSource("photos", CLASS, 1, 1, (), (IndexRef(digest_of(name) or b"", 1),))
        plain = msgspec.structs.replace(PLAIN, sources=(source,), locations=("a",), quorum=1)
        manifest, whole = encode_manifest(KEYRING, plain, BODY, SALT)
        store = MemoryStore("a")
        store.objects = KIT.objects | {facts.name: data, name: index, manifest: whole}
        findings = {finding.object for finding in check([store], level="full", kit=KIT)}
        assert findings or not records
        assert manifest not in findings


def open_chunk(index: Index, chunk: bytes, pack: bytes) -> bytes:
    place = Finder([index]).find(chunk)
    assert place is not None
    return place.open(pack[place.offset :][: place.stored], KEY)


_COUNTS = struct.Struct(">III")


@examples(60, 5000)
@given(st.tuples(_u32, _u32, _u32), st.binary(max_size=200), st.data())
def test_index_bodies(counts: tuple[int, int, int], raw: bytes, data: st.DataObject) -> None:
    kind, packs, records = counts
    if data.draw(st.booleans()):
        kind, packs, records = 1, 1, data.draw(st.integers(0, 3))
        raw = data.draw(st.binary(min_size=48 + 56 * records, max_size=48 + 56 * records))
    listed = b"".join(struct.pack(">32sII", SALT, 100, 0) for _ in range(min(packs, 3)))
    plain = _COUNTS.pack(kind, packs, records) + listed
    header, seal = KEYRING.new_seal(Kind.INDEX, CLASS, SALT)
    body = seal.seal(LAST_ORDINAL, raw, bound=hashlib.sha256(plain).digest())
    whole = header.encode() + plain + body
    with suppress(VaultError), little_memory():
        index = open_index(KEYRING, named("index/", whole), whole)
        Finder([index]).find(SALT)
        for place in index.places():
            with suppress(VaultError):
                place.open(bytes(100), KEY)
        index.pack_facts()


FRAMES = {
    "says more than it holds": b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 40) + b"\x01\0\0",
    "holds more than it may": zstandard.ZstdCompressor().compress(bytes(200 << 20)),
    "does not say": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(200 << 20)),
    "is none": b"nonsense",
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("raw", [0, 100, 16 << 20, 2**32 - 1])
def test_frames_that_unpack_to_more(frame: str, raw: int) -> None:
    builder = PackBuilder(KEYRING, Kind.DATA, CLASS, SALT, bytearray(1 << 20))
    builder.add(SALT, b"", FRAMES[frame])
    records = bytearray(builder._records)
    struct.pack_into(">I", records, 40, raw)
    builder._records = records
    facts, data = builder.finish()
    name, index = encode_index(KEYRING, Kind.DATA, CLASS, [facts], SALT)
    source = PlainSource("photos", CLASS, 1, 1, (), (IndexRef(digest_of(name) or b"", len(index)),))
    plain = msgspec.structs.replace(PLAIN, sources=(source,), locations=("a",), quorum=1)
    manifest, whole = encode_manifest(KEYRING, plain, BODY, SALT)
    store = MemoryStore("a")
    store.objects = KIT.objects | {facts.name: bytes(data), name: index, manifest: whole}
    with little_memory():
        findings = check([store], level="full", kit=KIT)
        assert {finding.object for finding in findings} == {facts.name}
        opened = open_index(KEYRING, name, index)
        with pytest.raises(VaultDamageError):
            open_chunk(opened, SALT, bytes(data))


# --- with keys, all the way to a volume -------------------------------------------------------------


def published(page: bytes, root: list[Any], facts: bytes) -> World:
    """A vault of one point at one location, whose tree is this page; its chunk `SALT` is b"hello"."""
    world = World.of("a", quorum=1)
    store, keyring = world.stores[0], world.kit.keyring()
    key = keyring.chunk_key(CLASS)
    store.objects = dict(world.kit.objects)
    tree = chunk_id(key, page)
    hello = chunk_id(key, b"hello")
    refs = []
    for number, (kind, chunk, data) in enumerate(
        [(Kind.TREE, tree, page), (Kind.DATA, hello, b"hello")]
    ):
        builder = PackBuilder(keyring, kind, CLASS, bytes([number]) * 32, bytearray(1 << 20))
        builder.add(chunk, data, None)
        pack, whole = builder.finish()
        name, index = encode_index(keyring, kind, CLASS, [pack], bytes([number + 9]) * 32)
        store.objects |= {pack.name: bytes(whole), name: index}
        refs.append((IndexRef(digest_of(name) or b"", len(index)),))
    source = PlainSource("photos", CLASS, 1, 1, *refs)
    plain = msgspec.structs.replace(PLAIN, sources=(source,), locations=("a",), quorum=1)
    body = msgspec.msgpack.encode(["studio", [[root, tree, facts, []]]])
    shown = msgspec.msgpack.encode(plain)
    header, seal = keyring.new_seal(Kind.MANIFEST, "Vault", SALT)
    sealed = seal.seal(LAST_ORDINAL, body, bound=hashlib.sha256(shown).digest())
    data = header.encode() + struct.pack(">I", len(shown)) + shown + sealed
    store.objects[named(snapshot_prefix(plain.job_uid, plain.scheduled_at), data)] = data
    return world


HELLO = chunk_id(World.of("a").kit.keyring().chunk_key(CLASS), b"hello")
ROOT = [b"", 1, 0, 0o755, 0, 0, 1, 1, 1, 0, 1, b"", 0, [], []]
_field = {
    1: st.integers(1, 7),
    2: st.sampled_from([0, 5, 6, 2**62, 2**63 - 1, 2**63, 2**64 - 1]),
    11: st.sampled_from([b"", b"x", b"a\0b", b"x" * 5000]),
    13: st.lists(st.tuples(_bytes, _bytes), max_size=2),
    14: st.lists(st.tuples(_numbers, _numbers), max_size=2),
}


@st.composite
def entries(draw: st.DrawFn, sample: list[Any]) -> list[Any]:
    """An entry with some fields as no system has them."""
    entry = list(sample)
    for place in draw(st.sets(st.integers(1, 14), max_size=3)):
        entry[place] = draw(_field.get(place, _numbers))
    return entry


@st.composite
def trees(draw: st.DrawFn) -> bytes:
    page = [1, [draw(entries(ENTRY)), draw(entries(LINK))], b"", HELLO, [1], [0, 0, 5]]
    page[2] = draw(st.sampled_from([b"", HELLO, HELLO[:-1]]))
    page[4] = draw(st.sampled_from([[1], [1], [1], [], [2], [0], [-1]]))
    # No file's extents are large and possible: a target claims a file's space when it begins.
    page[5] = draw(st.sampled_from([[0, 0, 5], [0, 0, 5], [0, 1, 5], [0, 9, 5], [1, 0, 5], [0, 0]]))
    return msgspec.msgpack.encode(page)


@examples(60, 4000)
@given(trees(), entries(ROOT).map(lambda e: [b"", 1, *e[2:]]), st.binary(max_size=9))
def test_restores_of_nonsense_end_in_errors_for_people(
    tmp_path_factory: pytest.TempPathFactory, page: bytes, root: list[Any], facts: bytes
) -> None:
    world = published(page, root, facts)
    directory: Path = tmp_path_factory.mktemp("nonsense")
    found = points(world.stores)
    assert len(found) == 1
    with (
        suppress(VaultError, StoreError, OSError),
        VolumeTarget(directory, privileged=False) as into,
    ):
        restore(world.vault(), found[0], "photos", into, progress=Progress())
    file = directory / "a"
    if file.is_file() and not file.is_symlink() and 0 < file.stat().st_size < 100:
        assert file.read_bytes().strip(b"\0") in {b"hello", b""}
    with suppress(VaultError), little_memory():
        opened = OpenedSource(world.vault(), found[0], "photos")
        with suppress(VaultError):
            assert isinstance(opened.facts, dict)
        list(listing(world.vault(), found[0], "photos"))
        with suppress(RefusedError):
            blocks: Callable[[], Iterator[bytes]] = lambda: read_file(  # noqa: E731
                world.vault(), found[0], "photos", b"a"
            )
            for block in itertools.islice(blocks(), 5):
                assert len(block) <= 1 << 20
