"""What a directory promises beyond the shared suite: whole files, and a layout that a person can read."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from weddingbackup.stores import DirectoryStore
from weddingbackup.stores.errors import (
    DeniedError,
    MissingError,
    StoreError,
    TransientError,
)


def put(store: DirectoryStore, name: str, data: bytes) -> None:
    store.put(name, data, sha256=hashlib.sha256(data).digest())


def test_objects_are_files_of_their_names_and_packs_are_spread(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "new" / "store")
    for name in ("format", "packs/abcd", "packs/a", "index/abcd"):
        put(store, name, name.encode())
    files = {
        str(path.relative_to(tmp_path / "new" / "store")): path.read_text()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert files == {
        "format": "format",
        "packs/ab/abcd": "packs/abcd",
        "packs/a/a": "packs/a",
        "index/abcd": "index/abcd",
    }


def test_a_prefix_lies_below_the_path(tmp_path: Path) -> None:
    put(DirectoryStore(tmp_path, prefix="vault"), "format", b"x")
    assert (tmp_path / "vault" / "format").read_bytes() == b"x"


def test_a_crash_while_writing_leaves_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)

    def crash(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # nobody cleans up after a crash
    with pytest.raises(KeyboardInterrupt):
        put(store, "format", b"whole")
    monkeypatch.undo()
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".tmp-"]
    assert list(store.list("")) == []
    put(store, "format", b"whole")
    assert store.get("format") == b"whole"


def test_nothing_temporary_is_left_by_a_put(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    put(store, "format", b"x")
    put(store, "format", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["format"]


def test_what_is_deleted_is_gone(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    put(store, "packs/abcd", b"12345")
    assert store.head("packs/abcd").size == 5
    store.delete("packs/abcd")
    store.delete("packs/abcd")
    with pytest.raises(MissingError):
        store.head("packs/abcd")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (PermissionError(13, "not yours"), DeniedError),
        (OSError(28, "No space left on device"), TransientError),
        (NotADirectoryError(20, "a file"), StoreError),
    ],
)
def test_a_file_systems_errors_become_typed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: OSError, kind: type[StoreError]
) -> None:
    store = DirectoryStore(tmp_path, location="drawer")

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(kind, match="drawer") as caught:
        put(store, "format", b"x")
    assert caught.value.location == "drawer"
    assert list(tmp_path.iterdir()) == []


def test_other_files_in_the_directory_are_not_taken_for_objects(tmp_path: Path) -> None:
    (tmp_path / "Read me.txt").write_text("a person's note")
    (tmp_path / ".DS_Store").write_text("a program's")
    store = DirectoryStore(tmp_path)
    put(store, "format", b"x")
    assert [found.name for found in store.list("")] == ["format"]


@pytest.mark.parametrize(("number", "kind"), [(13, DeniedError), (5, TransientError)])
def test_a_directory_that_cannot_be_read_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    store = DirectoryStore(tmp_path, location="drawer")
    put(store, "packs/abcd", b"x")
    scan = os.scandir

    def fail(path: str) -> object:
        if os.fspath(path).endswith("/packs"):
            raise OSError(number, os.strerror(number), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    for prefix in ("", "packs/"):
        with pytest.raises(kind, match="drawer"):
            list(store.list(prefix))
    assert list(store.list("index/")) == []


def test_what_a_killed_writer_left_is_swept_once_it_is_a_day_old(tmp_path: Path) -> None:
    folder = tmp_path / "packs" / "ab"
    folder.mkdir(parents=True)
    old, fresh, note = folder / ".tmp-old", folder / ".tmp-fresh", folder / "note"
    for path in (old, fresh, note):
        path.write_bytes(b"half")
    for path in (old, note):
        os.utime(path, (time.time() - 90_000,) * 2)
    put(DirectoryStore(tmp_path), "packs/abcd", b"x")
    assert {path.name for path in folder.iterdir()} == {".tmp-fresh", "note", "abcd"}


@pytest.mark.parametrize("name", ["packs", "packs/ab"])
def test_a_file_where_a_directory_should_be_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("a person's")
    with pytest.raises(StoreError, match="a file is where a directory should be") as caught:
        put(DirectoryStore(tmp_path, location="drawer"), "packs/abcd", b"x")
    assert type(caught.value) is StoreError
    assert str(file) in str(caught.value)
