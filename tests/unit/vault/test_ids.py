"""A set of ids that takes little memory."""

from __future__ import annotations

import hashlib
import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from weddingbackup.vault.ids import Ids

# Of repeated bytes: so an id may appear across two others.
IDS = st.builds(
    lambda part, end: (part * 32)[:31] + end,
    st.binary(min_size=1, max_size=3),
    st.binary(min_size=1, max_size=1),
)


@given(st.lists(IDS), st.lists(IDS))
@example([b"\0" * 31 + b"\1", b"\0" * 32], [b"\0\0" + b"\1" + b"\0" * 29])
@example([b"\0" * 3 + b"\1" * 29, b"\0" * 32], [b"\0\0" + b"\1" * 29 + b"\0"])
def test_it_holds_what_was_added(added: list[bytes], others: list[bytes]) -> None:
    ids, model = Ids(), set[bytes]()
    for new in added:
        assert (new in ids) == (new in model)
        if new not in model:
            ids.add(new)
            model.add(new)
        assert new in ids
    for other in others:
        assert (other in ids) == (other in model)


def test_an_id_takes_little_more_than_its_bytes() -> None:
    count = 30_000
    tracemalloc.start()
    try:
        ids = Ids()
        empty, _ = tracemalloc.get_traced_memory()
        for number in range(count):  # in rows as long as those of many millions
            ids.add(bytes([0, number % 200]) + hashlib.sha256(b"%d" % number).digest()[2:])
        held = tracemalloc.get_traced_memory()[0] - empty
    finally:
        tracemalloc.stop()
    assert held <= 40 * count
