"""Small catalogs, made by hand."""

from typing import Any

from weddingbackup.resources.common import Table
from weddingbackup.sources.postgres.catalog import (
    Catalog,
    Column,
    ForeignKey,
    Name,
    TableFacts,
    Unique,
)

EQUALS = Name("pg_catalog", "=")


def column(name: str, type_: str = "text", **more: Any) -> Column:
    facts = {
        "base_type": Name("pg_catalog", type_),
        "equals": EQUALS,
        "not_null": name == "id",
        "has_default": False,
        "identity": "",
        "generated": False,
        "readable": True,
    }
    return Column(name=name, type=type_, **{**facts, **more})


def unique(*columns: str, **more: Any) -> Unique:
    facts = {
        "primary": columns == ("id",),
        "replica_identity": False,
        "immediate": True,
        "exclusion": False,
    }
    return Unique(name="_".join(columns), columns=columns or None, **{**facts, **more})


def table(
    name: str, *columns: Column | str, uniques: tuple[Unique, ...] = (), **more: Any
) -> TableFacts:
    facts: dict[str, Any] = {
        "kind": "r",
        "children": (),
        "partition_of": None,
        "hidden": False,
        "schema_usable": True,
        "lacks": frozenset(),
        "rules": (),
    }
    return TableFacts(
        name=Name("public", name),
        columns=tuple(c if isinstance(c, Column) else column(c) for c in ("id", *columns)),
        uniques=(unique("id"), *uniques),
        **{**facts, **more},
    )


def points(child: str, by: str, parent: str, **more: Any) -> ForeignKey:
    facts = {"on_delete": "a", "deferrable": False}
    return ForeignKey(
        name=f"{child}_{by}",
        table=Name("public", child),
        columns=(by,),
        references=Name("public", parent),
        referenced=("id",),
        equals=(EQUALS,),
        **{**facts, **more},
    )


def catalog(*tables: TableFacts, keys: tuple[ForeignKey, ...] = ()) -> Catalog:
    return Catalog("someone", {table.name: table for table in tables}, keys, ())


def match(name: str, **columns: str) -> Table:
    return Table.model_validate({"name": name, "match": columns})


def via(name: str, parent: str, key: str) -> Table:
    return Table.model_validate({"name": name, "via": {"table": parent, "foreignKey": key}})
