"""Image archives as containerd likes them: only what it does not hold yet.

An archive of `docker save` holds every layer each time, and containerd unpacks and hashes them all.
While the team works only the last layer changes, so we pass on just what is new, as an OCI archive.
Formats: github.com/opencontainers/image-spec (image-layout.md, manifest.md, annotations of containerd).
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Container
from pathlib import Path
from typing import IO, Any

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def write_new_blobs(archive: Path, held: Container[str], target: IO[bytes]) -> None:
    """Write a docker-archive's image as an OCI archive, without the blobs whose digests are held.

    Layers are named by the SHA-256 of their uncompressed bytes, which the image's configuration
    lists as `diff_ids`.
    """
    with tarfile.open(archive) as source, tarfile.open(fileobj=target, mode="w|") as result:
        (image,) = json.loads(_read(source, "manifest.json"))
        configuration = _read(source, image["Config"])
        digests = json.loads(configuration)["rootfs"]["diff_ids"]
        layers = []
        for digest, name in zip(digests, image["Layers"], strict=True):
            member = source.getmember(name)
            if member.issym():  # how `docker save` names a layer that stands in the archive twice
                member = source.getmember(str(Path(name).parent / member.linkname))
            layers.append({"mediaType": _LAYER, "digest": digest, "size": member.size})
            if digest not in held:
                _add(result, _blob_path(digest), member.size, source.extractfile(member))
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, configuration),
            "layers": layers,
        }
        encoded = json.dumps(manifest).encode()
        index = {
            "schemaVersion": 2,
            "manifests": [
                _descriptor(_MANIFEST, encoded)
                | {"annotations": {"io.containerd.image.name": full_name(tag)}}
                for tag in image["RepoTags"]
            ],
        }
        for path, content in {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            _blob_path(_digest(configuration)): configuration,
            _blob_path(_digest(encoded)): encoded,
            "index.json": json.dumps(index).encode(),
        }.items():
            _add(result, path, len(content), io.BytesIO(content))


def full_name(tag: str) -> str:
    """An image's name as containerd keeps it: short names are Docker Hub's."""
    first, _, rest = tag.partition("/")
    if rest and (first == "localhost" or "." in first or ":" in first):
        return tag
    return f"docker.io/{tag}" if rest else f"docker.io/library/{tag}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes] | None) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, content)
