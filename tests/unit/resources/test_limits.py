"""A location's limits: read as people write them, handed on to workers in whole bytes."""

import pytest
from pydantic import ValidationError

from tests import objects
from weddingbackup.kube import credentials
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import LocationLimits
from weddingbackup.resources.tasks import LocationAccess


@pytest.mark.parametrize(
    ("written", "rate"),
    [("40Mi", 40 << 20), ("64Ki", 64 << 10), ("10M", 10_000_000), (65536, 65536)],
)
def test_a_rate_is_written_like_any_quantity(written: str | int, rate: int) -> None:
    limits = LocationLimits.model_validate({"uploadBytesPerSecond": written, "connections": 4})
    assert limits.dump() == {"uploadBytesPerSecond": rate, "connections": 4}
    assert LocationLimits.model_validate(limits.dump()) == limits


@pytest.mark.parametrize("written", ["", "fast", "63Ki", "0", "-40Mi", "2Ti", 1, "40MiB", "40Mbit"])
def test_what_is_no_rate_is_refused(written: str | int) -> None:
    with pytest.raises(ValidationError):
        LocationLimits.model_validate({"downloadBytesPerSecond": written})


def test_a_locations_limits_reach_who_opens_it() -> None:
    body = objects.location()
    body["spec"]["limits"] = {"uploadBytesPerSecond": "40Mi", "connections": 4}
    access = credentials.access(BackupLocation.model_validate(body), None)
    told = LocationAccess.model_validate_json(access.to_json())
    assert told.limits == LocationLimits(upload_bytes_per_second=40 << 20, connections=4)
