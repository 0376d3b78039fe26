"""Cuts follow the content, keep every byte, and stay where they are from release to release."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault.fakes import rng
from weddingbackup.vault.chunker import MAX_SIZE, MIN_SIZE, Chunker

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 0x1234_5678_9ABC_DEF0 >> 1
DATA = rng(42)(24 << 20)
CUTS = [
    866205,
    1384973,
    2163542,
    1809683,
    288386,
    1306358,
    1287275,
    740320,
    1336215,
    282619,
    622266,
    714534,
    1193697,
    607105,
    2417635,
    713816,
    1111972,
    2322634,
    1801402,
    1076296,
    1118891,
]


def reader(data: bytes, step: int = 1 << 20) -> Callable[[memoryview], int]:
    stream = io.BytesIO(data)
    return lambda buffer: stream.readinto(buffer[: min(len(buffer), step)])


def cut(data: bytes, expected: int | None = None, step: int = 1 << 20) -> list[bytes]:
    chunker = Chunker(SEED)
    found = chunker.cut(reader(data, step), len(data) if expected is None else expected)
    return [bytes(chunk) for chunk in found]


def test_vectors() -> None:
    """A library that cuts elsewhere would store everything of every vault anew."""
    assert [len(chunk) for chunk in cut(DATA)] == CUTS


def test_sizes_and_content() -> None:
    chunks = cut(DATA)
    assert b"".join(chunks) == DATA
    assert all(MIN_SIZE <= len(chunk) <= MAX_SIZE for chunk in chunks[:-1])


def test_an_insertion_moves_no_later_cut() -> None:
    chunks = cut(DATA)
    moved = cut(DATA[:5_000_000] + b"inserted" + DATA[5_000_000:])
    assert len(set(moved) - set(chunks)) <= 3


def test_a_long_run_of_zeros_is_cut_at_the_maximum() -> None:
    assert {len(chunk) for chunk in cut(bytes(20 << 20))} == {MAX_SIZE}


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(0, 10 << 20),
    expected=st.integers(0, 12 << 20),
    step=st.integers(50_000, 9 << 20),
)
def test_cuts_do_not_depend_on_how_it_is_read(size: int, expected: int, step: int) -> None:
    data = DATA[:size]
    assert cut(data, expected, step) == cut(data)


def test_another_seed_cuts_elsewhere() -> None:
    other = [len(c) for c in Chunker(SEED + 1).cut(reader(DATA), len(DATA))]
    assert other != CUTS


def test_memory_is_used_again_once_no_chunk_lies_in_it_any_more() -> None:
    chunker = Chunker(SEED)
    held = list(chunker.cut(reader(DATA), len(DATA)))
    more = list(chunker.cut(reader(DATA[::-1]), len(DATA)))  # while all of the first are held
    assert b"".join(held) == DATA
    assert b"".join(more) == DATA[::-1]
    del held, more
    kept = {id(window) for window in chunker._windows}
    used = {id(chunk.obj) for chunk in chunker.cut(reader(DATA), len(DATA))}
    assert used <= kept
    assert len(kept) == 4


def test_a_chunk_that_is_held_is_never_written_over() -> None:
    chunker = Chunker(SEED)
    held = [next(iter(chunker.cut(reader(DATA), len(DATA))))]
    for start in range(8):
        for chunk in chunker.cut(reader(DATA[start:]), len(DATA)):
            if len(held) <= start + 1:
                held.append(chunk)
    assert held[0] == DATA[: len(held[0])]
    for start, chunk in enumerate(held[1:]):
        assert chunk == DATA[start : start + len(chunk)]
