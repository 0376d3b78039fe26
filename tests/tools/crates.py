"""Programs that only crates.io brings: built once a machine, with the machine's own cargo.

Only the benchmarks want one, so no other target needs a Rust compiler. The version is pinned here,
and everything that it is built from by the `Cargo.lock` that the crate was published with. Default
features are left out: they are a text interface, a WebDAV server and metrics, and cost minutes.
"""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.tools import ToolError, cache_folder, locked

_RUSTIC = "0.11.4"


@cache
def rustic() -> Path:
    """The path of rustic, which is built first where that has not been done (a quarter of an hour).

    Raises:
        ToolError: there is no cargo, or the build failed; the message says how it ended.
    """
    folder = cache_folder() / "tools" / f"rustic-{_RUSTIC}"
    if not folder.exists():
        with locked(folder.parent / ".rustic.lock"):
            if not folder.exists():
                _install("rustic-rs", _RUSTIC, folder)
    return folder / "bin" / "rustic"


def _install(crate: str, version: str, folder: Path) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise ToolError(f"there is no `cargo`: install Rust, {crate} is built from its source")
    print(f"building {crate} {version} (once; takes long)", file=sys.stderr, flush=True)
    # Renamed when whole, like the Go programs.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{crate}-") as scratch:
        result = Path(scratch) / "result"
        command = [cargo, "install", "--locked", "--no-default-features", "--no-track"]
        command += ["--root", str(result), "--target-dir", str(Path(scratch) / "target")]
        command += [f"{crate}@{version}"]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ToolError(f"could not build {crate} {version}:\n{done.stdout[-4000:]}")
        result.rename(folder)
