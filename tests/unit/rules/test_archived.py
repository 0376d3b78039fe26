"""What a recovery says that waits for archived data."""

from tests.unit.rules.facts import NOON
from weddingbackup.resources.common import DataClass
from weddingbackup.rules.archived import archived
from weddingbackup.rules.choice import RecoveryPoint
from weddingbackup.rules.points import Standing
from weddingbackup.rules.tiers import Away

POINT = RecoveryPoint("m", "ab" * 32, "job", NOON, {"p": DataClass.PORTFOLIO}, Standing.COMMITTED)
AWAY = Away("portfolio", 120, 3 * 2**30, 5 * 3600, ("london", "paris"), asked=False)


def test_what_is_archived_where_for_how_long_and_what_asks_for_it() -> None:
    problem = archived(POINT, [AWAY], ["planning", "portfolio"])
    assert problem.reason == "Archived"
    assert "portfolio (120 packs, 3.0 GiB)" in problem.message
    assert "about 5 h away at london, paris" in problem.message
    assert "weddingbackup vault tier --return abababababab" in problem.message
    assert "At hand now: planning;" in problem.message


def test_what_was_asked_back_is_not_asked_for_again() -> None:
    asked = Away("portfolio", 120, 3 * 2**30, 15 * 3600 - 1, ("dublin",), asked=True)
    problem = archived(POINT, [asked], ["portfolio"])
    assert "asked back, at hand at dublin within about 15 h" in problem.message
    assert "--return" not in problem.message
    assert "At hand now" not in problem.message
