"""What every store promises a vault, whoever the provider is and whoever signs.

A broker signs a worker's put only for bytes that have the SHA-256 in the name, and lists only a
vault's folders. So names here are made from the bytes, and what lies there already under a name that
is not its own is put by the location's `owner`: for all but a worker that is the store itself.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import CorruptError, ExistsError, MissingError, UnsupportedError
from weddingbackup.vault.names import pack_name
from weddingbackup.worker.brokered import BrokeredStore

pytestmark = pytest.mark.integration


def put(store: Store, name: str, data: bytes | memoryview) -> None:
    store.put(name, data, sha256=hashlib.sha256(data).digest())


def pack(data: bytes | memoryview) -> str:
    """The name that these bytes have as a pack."""
    return pack_name(hashlib.sha256(data).digest())


@pytest.mark.parametrize("size", [0, 1, 3 << 20 | 17])
def test_what_is_put_is_what_is_got(store: Store, size: int) -> None:
    data = os.urandom(size)
    put(store, pack(data), data)
    assert store.get(pack(data)) == data


def test_a_view_of_larger_memory_is_put_as_it_is(store: Store) -> None:
    memory = bytearray(os.urandom(300_000))
    view = memoryview(memory)[1000:-1000]
    put(store, pack(view), view)
    assert store.get(pack(view)) == memory[1000:-1000]


def test_any_part_of_an_object_can_be_read(store: Store) -> None:
    data = os.urandom(100_000)
    name = pack(data)
    put(store, name, data)
    assert store.get(name, offset=0, length=1) == data[:1]
    assert store.get(name, offset=777, length=5000) == data[777:5777]
    assert store.get(name, offset=99_999, length=1) == data[-1:]
    assert store.get(name, offset=60_000) == data[60_000:]
    assert store.get(name, length=100_000) == data


@pytest.mark.parametrize(("offset", "length"), [(90, 11), (100, 1), (1000, 5), (0, 101)])
def test_a_part_beyond_the_end_is_an_error_and_never_fewer_bytes(
    store: Store, offset: int, length: int
) -> None:
    data = os.urandom(100)
    put(store, pack(data), data)
    with pytest.raises(CorruptError):
        store.get(pack(data), offset=offset, length=length)


FOUND = {
    "format": 0,
    "packs/aa11": 1,
    "packs/aa22": 2,
    "packs/bb33": 3,
    "index/x": 4,
    "snapshots/2026/12/05/y": 5,
}
"""Objects to be listed: name -> size."""


def listed(store: Store, prefix: str) -> dict[str, int]:
    found = list(store.list(prefix))
    assert all(info.modified is not None for info in found)
    return {info.name: info.size for info in found}


def test_a_list_names_what_begins_so_with_sizes(store: Store, owner: Store) -> None:
    for name, size in FOUND.items():
        put(owner, name, bytes(size))

    assert listed(store, "format") == {"format": 0}
    assert listed(store, "packs/") == {"packs/aa11": 1, "packs/aa22": 2, "packs/bb33": 3}
    assert listed(store, "packs/aa") == {"packs/aa11": 1, "packs/aa22": 2}
    assert listed(store, "snapshots/2026/") == {"snapshots/2026/12/05/y": 5}
    assert listed(store, "keys/") == {}


def test_a_list_may_begin_with_anything_but_a_workers(store: Store, owner: Store) -> None:
    for name, size in FOUND.items():
        put(owner, name, bytes(size))

    if isinstance(store, BrokeredStore):
        for prefix in ("", "pack", "nothing/"):
            with pytest.raises(UnsupportedError, match="no object of a vault is named"):
                listed(store, prefix)
    else:
        assert listed(store, "") == FOUND
        assert listed(store, "pack") == listed(store, "packs/")
        assert listed(store, "nothing/") == {}


def test_a_list_is_whole_beyond_one_page(store: Store, owner: Store) -> None:
    names = {f"index/{number:04}" for number in range(1005)}
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda name: put(owner, name, b"x"), names))
    assert {found.name for found in store.list("index/")} == names


def test_the_same_bytes_again_are_a_success(store: Store) -> None:
    name = pack(b"the same")
    put(store, name, b"the same")
    put(store, name, b"the same")
    assert store.get(name) == b"the same"


@pytest.mark.parametrize("other", [b"other", b"longer than the first", b""])
def test_other_bytes_under_a_taken_name_are_refused_and_change_nothing(
    store: Store, owner: Store, other: bytes
) -> None:
    name = pack(other)
    put(owner, name, b"first")
    for _ in range(2):
        with pytest.raises(ExistsError, match=name):
            put(store, name, other)
    assert store.get(name) == b"first"


def test_a_large_object_under_a_taken_name_is_refused_too(store: Store, owner: Store) -> None:
    """A server may say no and hang up before it has read the body."""
    other = os.urandom(24 << 20)
    put(owner, pack(other), b"first")
    with pytest.raises(ExistsError):
        put(store, pack(other), other)
    assert store.get(pack(other)) == b"first"


def test_what_a_worker_means_to_put_under_another_hash_is_not_even_signed(
    store: Store, owner: Store
) -> None:
    name = pack(b"first")
    put(store, name, b"first")
    refusal = UnsupportedError if isinstance(store, BrokeredStore) else ExistsError
    with pytest.raises(refusal, match=name):
        put(store, name, b"other")
    assert store.get(name) == owner.get(name) == b"first"


def test_of_sixteen_writers_at_once_exactly_one_wins(store: Store, owner: Store) -> None:
    bodies = [bytes([number]) * 200_000 for number in range(16)]
    name = pack(bodies[7])

    def won(body: bytes) -> bool:
        try:
            put(store if pack(body) == name else owner, name, body)
        except ExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as writers:
        winners = [
            body for body, first in zip(bodies, writers.map(won, bodies), strict=True) if first
        ]
    assert winners == [store.get(name)]


def test_sixteen_writers_of_the_same_bytes_all_succeed(store: Store) -> None:
    body = os.urandom(200_000)
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda _: put(store, pack(body), body), range(16)))
    assert store.get(pack(body)) == body


@pytest.mark.parametrize("length", [None, 5])
def test_what_is_missing_is_said_to_be(store: Store, length: int | None) -> None:
    none = pack(b"none")
    with pytest.raises(MissingError, match=none):
        store.get(none, length=length)


@pytest.mark.parametrize(
    "name", ["", "/x", "x/", "a//b", "../x", "a/../b", "a/./b", "A", "ä", "a b"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="no name for an object"):
        put(store, name, b"x")
    with pytest.raises(ValueError, match="no name for an object"):
        store.get(name)
