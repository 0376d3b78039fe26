"""Where the demo keeps what it needs between its commands, and the names it uses everywhere."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tools import cache_folder

CLUSTER: Final = os.environ.get("DEMO_NAME", "demo")
"""Another name is another demo beside it: a test's never takes a person's down."""
HOME_NAMESPACE: Final = "wedding-backup-system"
"""The operator's and the broker's, with all credentials."""
RELEASE: Final = "wedding-backup"
CLAIM: Final = "portfolio"
DATABASE: Final = "wedsync"
DATABASE_SECRET: Final = "wedsync-db"
VENDOR_LABEL: Final = "wedsync.io/vendor-id"
TAKEN_AWAY: Final = "london"
DAMAGED: Final = "frankfurt"


@dataclass(frozen=True)
class Organisation:
    """A vendor: its namespace, its number in the platform's database, and the number of a wedding of its own."""

    namespace: str
    vendor: int
    wedding: int


PHOTOGRAPHER: Final = Organisation("bella-photography", vendor=1, wedding=15)
PLANNER: Final = Organisation("chateau-events", vendor=5, wedding=14)
ORGANISATIONS: Final = (PLANNER, PHOTOGRAPHER)


def home() -> Path:
    """The demo's folder: the servers' data and logs. `make demo-down` removes it."""
    return cache_folder() / f"demo-{CLUSTER}"
