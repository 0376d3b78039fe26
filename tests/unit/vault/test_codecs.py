"""Every stored form: what is written is read again, one value has one byte string, garbage is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault.fakes import rng
from weddingbackup.resources.common import DataClass
from weddingbackup.vault import index, manifest
from weddingbackup.vault.entries import Entry, EntryType
from weddingbackup.vault.errors import (
    RefusedError,
    VaultDamageError,
    VaultError,
    WrongKeyError,
)
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.format import check_format, encode_format
from weddingbackup.vault.index import encode_index, open_index, plain_packs
from weddingbackup.vault.keyring import chunk_id, unwrap
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.manifest import (
    Body,
    IndexRef,
    Plain,
    PlainSource,
    SealedSource,
    encode_manifest,
    open_body,
    read_plain,
)
from weddingbackup.vault.names import (
    base_name,
    digest_of,
    index_name,
    replacement,
    snapshot_job,
    snapshot_prefix,
)
from weddingbackup.vault.pack import RECORD, PackBuilder, PackFacts, open_pack_index
from weddingbackup.vault.seal import HEADER_SIZE, Header, Kind, Seal
from weddingbackup.vault.tree import Item, cut_pages, decode, encode_node, encode_page

if TYPE_CHECKING:
    from collections.abc import Callable
from contextlib import suppress

KIT = Kit.found(random=rng(1))
KEYRING = KIT.keyring()
OTHER = Kit.found(random=rng(2)).keyring()
SALT = bytes(range(32))
DAY = datetime(2026, 12, 5, 18, 0, 0, 123456, tzinfo=UTC)

_ids = st.binary(min_size=32, max_size=32)
_number = st.integers(0, 2**63 - 1)
_names = st.binary(min_size=1, max_size=20).filter(
    lambda n: n not in {b".", b".."} and b"/" not in n and b"\0" not in n
)


@st.composite
def items(draw: st.DrawFn, name: bytes) -> Item:
    kind = draw(st.sampled_from(EntryType))
    fields: dict[str, Any] = {
        field: draw(_number) for field in ("mtime_ns", "ctime_ns", "inode", "rdev")
    } | {field: draw(st.integers(0, 2**32 - 1)) for field in ("uid", "gid")}
    xattrs = tuple(draw(st.lists(st.tuples(_names, st.binary(max_size=9)), max_size=2)))
    extents: tuple[tuple[bytes, int, int], ...] = ()
    if kind == EntryType.FILE:
        extents = tuple(
            draw(st.lists(st.tuples(_ids, st.integers(0, 99), st.integers(1, 10**9)), max_size=4))
        )
    size = sum(length for _, _, length in extents)
    entry = Entry(name, kind, size=size, mode=draw(st.integers(0, 0o7777)), xattrs=xattrs, **fields)
    return Item(entry, draw(_ids) if kind == EntryType.DIRECTORY else b"", extents)


@st.composite
def pages(draw: st.DrawFn) -> list[Item]:
    return [draw(items(name)) for name in sorted(draw(st.sets(_names, max_size=8)))]


@given(pages())
def test_pages(page: list[Item]) -> None:
    data = encode_page(page)
    assert decode("packs/x", data) == page
    assert encode_page(decode("packs/x", data)) == data  # type: ignore[arg-type]


@given(st.lists(_ids, max_size=5))
def test_nodes(ids: list[bytes]) -> None:
    assert decode("packs/x", encode_node(ids)) == ids


@given(st.integers(0, 5000))
def test_cut_pages_keep_all_and_follow_content(count: int) -> None:
    directory = [Item(Entry(b"%06d" % n, EntryType.FIFO)) for n in range(count)]
    cut = list(cut_pages(directory))
    assert [item for page in cut for item in page] == directory
    assert cut
    assert all(len(page) <= 1024 for page in cut)
    fewer = list(cut_pages(directory[1:]))
    assert cut[2:] == fewer[len(fewer) - len(cut[2:]) :]  # an early change moves no later page


@pytest.mark.parametrize(
    "page",
    [
        [Item(Entry(b"../etc", EntryType.FIFO))],
        [Item(Entry(b"..", EntryType.FIFO))],
        [Item(Entry(b".", EntryType.FIFO))],
        [Item(Entry(b"", EntryType.FIFO))],
        [Item(Entry(b"a\0b", EntryType.FIFO))],
        [Item(Entry(b"b", EntryType.FIFO)), Item(Entry(b"a", EntryType.FIFO))],
        [Item(Entry(b"a", EntryType.FIFO)), Item(Entry(b"a", EntryType.FIFO))],
        [Item(Entry(b"a", EntryType.DIRECTORY))],
        [Item(Entry(b"a", EntryType.DIRECTORY), b"short")],
        [Item(Entry(b"a", EntryType.FILE, size=5), b"", ((b"i" * 32, 0, 4),))],
        [Item(Entry(b"a", EntryType.FILE, size=5))],
        [Item(Entry(b"a", EntryType.FILE, size=5), b"", ((b"i" * 32, -1, 5),))],
        [Item(Entry(b"a", EntryType.FILE, size=5, segments=((9, 5),)), b"", ((b"i" * 32, 0, 5),))],
        [Item(Entry(b"a", EntryType.FILE, size=5, segments=((3, 0), (1, 5))))],
    ],
)
def test_pages_that_no_honest_writer_makes_are_refused(page: list[Item]) -> None:
    with pytest.raises(VaultDamageError):
        decode("packs/x", encode_page(page))


def pack_of(chunks: list[bytes], salt: bytes = SALT) -> tuple[PackFacts, bytes]:
    builder = PackBuilder(KEYRING, Kind.DATA, DataClass.PORTFOLIO, salt, bytearray(1 << 20))
    key = KEYRING.chunk_key(DataClass.PORTFOLIO)
    for chunk in chunks:
        builder.add(chunk_id(key, chunk), chunk, None)
    facts, data = builder.finish()
    return facts, bytes(data)


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=12, unique=True))
def test_packs_and_indexes(chunks: list[bytes]) -> None:
    half = len(chunks) // 2
    packs = (
        [pack_of(chunks[half:]), pack_of(chunks[:half], SALT[::-1])] if half else [pack_of(chunks)]
    )
    facts = [fact for fact, _ in packs]
    name, data = encode_index(KEYRING, Kind.DATA, DataClass.PORTFOLIO, facts, SALT)
    assert encode_index(KEYRING, Kind.DATA, DataClass.PORTFOLIO, facts[::-1], SALT) == (name, data)
    assert {(p.digest, p.size) for p in plain_packs(name, data)} == {
        (f.digest, f.size) for f in facts
    }
    index = open_index(KEYRING, name, data)
    stored = {fact.digest: whole for fact, whole in packs}
    key = KEYRING.chunk_key(DataClass.PORTFOLIO)
    for chunk in chunks:
        place = Finder([index]).find(chunk_id(key, chunk))
        assert place is not None
        whole = stored[place.pack_ref.digest]
        assert place.open(whole[place.offset :][: place.stored], key) == chunk
    assert Finder([index]).find(bytes(32)) is None
    assert [place.chunk_id for place in index.places()] == sorted(
        chunk_id(key, chunk) for chunk in chunks
    )
    assert sorted(index.pack_facts(), key=lambda f: f.digest) == sorted(
        facts, key=lambda f: f.digest
    )
    for fact, whole in packs:
        assert hashlib.sha256(whole).digest() == fact.digest
        assert open_pack_index(KEYRING, fact.digest, len(whole), head=whole, tail=whole) == fact


def test_records_of_a_pack_cannot_change_places() -> None:
    """Same length, same pack, same key: only the ordinal tells them apart."""
    facts, whole = pack_of([b"A" * 100, b"B" * 100])
    name, data = encode_index(KEYRING, Kind.DATA, DataClass.PORTFOLIO, [facts], SALT)
    index = open_index(KEYRING, name, data)
    key = KEYRING.chunk_key(DataClass.PORTFOLIO)
    first, second = (Finder([index]).find(chunk_id(key, c * 100)) for c in (b"A", b"B"))
    assert first is not None
    assert second is not None
    with pytest.raises(VaultDamageError, match="record 0 does not open"):
        first.open(whole[second.offset :][: second.stored], key)


def test_a_chunk_under_another_chunks_id_is_refused() -> None:
    """Sealed with the right key, in its right place: only the id tells."""
    key = KEYRING.chunk_key(DataClass.PORTFOLIO)
    builder = PackBuilder(KEYRING, Kind.DATA, DataClass.PORTFOLIO, SALT, bytearray(4096))
    meant = chunk_id(key, b"the first dance")
    builder.add(meant, b"something else", None)
    facts, whole = builder.finish()
    name, data = encode_index(KEYRING, Kind.DATA, DataClass.PORTFOLIO, [facts], SALT)
    place = Finder([open_index(KEYRING, name, data)]).find(meant)
    assert place is not None
    with pytest.raises(VaultDamageError, match="other data than its id says"):
        place.open(whole[place.offset :][: place.stored], key)


@pytest.mark.parametrize("field", ["kind", "class_name", "vault_id", "salt"])
def test_what_a_record_is_bound_to(field: str) -> None:
    header = Header(Kind.DATA, "Portfolio", bytes(16), bytes(16), SALT)
    secret = bytes(32)
    sealed = Seal(secret, header).seal(3, b"content")
    assert Seal(secret, header).open("packs/x", 3, sealed) == b"content"
    other = {
        "kind": Kind.TREE,
        "class_name": "Guests",
        "vault_id": bytes(15) + b"1",
        "salt": SALT[::-1],
    }
    parts = {f: getattr(header, f) for f in Header.__slots__} | {field: other[field]}
    with pytest.raises(VaultDamageError):
        Seal(secret, Header(**parts)).open("packs/x", 3, sealed)


PLAIN = Plain(
    job_uid="3f2a",
    job_name="nightly",
    scheduled_at=DAY,
    started_at=DAY,
    point_time=DAY,
    quorum=2,
    locations=("a", "b", "c"),
    sources=(
        PlainSource("rows", DataClass.TIMELINE, 1, 2, (IndexRef(SALT, 9),), (IndexRef(SALT, 8),)),
    ),
)
BODY = Body("studio", (SealedSource(Entry(b"", EntryType.DIRECTORY), SALT, b"{}", ("w",)),))


def test_manifests() -> None:
    name, data = encode_manifest(KEYRING, PLAIN, BODY, SALT)
    assert encode_manifest(KEYRING, PLAIN, BODY, SALT) == (name, data)
    assert name == snapshot_prefix("3f2a", DAY) + hashlib.sha256(data).hexdigest()
    assert read_plain(name, data) == (KEYRING.vault_id, PLAIN)
    assert open_body(KEYRING, name, data) == BODY
    with pytest.raises(VaultDamageError, match="another vault"):
        open_body(OTHER, name, data)


@pytest.mark.parametrize("year", [1, 1969, 3000, 9999])
@pytest.mark.parametrize("field", ["scheduled_at", "started_at", "point_time"])
def test_moments_that_no_status_can_hold_are_refused(field: str, year: int) -> None:
    plain = msgspec.structs.replace(PLAIN, **{field: DAY.replace(year=year)})
    with pytest.raises(VaultDamageError, match="makes no sense"):
        read_plain(*encode_manifest(KEYRING, plain, BODY, SALT))


def test_a_plain_part_that_would_fill_its_readers_memory_is_neither_written_nor_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = msgspec.structs.replace(PLAIN, locations=("a" * 63,) * (1 << 14))
    with pytest.raises(VaultError, match="give the policy fewer sources"):
        encode_manifest(KEYRING, plain, BODY, SALT)
    with monkeypatch.context() as careless:
        careless.setattr(manifest, "_LARGEST_PLAIN", 2 << 20)
        name, data = encode_manifest(KEYRING, plain, BODY, SALT)
    with pytest.raises(VaultDamageError, match="larger than any"):
        read_plain(name, data)


def test_a_manifests_plain_part_cannot_be_replaced() -> None:
    """Whoever can write objects could give a forged one a fitting name; it does not open."""
    name, data = encode_manifest(KEYRING, PLAIN, BODY, SALT)
    forged = data.replace(b"\x02\x93\xa1a\xa1b\xa1c", b"\x01\x93\xa1a\xa1b\xa1c")  # the quorum
    assert forged != data
    forged_name = snapshot_prefix("3f2a", DAY) + hashlib.sha256(forged).hexdigest()
    assert read_plain(forged_name, forged)[1].quorum == 1
    with pytest.raises(VaultDamageError):
        open_body(KEYRING, forged_name, forged)
    with pytest.raises(VaultDamageError, match="makes no sense"):
        read_plain(name.replace("3f2a", "ffff"), data)


def test_an_indexs_list_of_packs_cannot_be_replaced() -> None:
    facts, _ = pack_of([b"chunk"])
    _name, data = encode_index(KEYRING, Kind.DATA, DataClass.PORTFOLIO, [facts], SALT)
    forged = data.replace(facts.digest, bytes(32))
    forged_name = index_name(hashlib.sha256(forged).digest())
    assert plain_packs(forged_name, forged)[0].digest == bytes(32)
    with pytest.raises(VaultDamageError):
        open_index(KEYRING, forged_name, forged)


def _facts(count: int) -> list[PackFacts]:
    header = Header(Kind.DATA, "Other", KEYRING.vault_id, bytes(16), SALT)
    record = RECORD.pack(SALT, HEADER_SIZE, 100, 84, 0)
    return [PackFacts(header, n.to_bytes(32), 1000, record) for n in range(count)]


def test_the_longest_honest_list_of_packs_is_read() -> None:
    """A pack has a record at least, so there are no more packs than records."""
    name, data = encode_index(KEYRING, Kind.DATA, "Other", _facts(index.MAX_RECORDS), SALT)
    assert len(plain_packs(name, data)) == index.MAX_RECORDS < 0.8 * index._MOST_PACKS


def test_a_list_of_packs_without_end_is_neither_written_nor_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = _facts(index._MOST_PACKS + 1)
    with pytest.raises(VaultError, match="write several"):
        encode_index(KEYRING, Kind.DATA, "Other", many, SALT)
    with monkeypatch.context() as careless:
        careless.setattr(index, "_MOST_PACKS", 1 << 17)
        name, data = encode_index(KEYRING, Kind.DATA, "Other", many, SALT)
    with pytest.raises(VaultDamageError, match="longer than any"):
        plain_packs(name, data)
    twice = _facts(1) * 2
    with pytest.raises(VaultDamageError, match="not sorted"):
        plain_packs(*encode_index(KEYRING, Kind.DATA, "Other", twice, SALT))


def _named(prefix: str, data: bytes) -> str:
    return prefix + hashlib.sha256(data).hexdigest()


PARSERS: dict[str, Callable[[bytes], object]] = {
    "format": check_format,
    "kit": Kit.from_json,
    "tree": lambda data: decode("packs/x", data),
    "header": lambda data: Header.decode("packs/x", data),
    "index": lambda data: open_index(KEYRING, _named("index/", data), data),
    "index, plain": lambda data: plain_packs(_named("index/", data), data),
    "manifest": lambda data: read_plain(_named(snapshot_prefix("3f2a", DAY), data), data),
    "manifest body": lambda data: open_body(KEYRING, "snapshots/x", data),
    "pack": lambda data: open_pack_index(
        KEYRING, hashlib.sha256(data).digest(), len(data), head=data, tail=data
    ),
    "key": lambda data: unwrap(
        _named("keys/guests-00-", data), data, KEYRING.vault_id, KIT.wrapping_keys["Guests"]
    ),
}
SAMPLES = {
    "format": KIT.objects["format"],
    "kit": KIT.to_json(),
    "tree": encode_page(
        [
            Item(Entry(b"a", EntryType.FILE, size=5), b"", ((SALT, 0, 5),)),
            Item(Entry(b"b", EntryType.DIRECTORY), SALT),
        ]
    ),
    "header": Header(Kind.DATA, "Guests", bytes(16), bytes(16), SALT).encode(),
    "index": encode_index(KEYRING, Kind.DATA, "Other", [pack_of([b"x"])[0]], SALT)[1],
    "index, plain": encode_index(KEYRING, Kind.DATA, "Other", [pack_of([b"x"])[0]], SALT)[1],
    "manifest": encode_manifest(KEYRING, PLAIN, BODY, SALT)[1],
    "manifest body": encode_manifest(KEYRING, PLAIN, BODY, SALT)[1],
    "pack": pack_of([b"x", b"y"])[1],
    "key": next(d for n, d in KIT.objects.items() if n.startswith("keys/guests-")),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_the_samples_are_whole(parser: str) -> None:
    PARSERS[parser](SAMPLES[parser])


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=150)
@given(data=st.data())
def test_garbage_is_refused_with_a_clear_error(parser: str, data: st.DataObject) -> None:
    sample = SAMPLES[parser]
    place = data.draw(st.integers(0, len(sample) - 1))
    garbage = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.just(sample[:place]),
            st.just(sample + b"\0"),
            st.integers(1, 255).map(
                lambda bits: sample[:place] + bytes([sample[place] ^ bits]) + sample[place + 1 :]
            ),
            st.binary(max_size=9).map(lambda more: sample[:place] + more + sample[place:]),
        )
    )
    with suppress(VaultError):  # anything else is a bug
        PARSERS[parser](garbage)


def test_kits() -> None:
    assert Kit.from_json(KIT.to_json()) == KIT
    assert Kit.found(random=rng(1)) == KIT
    assert Kit.from_json(KIT.to_json()).to_json() == KIT.to_json()
    assert KIT.keyring().chunker_seed() == KEYRING.chunker_seed() != OTHER.chunker_seed()
    assert sorted(n.split("-")[0] for n in KIT.objects) == [
        "format",
        *sorted(f"keys/{c.lower()}" for c in ["vault", *DataClass]),
    ]


def test_a_wrong_wrapping_key_is_told_from_damage() -> None:
    wrong = Kit(KIT.vault_id, KIT.prefix, KIT.wrapping_keys | {"Guests": bytes(32)}, KIT.objects)
    with pytest.raises(WrongKeyError, match="the Guests wrapping key does not open keys/guests-"):
        wrong.keyring()
    wrong.keyring([DataClass.TIMELINE])  # the others are not needed for this
    erased = {name: key for name, key in KIT.wrapping_keys.items() if name != "Guests"}
    keyring = Kit(KIT.vault_id, KIT.prefix, erased, KIT.objects).keyring()
    with pytest.raises(WrongKeyError, match="no key of class Guests"):
        keyring.chunk_key(DataClass.GUESTS)
    name = next(n for n in KIT.objects if n.startswith("keys/guests-"))
    damaged = KIT.objects | {name: KIT.objects[name][:-1] + b"?"}
    with pytest.raises(VaultDamageError):
        Kit(KIT.vault_id, KIT.prefix, KIT.wrapping_keys, damaged).keyring()


def test_a_newer_format_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RefusedError, match="use a newer program"):
        check_format(encode_format(bytes(16), version=2))
    with pytest.raises(RefusedError, match="erasure"):
        check_format(encode_format(bytes(16), features=frozenset({"extents", "zstd", "erasure"})))
    header = bytearray(SAMPLES["header"])
    header[7] = 1  # a mandatory flag that nobody knows
    with pytest.raises(VaultDamageError, match="none that this version knows"):
        Header.decode("packs/x", bytes(header))
    assert len(header) == HEADER_SIZE


def test_names() -> None:
    digest = hashlib.sha256(b"").digest()
    name = index_name(digest)
    assert digest_of(name) == digest_of(replacement(name, 3)) == digest
    assert replacement(name, 0) == name
    assert base_name(replacement(name, 9)) == name
    assert digest_of("format") is None
    job = snapshot_prefix("3f2a-11", DAY) + digest.hex()
    assert snapshot_job(job) == "3f2a-11"
    assert snapshot_job(job + ".r1") is None
    assert snapshot_job("snapshots/2026/12/05/" + digest.hex()) is None
