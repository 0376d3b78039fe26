"""What the broker remembers is fresh, and never more than there is room for."""

import pytest

from weddingbackup.broker import remembered
from weddingbackup.broker.authority import REMEMBERED_SECONDS, KubernetesAuthority
from weddingbackup.broker.remembered import Remembered
from weddingbackup.broker.scope import RefusedError


def test_an_answer_holds_for_so_long() -> None:
    now = 100.0
    answers = Remembered[str, int](5, lambda: now)
    assert answers.get("a") is None
    answers.put("a", 1)
    now = 104.9
    assert answers.get("a") == 1
    now = 105.0
    assert answers.get("a") is None


def test_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", 2)
    answers = Remembered[str, int](5, lambda: 0)
    for key in "abac":
        answers.put(key, 1)
    assert [key for key in "abc" if answers.get(key)] == ["a", "c"]


class Strangers:
    """An API server that knows no token, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0

    async def create(self, *_: object) -> object:
        self.asked += 1
        return {"status": {"authenticated": False}}


async def test_a_bogus_token_is_reviewed_once_in_a_while() -> None:
    now, strangers = 0.0, Strangers()
    authority = KubernetesAuthority(strangers, "home", clock=lambda: now)  # type: ignore[arg-type]

    async def refused(token: str) -> None:
        with pytest.raises(RefusedError, match="not valid"):
            await authority.scope(token)

    for _ in range(3):
        await refused("bogus")
    assert strangers.asked == 1
    await refused("another")
    assert strangers.asked == 2
    now = REMEMBERED_SECONDS
    await refused("bogus")
    assert strangers.asked == 3
