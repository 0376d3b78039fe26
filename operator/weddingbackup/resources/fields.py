"""Field types that several kinds share, and the marks by which a rule reaches the CRDs.

A rule is written once. Where pydantic can hold it too (patterns, durations) it does, so that a
value read in Python obeys what the API server has checked. Every message says what to write.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from weddingbackup.resources.base import Rule, Time
from weddingbackup.resources.countries import COUNTRIES
from weddingbackup.resources.quantity import quantity
from weddingbackup.resources.words import EARLIEST, LATEST


@dataclass(frozen=True)
class Cel:
    """A CEL rule on one field's value (`self`), with what a person reads when it is broken."""

    rule: str
    message: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_rules(handler(schema), [Rule(self.rule, self.message)])


@dataclass(frozen=True)
class Says:
    """Turns the field's pattern into a CEL rule, whose message says what to write.

    The API server's own message for a pattern shows the pattern, which helps nobody.
    """

    message: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler(schema)
        pattern = json_schema.pop("pattern")
        return with_rules(json_schema, [Rule(f"self.matches(r'{pattern}')", self.message)])


@dataclass(frozen=True)
class ListType:
    """How Kubernetes merges a list and what it refuses in it: keywords of the field's schema."""

    keywords: tuple[tuple[str, Any], ...]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | dict(self.keywords)


def with_rules(schema: JsonSchemaValue, rules: Iterable[Rule]) -> JsonSchemaValue:
    """The schema with these CEL rules after those that it has."""
    known = schema.get("x-kubernetes-validations", [])
    new = [{"rule": rule.rule, "message": rule.message} for rule in rules]
    return schema | {"x-kubernetes-validations": [*known, *new]}


def keyed_by(*keys: str) -> ListType:
    """A list whose items are told apart by these fields: unique, and merged item by item."""
    return ListType((("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", list(keys))))


UNIQUE: Final = ListType((("x-kubernetes-list-type", "set"),))
"""A list whose items are all different."""

_DURATION: Final = re.compile(r"^(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?$")


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta. Go's form, of which we take whole hours, minutes and seconds.

    Raises:
        ValueError: it has another form.
    """
    found = _DURATION.match(text)
    if not text or not found:
        raise ValueError(f"{text!r} is no duration: write 30s, 10m, 24h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back: `1h30m`, `24h`, `0s`."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


@dataclass(frozen=True)
class Duration:
    """A timedelta, written in Go's form and kept between two bounds."""

    minimum: str
    maximum: str

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: parse_duration(value) if isinstance(value, str) else value,
            handler(timedelta),
            serialization=core_schema.plain_serializer_function_ser_schema(format_duration),
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        write = f"between {self.minimum} and {self.maximum}, for example 30s, 10m, 24h or 1h30m"
        bounds = (
            f"duration(self) >= duration('{self.minimum}')"
            f" && duration(self) <= duration('{self.maximum}')"
        )
        form = r"self.matches(r'^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') && self.size() > 0"
        return with_rules(
            {"type": "string", "maxLength": 20},
            [Rule(f"{form} && {bounds}", f"write a duration {write}")],
        )


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$"),
    Says("write the object's metadata.name: small letters, digits, hyphens and dots"),
]
"""The name of an object that others made, for example of a Secret or a claim."""

SourceName = Annotated[
    str,
    Field(min_length=1, max_length=32, pattern=rf"^{_LABEL}$"),
    Says("write a short name of small letters, digits and hyphens, for example planning"),
]
"""The name of a source. 32 characters, because names of pods' volumes and of Jobs contain it."""

FolderPath = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^[^/\x00]+(/[^/\x00]+)*$"),
    Says("write a folder inside the volume, without a slash at its ends, for example photos/2026"),
    Cel(
        "!self.split('/').exists(part, part == '..' || part == '.')",
        "write the folder without . and .. in it, for example photos/2026",
    ),
]
Country = Annotated[
    str,
    Field(max_length=2),
    Cel(
        f"self in '{COUNTRIES}'.split(' ')",
        "write an ISO 3166 country code of two capital letters, for example GB (not UK), FR or US",
    ),
]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    # CEL looks the zone up in the API server's copy of the database; an unknown one is an error,
    # which the server shows beside this message. It would take offsets and the server's own zone too.
    Cel(
        "self.matches(r'^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local'"
        " && timestamp('2000-01-01T00:00:00Z').getFullYear(self) > 0",
        "write a time zone of the IANA database, for example Europe/London",
    ),
]

CalendarDate = Annotated[
    date,
    # Without a format: CEL would take the value for a timestamp, and the server's own message for a
    # wrong date does not say what to write.
    WithJsonSchema({"type": "string", "maxLength": 10}),
    # The conversion fails for a day that no calendar has; the server shows its error beside the message.
    Cel(
        "self.matches(r'^[0-9]{4}-[0-9]{2}-[0-9]{2}$')"
        " && timestamp(self + 'T00:00:00Z') > timestamp('2000-01-01T00:00:00Z')",
        'write a day of the calendar as YYYY-MM-DD in quotes, for example "2026-12-05"',
    ),
]

Moment = Annotated[
    Time,
    # Without a format, for the same reasons: with it the server takes also years and offsets that
    # Python cannot hold.
    WithJsonSchema({"type": "string", "maxLength": 35}),
    Cel(
        "self.matches(r'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?"
        "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$')"
        f" && timestamp(self) >= timestamp('{EARLIEST:%Y-%m-%dT%H:%M:%SZ}')"
        f" && timestamp(self) < timestamp('{LATEST:%Y-%m-%dT%H:%M:%SZ}')",
        "write a moment of the years 1970 to 2999 with its offset, for example 2026-12-05T13:30:00Z",
    ),
]
"""A `Time` that people write."""

Quantity = Annotated[
    str | int,
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    ),
    Cel(
        "type(self) == int ? self >= 0 : isQuantity(self)"
        " && !quantity(self).isLessThan(quantity('0'))",
        "write an amount as for any pod, for example 500m of cpu or 512Mi of memory",
    ),
]
ByteRate = Annotated[
    int,
    BeforeValidator(lambda value: quantity(value) if isinstance(value, str) else value),
    Field(ge=64 << 10, le=1 << 40),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    ),
    Cel(
        "type(self) == int ? self >= 65536 && self <= 1099511627776"
        " : self.matches(r'^[0-9]{1,18}([KMGT]i|[kMGT])?$')"
        " && !quantity(self).isLessThan(quantity('64Ki'))"
        " && !quantity(self).isGreaterThan(quantity('1Ti'))",
        "write whole bytes a second from 64Ki to 1Ti, for example 40Mi",
    ),
]
"""Bytes a second."""
Glob = Annotated[str, Field(min_length=1, max_length=256)]
