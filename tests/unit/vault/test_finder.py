"""Finding chunks in many indexes at once."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weddingbackup.resources.words import DataClass
from weddingbackup.vault import finder
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.index import Index, encode_index, open_index
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.pack import RECORD, PackFacts
from weddingbackup.vault.seal import Kind

KEYRING = Kit.found().keyring()

ENDS = st.sampled_from([bytes(4), b"\0\0\0\1", b"\x7f" + b"\xff" * 3, b"\x80\0\0\0", b"\xff" * 4])
IDS = st.builds(
    lambda start, rest: start + bytes(27) + bytes([rest]),
    ENDS | st.binary(min_size=4, max_size=4),
    st.integers(0, 3),
)


def index_of(ids: list[bytes]) -> Index:
    header, _ = KEYRING.new_seal(Kind.DATA, DataClass.OTHER, bytes(32))
    records = b"".join(RECORD.pack(one, 100, 1000, 1000, 0) for one in ids)
    pack = PackFacts(header, hashlib.sha256(records).digest(), 20 << 20, records)
    return open_index(
        KEYRING, *encode_index(KEYRING, Kind.DATA, DataClass.OTHER, [pack], bytes(32))
    )


@pytest.fixture(autouse=True, scope="module")
def _small_parts() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finder, "_PART", 4)
        yield


@settings(max_examples=40)
@given(st.lists(st.lists(IDS, max_size=20), max_size=6), st.lists(IDS, max_size=20))
def test_all_records_are_found_and_no_others(held: list[list[bytes]], others: list[bytes]) -> None:
    indexes = [index_of(ids) for ids in held]
    found = Finder(indexes)
    for wanted in {*others, *(one for ids in held for one in ids)}:
        places = list(found.places(wanted))
        assert all(place.chunk_id == wanted for place in places)
        expected = [
            index
            for index, ids in zip(indexes, held, strict=True)
            for _ in range(ids.count(wanted))
        ]
        assert [place.index for place in places] == expected
        assert len({(id(place.index), place.ordinal) for place in places}) == len(places)
        first = found.find(wanted)
        assert (first is None) == (not expected)


def test_a_search_does_not_ask_each_index(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [hashlib.sha256(b"%d" % number).digest() for number in range(400)]
    missing = [hashlib.sha256(wanted).digest() for wanted in held]
    found = Finder([index_of(held[start : start + 8]) for start in range(0, 400, 8)])
    for wanted in held + missing:
        found.find(wanted)
    asked: list[int] = []
    read = Index.id_at

    def counted(index: Index, position: int) -> bytes:
        asked.append(position)
        return read(index, position)

    monkeypatch.setattr(Index, "id_at", counted)
    monkeypatch.setattr(Index, "keys", None)  # what was asked once is in the table
    assert all(found.find(wanted) for wanted in held)
    assert not any(found.find(wanted) for wanted in missing)
    assert len(asked) == len(held)
