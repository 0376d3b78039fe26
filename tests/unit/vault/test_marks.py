"""Marks as bytes: one value, one byte string; whatever is none is refused; each is read once."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vault.fakes import MemoryStore
from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.marks import Marks, encode_mark, marked_at, read_mark

AT = datetime(2026, 12, 5, 18, 30, 15, 999, tzinfo=UTC)
digests = st.binary(min_size=32, max_size=32)
names = st.lists(
    digests.map(lambda x: f"packs/{x.hex()}")
    | digests.map(lambda x: f"index/{x.hex()}")
    | digests.map(lambda x: f"snapshots/2026/12/05/job-{x.hex()}"),
    max_size=30,
)


@given(names, digests)
def test_what_goes_in_comes_out_whatever_its_order(listed: list[str], other: bytes) -> None:
    name, data = encode_mark(AT, listed)
    assert (name, data) == encode_mark(
        AT.astimezone(timezone(timedelta(hours=5))), listed[::-1] * 2
    )
    mark = read_mark(name, data)
    assert sorted(mark.names()) == sorted(set(listed))
    assert len(mark) == len(set(listed))
    assert mark.at == marked_at(name) == AT.replace(microsecond=0)
    assert all(x in mark and f"{x}.r3" in mark for x in listed)
    for folder in ("packs/", "index/", "snapshots/2026/12/05/job-"):
        assert (f"{folder}{other.hex()}" in mark) == (f"{folder}{other.hex()}" in listed)
    assert "format" not in mark


def forged(data: bytes) -> str:
    """The name that these bytes would have."""
    return f"marks/20261205t183015z-{hashlib.sha256(data).hexdigest()}"


@given(st.binary(max_size=200))
def test_bytes_that_are_no_mark_are_refused(data: bytes) -> None:
    with pytest.raises(VaultDamageError):
        read_mark(forged(data), data)


@given(names, st.data())
def test_a_changed_mark_is_refused_by_its_name(listed: list[str], draw: st.DataObject) -> None:
    name, data = encode_mark(AT, listed)
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    for bad in (changed, data[:place], data + b"\x00"):
        with pytest.raises(VaultDamageError):
            read_mark(name, bad)


ONE, TWO = bytes(32), b"\x01" * 32
POINT = f"snapshots/2026/12/05/job-{'0' * 64}"
WHEN = AT.replace(microsecond=0)


@pytest.mark.parametrize(
    "body",
    [
        [2, WHEN, [], b"", b""],
        [1, WHEN.replace(microsecond=1), [], b"", b""],
        [1, WHEN + timedelta(seconds=1), [], b"", b""],
        [1, WHEN, ["format"], b"", b""],
        [1, WHEN, [f"keys/vault-{'0' * 32}-{'0' * 64}"], b"", b""],
        [1, WHEN, [POINT, POINT], b"", b""],
        [1, WHEN, [], TWO + ONE, b""],
        [1, WHEN, [], b"", ONE + ONE],
        [1, WHEN, [], ONE[1:], b""],
        [1, WHEN, [], b"", b"", b"more"],
        {"version": 1},
    ],
)
def test_what_makes_no_sense_is_refused(body: object) -> None:
    data = msgspec.msgpack.encode(body)
    with pytest.raises(VaultDamageError):
        read_mark(forged(data), data)


def test_what_makes_sense_is_not() -> None:
    data = msgspec.msgpack.encode([1, WHEN, [POINT], ONE, ONE + TWO])
    assert len(read_mark(forged(data), data)) == 4


def test_a_mark_is_read_once_and_from_whoever_has_it_whole() -> None:
    stores = [MemoryStore("a"), MemoryStore("b")]
    name, data = encode_mark(AT, [f"packs/{ONE.hex()}"])
    stores[0].objects[name], stores[1].objects[name] = b"rotten", data
    marks = Marks()
    for _ in range(3):
        marked = marks.look(stores)
        assert f"packs/{ONE.hex()}" in marked
        assert marked.holders == {name: {"a", "b"}}
    assert len(stores[1].gets) == 1
    assert Marks().look(stores[:1]).unreadable == (name,)
