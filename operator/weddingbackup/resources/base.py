"""The root of all models: how Python's names become the API's, and how values are dumped."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from weddingbackup.resources.words import EARLIEST, LATEST


def _in_utc(moment: datetime) -> datetime:
    """Far from both ends of what Python can hold, so that offsets and durations may be added to it.

    Raises:
        ValueError: it is not, for example 9999-12-31T23:59:59-14:00, or year 1 in any zone.
    """
    # Moments of other zones are compared without overflow, but converted only with it.
    if not EARLIEST <= moment < LATEST:
        raise ValueError("write a moment of the years 1970 to 2999")
    return moment.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment of the years 1970 to 2999; read with any offset, held and written in UTC (RFC 3339)."""


@dataclass(frozen=True)
class Rule:
    """A CEL rule of a schema, and what a person reads who breaks it: what to write instead."""

    rule: str
    message: str


class Model(BaseModel):
    """A value: immutable, camelCase outside and snake_case inside.

    Unknown fields are ignored: the API server has already refused or pruned them, and a newer
    operator may have written what an older one does not know.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        frozen=True,
        extra="ignore",
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """CEL rules over several fields at once."""

    @classmethod
    def cel_rules(cls) -> tuple[Rule, ...]:
        """All rules that the API server applies to this object as a whole."""
        return cls.rules

    def dump(self) -> dict[str, Any]:
        """The JSON-ready form that the API and the wire speak: camelCase, without what is None."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_json(self) -> str:
        """`dump` as one line of JSON."""
        return self.model_dump_json(exclude_none=True)


class OneOf(Model):
    """A union: exactly one of its members is set."""

    members: ClassVar[tuple[str, ...]]
    """Names of the fields, in Python."""

    @classmethod
    def cel_rules(cls) -> tuple[Rule, ...]:
        """One rule for the union, then those of the class."""
        present = ", ".join(f"has(self.{to_camel(member)})" for member in cls.members)
        return (Rule(f"[{present}].exists_one(set, set)", cls._message()), *cls.rules)

    @classmethod
    def _message(cls) -> str:
        return f"write exactly one of: {', '.join(map(to_camel, cls.members))}"

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, member) is not None for member in self.members) != 1:
            raise ValueError(self._message())
        return self


Reason = Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
"""Why, in one CamelCase word that programs may rely on."""


class ConditionStatus(StrEnum):
    """What is known of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One aspect of an object's state, in the form of metav1.Condition."""

    type: Annotated[str, Field(max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """The aspect, for example Ready."""
    status: ConditionStatus
    """True, False, or Unknown where it could not be found out."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that this condition speaks of."""
    last_transition_time: Time
    """When the status last changed from one value to another."""
    reason: Reason
    """Why, in one CamelCase word that programs may rely on."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, and what to do, in words for people."""
