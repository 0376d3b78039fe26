"""How hypothesis runs: the same examples each time, or with WEDDINGBACKUP_CAMPAIGN new ones, and no clock."""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no failure: neither an example nor its making has a deadline.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("tests"), derandomize=True)
settings.load_profile("tests" if os.environ.get("WEDDINGBACKUP_CAMPAIGN") else "repeatable")
