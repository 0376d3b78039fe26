import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.cluster.archives import full_name, write_new_blobs
from tests.cluster.images import PAUSE, write_image


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_bytes(b"a program")
    write_image(tmp_path / "image.tar", PAUSE, {"program": program}, command=["/program"])
    return tmp_path / "image.tar"


def members(archive: Path, held: set[str]) -> dict[str, bytes]:
    target = io.BytesIO()
    write_new_blobs(archive, held, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as result:
        files = {entry.name: result.extractfile(entry) for entry in result}
        return {name: file.read() for name, file in files.items() if file}


def blob(files: dict[str, bytes], descriptor: dict[str, str]) -> bytes:
    return files["blobs/" + descriptor["digest"].replace(":", "/")]


def test_an_archive_becomes_an_image_layout(archive: Path) -> None:
    files = members(archive, held=set())
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": PAUSE}
    manifest = json.loads(blob(files, entry))
    configuration = json.loads(blob(files, manifest["config"]))
    (layer,) = manifest["layers"]
    assert configuration["rootfs"]["diff_ids"] == [layer["digest"]]
    with tarfile.open(fileobj=io.BytesIO(blob(files, layer))) as content:
        program = content.extractfile("program")
        assert program is not None
        assert program.read() == b"a program"
    assert layer["size"] == len(blob(files, layer))


def test_layers_that_a_node_holds_are_left_out(archive: Path) -> None:
    everything = members(archive, held=set())
    (entry,) = json.loads(everything["index.json"])["manifests"]
    (layer,) = json.loads(blob(everything, entry))["layers"]
    rest = members(archive, held={layer["digest"]})
    assert set(everything) - set(rest) == {"blobs/" + layer["digest"].replace(":", "/")}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("busybox:1", "docker.io/library/busybox:1"),
        ("library/busybox:1", "docker.io/library/busybox:1"),
        ("localhost/pause:test", "localhost/pause:test"),
        ("registry.example:5000/a/b:1", "registry.example:5000/a/b:1"),
    ],
)
def test_short_names_are_docker_hubs(short: str, full: str) -> None:
    assert full_name(short) == full
