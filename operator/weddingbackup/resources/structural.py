"""From a pydantic model to a structural schema, the subset of OpenAPI that Kubernetes takes in a CRD.

pydantic writes JSON Schema; Kubernetes forbids references, nulls and unions in it. The generator
leaves out what can be left out while writing, and a pass over the result inlines the rest. A
keyword that Kubernetes would not understand is an error here, not a surprise in the API server.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Never

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from weddingbackup.resources.base import Model
from weddingbackup.resources.fields import format_duration, with_rules

# In the order in which they are written.
_KEYWORDS: Final = (
    *("type", "format", "description", "enum", "default", "pattern"),
    *("minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
    *(
        "x-kubernetes-int-or-string",
        "anyOf",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ),
    *("x-kubernetes-validations", "required", "properties", "items", "additionalProperties"),
)


class SchemaError(TypeError):
    """A model cannot be expressed in a CRD; the message names the place."""


class _Generator(GenerateJsonSchema):
    """Writes optional fields plainly, and a model's own CEL rules beside its fields."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return super().int_schema(schema) | {"format": "int64"}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        cls = schema["cls"]
        if issubclass(cls, Model) and (rules := cls.cel_rules()):
            return with_rules(json_schema, rules)
        return json_schema

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, Model):
            # Written out: the API server tries a default on the rules before it fills in members'.
            return {name: value for name, value in dft.dump().items() if value not in ([], {})}
        return super().encode_default(dft)

    def emit_warning(self, kind: Any, detail: str) -> Never:
        raise SchemaError(f"{kind}: {detail}")


def structural(model: type[Model], *, defaults: bool = True) -> dict[str, Any]:
    """The structural schema of a model.

    Without `defaults` the API server fills nothing in: for a status, which says only what was seen.

    Raises:
        SchemaError: the model is recursive, or uses what a CRD cannot express.
    """
    # Validation mode: the form in which values come in, so fields with defaults are not required.
    schema = model.model_json_schema(schema_generator=_Generator, mode="validation")
    definitions = schema.pop("$defs", {})
    return _Pass(definitions, defaults=defaults).convert(schema, (model.__name__,))


class _Pass:
    """Inlines references and writes the rest as Kubernetes wants it."""

    def __init__(self, definitions: Mapping[str, JsonSchemaValue], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(
        self, schema: JsonSchemaValue, path: tuple[str, ...], inside: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """One schema and all below it; `inside` names the models that it stands in."""
        merged = dict(schema)
        while "$ref" in merged:
            name = merged.pop("$ref").removeprefix("#/$defs/")
            if name in inside:
                raise SchemaError(
                    f"{'.'.join(path)}: a CRD cannot express that {name} holds itself"
                )
            inside = (*inside, name)
            merged = self._definitions[name] | merged
        merged.pop("title", None)
        if unknown := merged.keys() - set(_KEYWORDS):
            raise SchemaError(f"{'.'.join(path)}: a CRD cannot express {sorted(unknown)}")
        if "anyOf" in merged and "x-kubernetes-int-or-string" not in merged:
            raise SchemaError(f"{'.'.join(path)}: a CRD cannot express a choice of types")
        if "properties" in merged:
            merged["properties"] = {
                name: self.convert(member, (*path, name), inside)
                for name, member in merged["properties"].items()
            }
        for keyword in ("items", "additionalProperties"):
            if isinstance(merged.get(keyword), dict):
                merged[keyword] = self.convert(merged[keyword], (*path, keyword), inside)
        if not self._defaults:
            merged.pop("default", None)
        return {keyword: merged[keyword] for keyword in _KEYWORDS if keyword in merged}
