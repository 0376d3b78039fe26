"""The order of an erasure; that it erases everything is shown before real stores."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from weddingbackup.stores import DirectoryStore
from weddingbackup.vault.objects import digest
from weddingbackup.worker import erase

if TYPE_CHECKING:
    from weddingbackup.stores.api import Keeper


class Recorder(DirectoryStore):
    """A directory that notes what is deleted from it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.deleted: list[str] = []

    def delete(self, name: str) -> None:
        super().delete(name)
        self.deleted.append(name)


def test_no_manifest_is_left_when_what_it_needs_goes(tmp_path: Path) -> None:
    keeper = Recorder(tmp_path)
    names = ["format", "keys/a", "packs/ab1", "packs/ab2", "index/c", "snapshots/2026/12/05/d"]
    for name in names:
        keeper.put(name, b"x", sha256=digest(b"x"))
    assert erase._erase(cast("Keeper", keeper)) == len(names)
    kinds = [name.partition("/")[0] for name in keeper.deleted]
    assert kinds[0] == "snapshots"
    assert kinds[1] == "index"
    assert kinds[2:4] == ["packs", "packs"]
    assert sorted(kinds[4:]) == ["format", "keys"]
