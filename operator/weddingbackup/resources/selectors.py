"""Choosing objects by their labels, as everywhere in Kubernetes."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from weddingbackup.resources.base import Model, Rule


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


LabelValue = Annotated[str, Field(max_length=63)]


class SelectorExpression(Model):
    """One comparison of a label."""

    key: Annotated[str, Field(min_length=1, max_length=316)]
    """The label's key."""
    operator: SelectorOperator
    """In and NotIn compare with values; Exists and DoesNotExist need none."""
    values: Annotated[list[LabelValue], Field(max_length=32)] = Field(default_factory=list)
    """The values for In and NotIn."""

    rules = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "write values with In and NotIn, and none with Exists and DoesNotExist",
        ),
    )


class LabelSelector(Model):
    """Chooses objects by their labels, as everywhere in Kubernetes: all conditions must hold."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels that the object must have, with these values."""
    match_expressions: Annotated[list[SelectorExpression], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Comparisons that must all hold."""
