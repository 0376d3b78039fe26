from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.cli.vault import text
from weddingbackup.vault.entries import Entry, EntryType
from weddingbackup.vault.progress import Progress


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (20 * 1024**2, "20.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (9999 * 1024**4, "9999.0 TiB"),
    ],
)
def test_sizes_are_iec(count: int, shown: str) -> None:
    assert text.size(count) == shown


def test_times_are_utc_to_the_second() -> None:
    time = datetime(2026, 12, 5, 19, 30, 1, 999, tzinfo=timezone(timedelta(hours=1)))
    assert text.moment(time) == "2026-12-05T18:30:01Z"


@given(path=st.binary(max_size=100), target=st.binary(max_size=100))
def test_no_name_can_steer_a_terminal(path: bytes, target: bytes) -> None:
    link = Entry(b"l", EntryType.SYMLINK, target=target)
    assert text.long_line(path, link).isprintable()


@pytest.mark.parametrize(
    ("path", "shown"), [("café".encode(), "café"), (b"caf\xe9", "caf\\xe9"), (b"a\nb", "a\\nb")]
)
def test_a_name_is_shown_as_it_is_where_it_can_be(path: bytes, shown: str) -> None:
    assert text.long_line(path, Entry(b"f", EntryType.FILE)).endswith(f"Z {shown}")


def test_an_entry_is_shown_like_ls_shows_it() -> None:
    time = int(datetime(2026, 12, 5, tzinfo=UTC).timestamp()) * 10**9
    file = Entry(b"f", EntryType.FILE, size=7, mode=0o4755, uid=1, gid=2, mtime_ns=time)
    assert text.long_line(b"d/f", file).split() == [
        "-rwsr-xr-x",
        "1",
        "2",
        "7",
        "2026-12-05T00:00:00Z",
        "d/f",
    ]
    link = Entry(b"l", EntryType.SYMLINK, mode=0o777, target=b"f")
    assert text.long_line(b"l", link).endswith(" l -> f")


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    assert text.table(("A", "B"), [("long", "x"), ("y", "z")]).splitlines() == [
        "A     B",
        "long  x",
        "y     z",
    ]


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        (None, "1.0 MiB, 3 files"),
        (0, "1.0 MiB, 3 files"),
        (4 * 1024**2, "1.0 MiB of 4.0 MiB (25 %), 3 files"),
        (1024, "1.0 MiB of 1.0 KiB (100 %), 3 files"),
    ],
)
def test_progress_is_a_line(total: int | None, shown: str) -> None:
    progress = Progress()
    progress.add(files=3, size=1024**2)
    progress.bytes_total = total
    assert text.progress_line(progress) == shown
