"""Where the demo keeps what it needs between its commands, and the names it uses everywhere."""

import os
from pathlib import Path
from typing import Final

from tests.tools import cache_folder

CLUSTER: Final = os.environ.get("DEMO_NAME", "demo")
"""Another name is another demo beside it: a test's never takes a person's down."""
NAMESPACE: Final = "wedding-backup"
RELEASE: Final = "wedding-backup"
CLAIM: Final = "portfolio"
DATABASE: Final = "wedsync"
DATABASE_SECRET: Final = "wedsync-db"
TAKEN_AWAY: Final = "london"
DAMAGED: Final = "frankfurt"


def home() -> Path:
    """The demo's folder: the servers' data and logs. `make demo-down` removes it."""
    return cache_folder() / f"demo-{CLUSTER}"
