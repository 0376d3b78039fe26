"""What is larger than the format takes is refused, and the refusal says what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from weddingbackup.resources.common import DataClass
from weddingbackup.vault.errors import RefusedError
from weddingbackup.vault.pack import MAX_CHUNK
from weddingbackup.vault.results import SourceResult
from weddingbackup.vault.seal import Kind
from weddingbackup.vault.writer import Sink

if TYPE_CHECKING:
    from weddingbackup.vault.known import Known
    from weddingbackup.vault.sealing import Sealers


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Kind.TREE, "portfolio has a directory page"), (Kind.DATA, "portfolio has a piece of data")],
)
def test_what_is_too_large_is_called_by_its_name(kind: Kind, said: str) -> None:
    result = SourceResult("portfolio", DataClass.PORTFOLIO)
    nothing = {each: cast("Known", None) for each in (Kind.TREE, Kind.DATA)}
    sink = Sink("Portfolio", bytes(32), nothing, cast("Sealers", None), result)
    with pytest.raises(RefusedError, match=said):
        sink.store(kind, bytes(MAX_CHUNK + 1))
