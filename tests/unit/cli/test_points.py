"""Which point a person means."""

from datetime import UTC, datetime

import msgspec
import pytest

from tests.unit.vault.test_codecs import PLAIN
from weddingbackup.cli.vault.points import select
from weddingbackup.vault.catalog import Point


def point(year: int, *held_by: str) -> Point:
    plain = msgspec.structs.replace(PLAIN, point_time=datetime(year, 1, 1, tzinfo=UTC))
    lacking = frozenset(plain.locations).difference(held_by)
    return Point(f"snapshots/{year}", b"", b"", plain, held_by, lacking)


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        ([point(2999, *PLAIN.locations), point(2025, *PLAIN.locations)], 1),
        ([point(2999, *PLAIN.locations), point(2026), point(2025, *PLAIN.locations)], 2),
        ([point(2999, *PLAIN.locations), point(2025)], 0),
        ([point(2999), point(2026), point(2025)], 1),
    ],
)
def test_latest_is_none_of_the_future_where_there_is_another(
    known: list[Point], chosen: int
) -> None:
    assert select(known, "latest") is known[chosen]
