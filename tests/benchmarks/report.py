"""What all benchmarks say and write in one way: lines to watch, files of figures, this machine."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"


def say(line: str) -> None:
    """Tell who watches."""
    print(line, flush=True)


def out(name: str, *, short: bool) -> Path:
    """Where figures of this name belong; those of a short run are not kept in git."""
    return OUT / f"{name}{'-short' if short else ''}.json"


def write(file: Path, found: dict[str, Any]) -> None:
    """Write figures, and print those that have a name of their own: keys with an underscore."""
    OUT.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    say("".join(f"{key:28} {value}\n" for key, value in found.items() if "_" in key) + str(file))


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def now() -> str:
    """The time, RFC 3339."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
