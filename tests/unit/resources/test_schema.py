"""What every CRD promises, whatever the kind, and that the committed ones are what the models say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from weddingbackup.resources import schema
from weddingbackup.resources.base import Model
from weddingbackup.resources.kind import Kind
from weddingbackup.resources.structural import SchemaError, structural

PROJECT = Path(__file__).parents[3]
CRDS = {kind.definition.kind: schema.crd(kind) for kind in schema.KINDS}

each_kind = pytest.mark.parametrize("kind", schema.KINDS, ids=lambda kind: kind.__name__)
each_crd = pytest.mark.parametrize("crd", CRDS.values(), ids=CRDS)


def version(crd: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]
    return found


def walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one, with its path."""
    yield path, node
    for name, member in node.get("properties", {}).items():
        yield from walk(member, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            yield from walk(node[keyword], f"{path}[]")


def schemas(crd: dict[str, Any], top: str) -> list[tuple[str, dict[str, Any]]]:
    return list(walk(version(crd)["schema"]["openAPIV3Schema"]["properties"][top], top))


def models(model: type[Model]) -> Iterator[type[Model]]:
    """A model and all that its fields hold."""
    yield model
    for info in model.model_fields.values():
        for part in _parts(info.annotation):
            yield from models(part)


def _parts(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _parts(inner)


@each_crd
def test_people_write_no_moment_that_python_cannot_hold(crd: dict[str, Any]) -> None:
    loose = [path for path, node in schemas(crd, "spec") if node.get("format") == "date-time"]
    assert not loose, "a Moment has bounds, a Time has none in the API server"


@each_kind
def test_every_field_is_described_by_itself(kind: type[Kind]) -> None:
    silent = [
        f"{model.__module__}.{model.__name__}.{name}"
        for top in (kind.model_fields["spec"], kind.model_fields["status"])
        for part in _parts(top.annotation)
        for model in models(part)
        for name, info in model.model_fields.items()
        if not (info.description or "").rstrip().endswith((".", ")"))
    ]
    assert silent == []


@each_crd
def test_every_place_of_the_schema_is_described(crd: dict[str, Any]) -> None:
    silent = [
        path
        for top in ("spec", "status")
        for path, node in schemas(crd, top)
        if "description" not in node and not path.endswith("[]")
    ]
    assert silent == []


@each_crd
def test_everything_is_bounded(crd: dict[str, Any]) -> None:
    """CEL's cost is estimated from bounds, and an object stays far below what etcd takes."""
    unbounded = []
    for path, node in (found for top in ("spec", "status") for found in schemas(crd, top)):
        kind = node.get("type")
        free = {
            "string": "maxLength" not in node and "enum" not in node and "format" not in node,
            "array": "maxItems" not in node,
            "object": "additionalProperties" in node and "maxProperties" not in node,
        }
        if free.get(str(kind)):
            unbounded.append(path)
    assert unbounded == []


@each_crd
def test_a_status_has_no_defaults(crd: dict[str, Any]) -> None:
    assert [path for path, node in schemas(crd, "status") if "default" in node] == []


@each_crd
def test_rules_say_what_to_write(crd: dict[str, Any]) -> None:
    whole = version(crd)["schema"]["openAPIV3Schema"]
    rules = [rule for _, node in walk(whole) for rule in node.get("x-kubernetes-validations", ())]
    words = ("write ", "make a new", "register another", "leave ")
    assert [rule["message"] for rule in rules if not any(w in rule["message"] for w in words)] == []


@each_crd
def test_every_kind_can_be_waited_for(crd: dict[str, Any]) -> None:
    status = version(crd)["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert version(crd)["subresources"] == {"status": {}}
    assert "observedGeneration" in status
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]


@each_crd
def test_columns_and_selectors_lead_somewhere(crd: dict[str, Any]) -> None:
    whole = version(crd)["schema"]["openAPIV3Schema"]
    paths = [column["jsonPath"] for column in version(crd)["additionalPrinterColumns"]]
    paths += [field["jsonPath"] for field in version(crd)["selectableFields"]]
    known = {path for path, _ in walk(whole)}
    lost = [
        path
        for path in paths
        if path.split("[?")[0] not in known and not path.startswith(".metadata.")
    ]
    assert lost == []


@each_crd
def test_date_columns_show_only_what_has_been(crd: dict[str, Any]) -> None:
    """kubectl writes <invalid> for a date that lies ahead."""
    dates = {c["name"] for c in version(crd)["additionalPrinterColumns"] if c["type"] == "date"}
    assert dates <= {"Age", "Newest", "Started", "Last-Probe", "Last-Seen"}


def test_rendering_is_deterministic() -> None:
    assert schema.render() == schema.render()


@pytest.mark.parametrize(
    ("folder", "files"),
    [(schema.PLAIN, schema.render()), (schema.CHART, schema.render_for_chart())],
    ids=["plain", "chart"],
)
def test_committed_is_generated(folder: Path, files: dict[str, str]) -> None:
    committed = {path.name: path.read_text() for path in (PROJECT / folder).glob("*.yaml")}
    assert committed == files, "run `make crds` and commit"


def test_yaml_says_what_the_models_say() -> None:
    assert [yaml.safe_load(text) for text in schema.render().values()] == list(CRDS.values())


def test_check_tells_which_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert schema._main(["--write"]) == 0
    assert schema._main(["--check"]) == 0
    (tmp_path / schema.PLAIN / "backupjobs.yaml").write_text("kind: Other\n")
    (tmp_path / schema.CHART / "leftover.yaml").write_text("kind: Other\n")
    assert schema._main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "crds/backupjobs.yaml is not what the models say: run `make crds`" in told
    assert "leftover.yaml" in told


class TestWhatACrdCannotSay:
    def test_a_model_that_holds_itself(self) -> None:
        with pytest.raises(SchemaError, match="Tree holds itself"):
            structural(Tree)

    def test_a_choice_of_types(self) -> None:
        class Either(Model):
            value: str | float

        with pytest.raises(SchemaError, match="value: a CRD cannot express a choice of types"):
            structural(Either)

    def test_a_keyword_of_json_schema_alone(self) -> None:
        class Exclusive(Model):
            value: Annotated[int, Field(gt=0)]

        with pytest.raises(SchemaError, match=r"value.*exclusiveMinimum"):
            structural(Exclusive)


class Tree(Model):
    branches: "list[Tree]"
