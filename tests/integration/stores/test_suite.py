"""What every store promises a vault, whoever the provider is."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import CorruptError, ExistsError, MissingError

pytestmark = pytest.mark.integration


def put(store: Store, name: str, data: bytes | memoryview) -> None:
    store.put(name, data, sha256=hashlib.sha256(data).digest())


@pytest.mark.parametrize("size", [0, 1, 3 << 20 | 17])
def test_what_is_put_is_what_is_got(store: Store, size: int) -> None:
    data = os.urandom(size)
    put(store, "packs/one", data)
    assert store.get("packs/one") == data


def test_a_view_of_larger_memory_is_put_as_it_is(store: Store) -> None:
    memory = bytearray(os.urandom(300_000))
    put(store, "packs/view", memoryview(memory)[1000:-1000])
    assert store.get("packs/view") == memory[1000:-1000]


def test_any_part_of_an_object_can_be_read(store: Store) -> None:
    data = os.urandom(100_000)
    put(store, "packs/one", data)
    assert store.get("packs/one", offset=0, length=1) == data[:1]
    assert store.get("packs/one", offset=777, length=5000) == data[777:5777]
    assert store.get("packs/one", offset=99_999, length=1) == data[-1:]
    assert store.get("packs/one", offset=60_000) == data[60_000:]
    assert store.get("packs/one", length=100_000) == data


@pytest.mark.parametrize(("offset", "length"), [(90, 11), (100, 1), (1000, 5), (0, 101)])
def test_a_part_beyond_the_end_is_an_error_and_never_fewer_bytes(
    store: Store, offset: int, length: int
) -> None:
    put(store, "packs/one", os.urandom(100))
    with pytest.raises(CorruptError):
        store.get("packs/one", offset=offset, length=length)


def test_a_list_names_what_begins_so_with_sizes(store: Store) -> None:
    names = [
        "format",
        "packs/aa11",
        "packs/aa22",
        "packs/bb33",
        "index/x",
        "snapshots/2026/12/05/y",
    ]
    for size, name in enumerate(names):
        put(store, name, bytes(size))

    def listed(prefix: str) -> dict[str, int]:
        return {found.name: found.size for found in store.list(prefix)}

    assert listed("") == {name: size for size, name in enumerate(names)}
    assert listed("packs/") == {"packs/aa11": 1, "packs/aa22": 2, "packs/bb33": 3}
    assert listed("packs/aa") == {"packs/aa11": 1, "packs/aa22": 2}
    assert listed("snapshots/2026/") == {"snapshots/2026/12/05/y": 5}
    assert listed("pack") == listed("packs/")
    assert listed("nothing/") == {}
    assert all(found.modified is not None for found in store.list(""))


def test_a_list_is_whole_beyond_one_page(store: Store) -> None:
    names = {f"index/{number:04}" for number in range(1005)}
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda name: put(store, name, b"x"), names))
    assert {found.name for found in store.list("index/")} == names


def test_the_same_bytes_again_are_a_success(store: Store) -> None:
    put(store, "packs/one", b"the same")
    put(store, "packs/one", b"the same")
    assert store.get("packs/one") == b"the same"


def test_other_bytes_under_a_taken_name_are_refused_and_change_nothing(store: Store) -> None:
    put(store, "packs/one", b"first")
    for other in (b"other", b"longer than the first", b""):
        with pytest.raises(ExistsError, match="packs/one"):
            put(store, "packs/one", other)
    assert store.get("packs/one") == b"first"


def test_a_large_object_under_a_taken_name_is_refused_too(store: Store) -> None:
    """A server may say no and hang up before it has read the body."""
    put(store, "packs/one", b"first")
    with pytest.raises(ExistsError):
        put(store, "packs/one", os.urandom(24 << 20))
    assert store.get("packs/one") == b"first"


def test_of_sixteen_writers_at_once_exactly_one_wins(store: Store) -> None:
    bodies = [bytes([number]) * 200_000 for number in range(16)]

    def won(body: bytes) -> bool:
        try:
            put(store, "snapshots/one", body)
        except ExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as writers:
        winners = [
            body for body, first in zip(bodies, writers.map(won, bodies), strict=True) if first
        ]
    assert winners == [store.get("snapshots/one")]


def test_sixteen_writers_of_the_same_bytes_all_succeed(store: Store) -> None:
    body = os.urandom(200_000)
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda _: put(store, "packs/one", body), range(16)))
    assert store.get("packs/one") == body


@pytest.mark.parametrize("length", [None, 5])
def test_what_is_missing_is_said_to_be(store: Store, length: int | None) -> None:
    with pytest.raises(MissingError, match="packs/none"):
        store.get("packs/none", length=length)


@pytest.mark.parametrize(
    "name", ["", "/x", "x/", "a//b", "../x", "a/../b", "a/./b", "A", "ä", "a b"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="no name for an object"):
        put(store, name, b"x")
    with pytest.raises(ValueError, match="no name for an object"):
        store.get(name)
