"""What every kind of ours has in common: metadata, a spec, a status, and how it is listed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic_core import PydanticUndefined

from weddingbackup.resources.base import Condition, Model, Rule, Time
from weddingbackup.resources.fields import keyed_by
from weddingbackup.resources.names import API_VERSION


class Scope(StrEnum):
    """Where objects of a kind live."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`. Those of priority 1 are shown by `-o wide` alone."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    priority: int = 0


AGE = Column("Age", ".metadata.creationTimestamp", "date")


def name_rule(longest: int, why: str) -> Rule:
    """Objects of the kind are named like a DNS label of at most `longest` characters."""
    return Rule(
        f"self.metadata.name.size() <= {longest}"
        " && self.metadata.name.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        f"write a metadata.name of at most {longest} small letters, digits and hyphens: {why}",
    )


@dataclass(frozen=True)
class Definition:
    """What the API server is told of a kind beside its schema."""

    kind: str
    plural: str
    short: str
    scope: Scope
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    """CEL rules on the whole object, which see metadata.name beside spec and status."""
    selectable: tuple[str, ...] = field(default=())
    """Paths that `kubectl get --field-selector` may use."""

    @property
    def singular(self) -> str:
        """The kind in small letters."""
        return self.kind.lower()


class OwnerReference(Model):
    """The object that this one is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """What we read of an object's metadata."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    owner_references: list[OwnerReference] = Field(default_factory=list)
    finalizers: list[str] = Field(default_factory=list)


class KindStatus(Model):
    """What every status has; only the operator writes it."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this status speaks of: lower than it means not yet seen."""
    conditions: Annotated[list[Condition], Field(max_length=16), keyed_by("type")] = Field(
        default_factory=list
    )
    """Aspects of the state, in the form that kubectl wait, Argo CD and Flux understand."""
    message: Annotated[str, Field(max_length=4096)] | None = None
    """The most important thing to know now, in words for people."""


class ImmutableSpec(Model):
    """A spec that is an order: once given it cannot change, only be cancelled."""

    order: ClassVar[str]
    """What the kind is called in messages, for example BackupJob."""

    cancel: bool = False
    """Set to true to stop the work. What had been committed or restored by then stays."""

    @classmethod
    def cel_rules(cls) -> tuple[Rule, ...]:
        """The class's own rules, and those that hold the spec still."""
        instead = f"make a new {cls.order} instead"
        return (
            *cls.rules,
            Rule(
                " && ".join(cls._unchanged()),
                f"the spec of a {cls.order} cannot change, save cancel from false to true: {instead}",
            ),
            Rule("!oldSelf.cancel || self.cancel", f"a cancelled {cls.order} stays so: {instead}"),
        )

    @classmethod
    def _unchanged(cls) -> list[str]:
        rules = []
        for name, info in cls.model_fields.items():
            if name == "cancel":
                continue
            field_name = info.alias or name
            same = f"self.{field_name} == oldSelf.{field_name}"
            if info.is_required() or info.default not in (None, PydanticUndefined):
                rules.append(same)
            else:
                both = f"has(self.{field_name}) == has(oldSelf.{field_name})"
                rules.append(f"{both} && (!has(self.{field_name}) || {same})")
        return rules


class Kind(Model):
    """An object of the cluster, as parsed from what the API gives."""

    definition: ClassVar[Definition]

    metadata: ObjectMeta

    def manifest(self) -> dict[str, Any]:
        """What creates this object: all but the status, which only its own subresource writes."""
        return {
            "apiVersion": API_VERSION,
            "kind": self.definition.kind,
            "metadata": self.metadata.model_dump(mode="json", exclude_defaults=True),
            "spec": self.dump()["spec"],
        }
