"""Tiny container images of one static program each, written without any image tool."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PAUSE = "localhost/pause:test"
HELPER = "localhost/busybox:test"
# What the tests' own pods call; a static busybox acts as the program by whose name it is called.
_APPLETS = (
    "sh",
    "cat",
    "chmod",
    "id",
    "ls",
    "mkdir",
    "nc",
    "nslookup",
    "rm",
    "sleep",
    "touch",
    "wget",
)


def write_pause(path: Path) -> None:
    """The image that keeps a pod's namespaces open."""
    programs = {"catatonit": Path("/usr/bin/catatonit")}
    write_image(path, PAUSE, programs, command=["/catatonit", "-P"])


def write_helper(path: Path) -> None:
    """A shell with the usual commands, for the volumes' provisioner and for small test pods."""
    links = [(f"bin/{applet}", "busybox") for applet in _APPLETS]
    programs = {"bin/busybox": Path("/bin/busybox")}
    write_image(path, HELPER, programs, links, command=["/bin/sh"])


def write_image(
    path: Path,
    name: str,
    programs: Mapping[str, Path],
    links: Sequence[tuple[str, str]] = (),
    *,
    command: Sequence[str],
) -> None:
    """Write a docker-archive: a layer, its configuration, and a manifest that names both."""
    layer = _layer(programs, links)
    configuration = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": [*command], "Env": ["PATH=/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        }
    ).encode()
    configuration_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": configuration_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for member, content in (
            ("layer.tar", layer),
            (configuration_name, configuration),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            _add(archive, member, content)


def _layer(programs: Mapping[str, Path], links: Sequence[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            layer.addfile(entry)
        for member, source in programs.items():
            _add(layer, member, source.read_bytes(), mode=0o755)
        for member, target in links:
            entry = tarfile.TarInfo(member)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            layer.addfile(entry)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
