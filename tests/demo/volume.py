"""A claim's files, handled by small pods: filled from this machine, hashed, emptied.

The pods run the operator's own image, which has Python, under the same restricted Pod Security as the workers.
"""

from __future__ import annotations

import functools
import http.server
import json
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.demo.narrator import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster import Cluster

FILL = """
import tarfile, urllib.request
with urllib.request.urlopen(URL) as answer, tarfile.open(fileobj=answer, mode="r|") as archive:
    archive.extractall("/data")
"""
HASH = """
import hashlib, json, os
found = {}
for folder, _, names in os.walk("/data"):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            found[os.path.relpath(path, "/data")] = hashlib.file_digest(file, "sha256").hexdigest()
print(json.dumps(found))
"""
EMPTY = """
import os, shutil
for name in os.listdir("/data"):
    path = os.path.join("/data", name)
    shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
"""


class Volume:
    """One claim of the cluster, and what is in it."""

    def __init__(self, cluster: Cluster, namespace: str, claim: str, image: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._claim = claim
        self._image = image

    def create(self, size: str) -> None:
        """Ask for the claim; one that exists stays as it is."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": self._claim, "namespace": self._namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
            },
        }
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps(claim))

    def fill(self, folder: Path, scratch: Path) -> None:
        """Put the files of `folder` into the claim, by way of an archive in `scratch`."""
        archive = scratch / "photographs.tar"
        with tarfile.open(archive, "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, arcname=path.name)
        with _serve(scratch, self._cluster.host_address) as port:
            url = f"http://{self._cluster.host_address}:{port}/{archive.name}"
            self._run("fill", f"URL = {url!r}\n{FILL}")
        archive.unlink()

    def hashes(self) -> dict[str, str]:
        """Path → SHA-256 of every file in the claim."""
        found: dict[str, str] = json.loads(self._run("hash", HASH))
        return found

    def empty(self) -> None:
        """Delete everything in the claim."""
        self._run("empty", EMPTY)

    def _run(self, purpose: str, script: str) -> str:
        name = f"demo-{self._claim}-{purpose}"
        kubectl = self._cluster.kubectl
        kubectl("-n", self._namespace, "delete", "pod", name, "--ignore-not-found", "--wait=true")
        kubectl("apply", "-f", "-", input=json.dumps(self._pod(name, script)))
        kubectl(
            "-n", self._namespace, "wait", f"pod/{name}", "--timeout=120s",
            "--for=jsonpath={.status.containerStatuses[0].state.terminated}",
        )  # fmt: skip
        code = kubectl(
            *("-n", self._namespace, "get", "pod", name, "-o"),
            "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}",
        )
        output = kubectl("-n", self._namespace, "logs", name)
        if code != "0":
            raise DemoError(f"pod {name} ended with {code}: {output[-2000:]}")
        kubectl("-n", self._namespace, "delete", "pod", name, "--wait=false")
        return output

    def _pod(self, name: str, script: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "script",
                        "image": self._image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", script],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }
                ],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": self._claim}}],
            },
        }


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each on standard error."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


@contextmanager
def _serve(folder: Path, address: str) -> Iterator[int]:
    """Serve `folder` over HTTP at `address`; yields the port."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
