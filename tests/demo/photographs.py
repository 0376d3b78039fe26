"""Real photographs for the demo: Debian's wallpaper packages, unpacked without being installed."""

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.tools import cache_folder, locked

ENOUGH: Final = 100 * 2**20
"""Bytes of photographs that a folder holds at least."""

_PACKAGES: Final = (
    *("mate-backgrounds", "ukui-wallpapers", "gnome-backgrounds"),
    *("plasma-workspace-wallpapers", "lomiri-wallpapers"),
)
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class PhotographsError(RuntimeError):
    """No photographs could be had; the message says why."""


def photographs() -> Path:
    """Give a folder tree of at least `ENOUGH` bytes of JPEG and PNG, no two files the same.

    It is made once and kept in the user's cache folder: copy it before changing anything.
    """
    folder = cache_folder() / "photographs"
    with locked(folder.with_suffix(".lock")):
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="photographs-") as scratch:
            collection = Path(scratch) / "collection"
            _collect(collection, Path(scratch))
            # Made whole under another name: a folder that exists is complete.
            collection.rename(folder)
    return folder


def size(folder: Path) -> int:
    """Give the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _collect(collection: Path, scratch: Path) -> None:
    """Take package after package until there is enough."""
    seen: set[bytes] = set()
    for package in _PACKAGES:
        unpacked = _unpack(package, scratch / package)
        for path in sorted(unpacked.rglob("*")):
            if path.is_symlink() or not path.is_file() or not _is_picture(path):
                continue
            digest = sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                place = collection / package / path.relative_to(unpacked / "usr" / "share")
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
        shutil.rmtree(unpacked)
        if size(collection) >= ENOUGH:
            return
    raise PhotographsError(
        f"the packages {', '.join(_PACKAGES)} hold {size(collection)} bytes of pictures; "
        f"{ENOUGH} are needed: add a package"
    )


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(_PICTURES)


def _unpack(package: str, folder: Path) -> Path:
    folder.mkdir()
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    if _run(download, folder).returncode:
        become = [] if os.geteuid() == 0 else ["sudo", "-n"]
        _run([*become, "apt-get", "-q", "update"], folder)
        done = _run(download, folder)
        if done.returncode:
            raise PhotographsError(f"{' '.join(download)} failed:\n{done.stdout[-2000:]}")
    (archive,) = folder.glob("*.deb")
    unpacked = folder / "unpacked"
    done = _run(["dpkg-deb", "--extract", archive.name, unpacked.name], folder)
    if done.returncode:
        raise PhotographsError(f"{archive.name} cannot be unpacked:\n{done.stdout[-2000:]}")
    return unpacked


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
