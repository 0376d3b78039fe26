"""The operator's image from this checkout: `python -m tests.cluster.image [--load NAME…]`.

One Dockerfile, two builders: Docker, or, without it, buildah on a base that mmdebstrap makes of
Debian packages. All that the build needs is put into its context first, so nothing is fetched
within. The result is a docker-archive, `wedding-backup-operator:dev`.
"""

import argparse
import hashlib
import json
import platform
import shutil
import sys
from pathlib import Path

import pip

from tests.cluster import kind, running
from tests.cluster.packages import ensure_packages
from tests.cluster.privileges import done_by_root
from tests.cluster.processes import ClusterError, run
from tests.tools import cache_folder, locked

NAME = "wedding-backup-operator:dev"

_PROJECT = Path(__file__).parents[2]
_LOCK_FILE = _PROJECT / "requirements" / "runtime.txt"
_PYTHON = "3.11"  # the base image's
_DEBIAN = "bookworm"
_DEBIAN_PACKAGES = ("ca-certificates", "python3")
_NOT_NEEDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def build() -> Path:
    """Build the image and give the path of its archive.

    Raises:
        ClusterError: a step failed; the message holds what it said.
    """
    folder = cache_folder() / "image"
    if not kind.available() and done_by_root("tests.cluster.image"):
        return folder / "image.tar"
    with locked(folder / ".lock"):
        context = folder / "context"
        arguments = {
            "DEPENDENCIES_HASH": _fetch_dependencies(context / "dependencies"),
            "PACKAGE_HASH": _build_package(context / "package"),
        }
        archive, mark = folder / "image.tar", folder / "image.made-of"
        made_of = json.dumps([arguments, (_PROJECT / "Dockerfile").read_text()])
        if archive.exists() and mark.exists() and mark.read_text() == made_of:
            return archive
        _copy_pip(context / "pip")
        whole = folder / "image.tar.new"
        whole.unlink(missing_ok=True)
        if kind.available():
            _build_with_docker(context, arguments, whole)
        else:
            _build_with_buildah(folder, context, arguments, whole)
        whole.rename(archive)  # whoever loads the older one keeps reading it
        mark.write_text(made_of)
        return archive


def _fetch_dependencies(folder: Path) -> str:
    """Download the wheels of the lock file, each checked against its hash; once a lock file."""
    architecture = platform.machine()
    digest = hashlib.sha256(_LOCK_FILE.read_bytes() + architecture.encode()).hexdigest()
    mark = folder / ".lock-file"
    if mark.exists() and mark.read_text() == digest:
        return digest
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [
        f"manylinux{glibc}_{architecture}" for glibc in ("_2_28", "_2_27", "_2_17", "2014")
    ]
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", _LOCK_FILE),
        *("--implementation=cp", f"--python-version={_PYTHON}", "--dest", folder),
        *(f"--platform={name}" for name in platforms),
    )
    mark.write_text(digest)
    return digest


def _build_package(folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=_PROJECT)
    (wheel,) = folder.glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _copy_pip(folder: Path) -> None:
    """This environment's pip: it runs from wherever it lies."""
    if not folder.exists():
        source = Path(pip.__file__).parent
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))


def _build_with_docker(context: Path, arguments: dict[str, str], archive: Path) -> None:
    run(
        *("docker", "build", "--quiet", "--tag", NAME, "--file", _PROJECT / "Dockerfile"),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        context,
    )
    run("docker", "save", "--output", archive, NAME)


def _build_with_buildah(
    folder: Path, context: Path, arguments: dict[str, str], archive: Path
) -> None:
    ensure_packages()
    # A store of our own: the machine's is left alone, and goes with the cache.
    store = ("--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "overlay")
    buildah = ("buildah", *store)
    base = _debian_base(buildah, folder)
    run(
        *(*buildah, "build", "--quiet", "--layers", "--isolation", "chroot"),
        *("--tag", NAME, "--file", _PROJECT / "Dockerfile", f"--build-arg=BASE_IMAGE={base}"),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        context,
    )
    run(*buildah, "push", "--quiet", NAME, f"docker-archive:{archive}:{NAME}")
    run(*buildah, "rmi", "--prune")  # the image that this one replaces


def _debian_base(buildah: tuple[str | Path, ...], folder: Path) -> str:
    """A minimal Debian with Python, made once for each list of packages; gives its name."""
    recipe = repr((_DEBIAN, _DEBIAN_PACKAGES, _NOT_NEEDED))
    name = f"localhost/debian-python:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if run(*buildah, "images", "--quiet", "--filter", f"reference={name}").strip():
        return name
    tree = folder / "debian.tar"
    run(
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_DEBIAN_PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_NEEDED),
        *(_DEBIAN, tree),
    )
    container = run(*buildah, "from", "scratch").strip()
    run(*buildah, "add", "--quiet", container, tree, "/")
    run(*buildah, "commit", "--quiet", "--rm", container, name)
    tree.unlink()
    return name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.image", description=__doc__)
    parser.add_argument("--load", action="append", default=[], metavar="NAME", help="a cluster")
    options = parser.parse_args(arguments)
    try:
        archive = build()
        print(archive)
        for name in options.load:
            _load(archive, name)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _load(archive: Path, name: str) -> None:
    cluster = running(name)
    if cluster is None:
        raise ClusterError(f"the cluster {name} does not run: `python -m tests.cluster up`")
    cluster.load_image(archive)


if __name__ == "__main__":
    sys.exit(main())
