"""Field types: what they read, what they write, and that Python and the API server agree."""

import importlib.resources
import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from weddingbackup.resources.base import Model
from weddingbackup.resources.countries import COUNTRIES
from weddingbackup.resources.cron import CRON
from weddingbackup.resources.fields import Moment, ObjectName, format_duration, parse_duration
from weddingbackup.resources.wedding_backup_policy import Schedule


class TestDurations:
    @given(st.integers(0, 10**7))
    def test_what_is_written_is_read_back(self, seconds: int) -> None:
        duration = timedelta(seconds=seconds)
        assert parse_duration(format_duration(duration)) == duration

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("10m", 600), ("24h", 86400), ("1h30m5s", 5405), ("0s", 0)],
    )
    def test_forms(self, text: str, seconds: int) -> None:
        assert parse_duration(text).total_seconds() == seconds

    @pytest.mark.parametrize("text", ["", "15", "1d", "1.5h", "-5m", "5m1h", "1h ", "P1D"])
    def test_other_forms_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="write 30s, 10m, 24h or 1h30m"):
            parse_duration(text)

    def test_a_model_reads_and_writes_them(self) -> None:
        schedule = Schedule.model_validate({"every": "90m"})
        assert schedule.every == timedelta(minutes=90)
        assert schedule.dump() == {"every": "1h30m", "timeZone": "UTC", "suspend": False}

    def test_a_default_is_rendered_as_people_write_it(self) -> None:
        assert Schedule(every=timedelta(hours=6)).dump()["every"] == "6h"


_NUMBERS = st.sampled_from(["*", "*/5", "1", "2,4", "1-5", "1-5/2", "2,*/3", "3/2"])


class TestCron:
    @given(
        st.tuples(
            *(
                _NUMBERS,
                _NUMBERS,
                _NUMBERS,
                _NUMBERS | st.just("JAN"),
                _NUMBERS | st.just("MON-FRI"),
            )
        )
    )
    def test_what_the_schema_takes_the_scheduler_understands(self, fields: tuple[str, ...]) -> None:
        expression = " ".join(fields)
        assert re.fullmatch(CRON, expression)
        moments = CronSim(expression, datetime(2026, 11, 23, tzinfo=UTC))
        assert len(list(islice(moments, 2))) == 2

    @pytest.mark.parametrize(
        "expression",
        [
            *("30 3 * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
            *("* * * * * *", "@daily", "*/0 * * * *", "a * * * *", "1- * * * *", "30 3 * * *\n"),
        ],
    )
    def test_slips_are_refused(self, expression: str) -> None:
        with pytest.raises(ValidationError):
            Schedule.model_validate({"cron": expression})


def test_countries_are_those_of_iso_3166() -> None:
    table = importlib.resources.files("tzdata") / "zoneinfo" / "iso3166.tab"
    lines = table.read_text(encoding="utf-8").splitlines()
    assert COUNTRIES.split() == sorted(line[:2] for line in lines if line and line[0] != "#")


class Named(Model):
    name: ObjectName


@pytest.mark.parametrize("name", ["a", "a.b-c.d0", "x" * 253])
def test_names_of_objects(name: str) -> None:
    assert Named(name=name).name == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", "a/b", "../a", "x" * 254, "a\n"])
def test_what_is_no_name_of_an_object(name: str) -> None:
    with pytest.raises(ValidationError):
        Named(name=name)


class Dated(Model):
    at: Moment


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2999, 12, 30)),  # noqa: DTZ001  the offset is in the text
    st.sampled_from(["", ".5", ".123456789"]),
    st.sampled_from(["Z", "+14:59", "-14:59", "+00:00"]),
)
def test_what_the_schema_takes_for_a_moment_is_one(day: datetime, part: str, offset: str) -> None:
    assert Dated.model_validate({"at": f"{day:%Y-%m-%dT%H:%M:%S}{part}{offset}"}).at.tzinfo is UTC
