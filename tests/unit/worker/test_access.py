from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess, VaultRef
from weddingbackup.stores import DirectoryStore
from weddingbackup.stores.api import ObjectInfo, Store
from weddingbackup.stores.errors import DeniedError, StoreError, TransientError
from weddingbackup.worker import access
from weddingbackup.worker.environment import Environment


class Away(DirectoryStore):
    """A location that does not answer, and counts how often it was asked."""

    asked = 0

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.asked += 1
        raise TransientError(f"no answer about {prefix}", location=self.location)


def test_a_location_that_does_not_answer_is_asked_once_and_then_fails_at_once(
    tmp_path: Path,
) -> None:
    away = Away(tmp_path / "away", location="away")
    good = DirectoryStore(tmp_path / "good", location="good")
    openers: dict[str, Callable[[], Store]] = {"away": lambda: away, "good": lambda: good}
    first, second = access.open_all(openers)
    assert (first.location, second.location) == ("away", "good")
    for ask in (
        lambda: first.get("format"),
        lambda: first.put("format", b"", sha256=b""),
        lambda: next(first.list("")),
    ):
        with pytest.raises(TransientError, match="no answer"):
            ask()
    assert away.asked == 1
    assert list(second.list("")) == []


def test_a_location_that_cannot_be_opened_keeps_its_place() -> None:
    def denied() -> Store:
        raise DeniedError("no such key", location="london")

    [store] = access.open_all({"london": denied})
    with pytest.raises(DeniedError, match="no such key"):
        store.get("format")


def test_missing_credentials_name_the_secret_to_look_at(tmp_path: Path) -> None:
    location = LocationAccess(name="london", provider=Provider.S3, bucket="b", region="r")
    vault = VaultRef(id="0" * 32, prefix="p")
    with pytest.raises(StoreError, match=r"location london: .* credentialsSecretRef"):
        access.keeper(Environment(task="", root=tmp_path), location, vault)
