"""The pure parts: patterns, segments, names, warnings."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.sources.volume import segments
from weddingbackup.sources.volume.globs import Selection
from weddingbackup.sources.volume.names import is_temporary, temporary
from weddingbackup.sources.volume.tally import Tally
from weddingbackup.vault.entries import shown


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.tmp", b"a.tmp", True),
        ("*.tmp", b"deep/er/a.tmp", True),
        ("*.tmp", b"a.tmp.jpg", False),
        ("*.tmp", b"dir.tmp/inside", True),
        ("cache", b"a/cache", True),
        ("cache/", b"a/cache/b", True),
        ("cache", b"cached", False),
        ("/cache", b"cache/x", True),
        ("/cache", b"a/cache", False),
        ("a/*.jpg", b"a/b.jpg", True),
        ("a/*.jpg", b"a/b/c.jpg", False),
        ("a/*.jpg", b"x/a/b.jpg", False),
        ("a/**/z", b"a/z", True),
        ("a/**/z", b"a/b/c/z", True),
        ("a/**", b"a/b/c", True),
        ("**/z", b"z", True),
        ("**", b"anything/at/all", True),
        ("a?", b"ab", True),
        ("a?", b"a", False),
        ("[ab]*", b"banana", True),
        ("*.jpg", b"\xff\xfe.jpg", True),
        ("*", b"line\nbreak", True),
    ],
)
def test_patterns(pattern: str, path: bytes, matches: bool) -> None:
    assert Selection([], [pattern]).takes(path, directory=False) is not matches
    assert Selection([pattern], []).takes(path, directory=False) is matches


def test_a_directory_is_entered_where_something_may_be_included() -> None:
    selection = Selection(["a/*/photos"], [])
    entered = [b"a", b"a/x", b"a/x/photos", b"a/x/photos/deep", b"b", b"a/x/other"]
    assert [selection.takes(path, directory=True) for path in entered] == [True] * 4 + [False] * 2
    assert not selection.takes(b"a", directory=False)


def test_exclude_wins() -> None:
    selection = Selection(["photos"], ["*.tmp"])
    assert selection.takes(b"photos/a.jpg", directory=False)
    assert not selection.takes(b"photos/a.tmp", directory=False)


@st.composite
def apart(draw: st.DrawFn) -> list[tuple[int, int]]:
    found = []
    position = 0
    for gap, length in draw(
        st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=40)
    ):
        found.append((position + gap, length))
        position += gap + length
    return found


def covered(found: list[tuple[int, int]]) -> set[int]:
    return {byte for offset, length in found for byte in range(offset, offset + length)}


def test_a_dense_file_has_no_segments(tmp_path: Path) -> None:
    """Also where the file system stores it in fewer blocks, compressed for example."""
    path = tmp_path / "dense"
    path.write_bytes(b"x" * 100_000)
    with path.open("rb") as file:
        assert segments.find(file.fileno(), 100_000) == ()
        assert segments.find(file.fileno(), 0) == ()


@given(before=apart(), limit=st.integers(1, 10))
def test_fewer_segments_still_hold_all_data(before: list[tuple[int, int]], limit: int) -> None:
    after = segments.coarsen(before, limit)
    assert len(after) == min(limit, len(before))
    assert covered(after) >= covered(before)
    assert after[0][0] == before[0][0]
    assert sum(after[-1]) == sum(before[-1])
    assert all(sum(one) < two[0] for one, two in pairwise(after))


@given(before=apart(), length=st.integers(0, 3000))
def test_clipped_segments_hold_the_first_bytes(before: list[tuple[int, int]], length: int) -> None:
    after = segments.clip(tuple(before), length)
    wanted = sorted(covered(before))[:length]
    assert sorted(covered(list(after))) == wanted


@given(number=st.integers(0), run=st.binary(min_size=8, max_size=8))
def test_temporary_names_are_recognised(number: int, run: bytes) -> None:
    assert is_temporary(temporary(run.hex(), number))


@pytest.mark.parametrize("name", [b".weddingbackup-notes", b"weddingbackup-0123456789abcdef-1"])
def test_other_names_are_not_taken_for_temporary(name: bytes) -> None:
    assert not is_temporary(name)


@given(st.binary(max_size=40))
def test_any_name_can_be_shown_on_one_line(path: bytes) -> None:
    assert shown(path).isprintable()


def test_warnings_are_counted_with_some_examples() -> None:
    tally = Tally()
    for number in range(1234):
        tally.add("Lost", b"%d" % number)
    tally.add("Found", b"\x1b[31m")
    assert tally.lines() == ["Lost: 1,234 (for example 0, 1, 2)", "Found: 1 (\\x1b[31m)"]
