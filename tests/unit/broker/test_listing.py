"""Listings go out piece by piece, and say at their end whether they are whole."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from weddingbackup.broker import app
from weddingbackup.stores.api import ObjectInfo
from weddingbackup.stores.errors import TransientError


def objects(*numbers: int) -> list[ObjectInfo]:
    return [ObjectInfo(f"packs/{number}", number, None) for number in numbers]


async def said(pages: AsyncIterator[list[ObjectInfo]]) -> list[dict[str, Any]]:
    lines = b"".join([part async for part in app._lines(objects(1, 2), pages)])
    return [json.loads(line) for line in lines.splitlines()]


async def test_all_pages_and_an_end() -> None:
    async def pages() -> AsyncIterator[list[ObjectInfo]]:
        yield objects(3)

    lines = await said(pages())
    assert [line["size"] for line in lines[:-1]] == [1, 2, 3]
    assert lines[-1]["end"]
    assert "refusal" not in lines[-1]


async def test_a_listing_that_breaks_off_says_so_in_its_last_line() -> None:
    async def pages() -> AsyncIterator[list[ObjectInfo]]:
        yield objects(3)
        raise TransientError("it fell silent", location="london")

    lines = await said(pages())
    assert [line["size"] for line in lines[:-1]] == [1, 2, 3]
    assert lines[-1]["end"]
    assert lines[-1]["refusal"]["code"] == "Transient"


class Endless:
    """A keeping whose location holds more than is ever asked for at once."""

    def __init__(self, size: int) -> None:
        self.left = iter(objects(*range(size)))
        self.taken: list[int] = []

    async def run(self, _place: object, _vault: str, work: object, **_: object) -> object:
        result = work(self) if callable(work) else None
        if isinstance(result, list):
            self.taken.append(len(result))
        return result

    def list(self, _prefix: str) -> object:
        return self.left


@pytest.mark.parametrize(("size", "pages"), [(0, [0]), (1, [1]), (2500, [1000, 1000, 500])])
async def test_a_large_vault_is_never_held_at_once(size: int, pages: list[int]) -> None:
    keeping = Endless(size)
    scope = SimpleNamespace(namespace="vendor", vault=SimpleNamespace(prefix="v"))
    asked: Any = (keeping, None, scope, "packs/")
    found = [page async for page in app._pages(*asked)]
    assert sum(map(len, found)) == size
    assert keeping.taken == pages
