"""No object that an honest backup stores is larger than the broker signs for."""

from weddingbackup.resources.broker import LARGEST_OBJECT
from weddingbackup.vault import index
from weddingbackup.vault.index import MAX_RECORDS, PLAIN_START
from weddingbackup.vault.pack import CAPACITY, RECORD
from weddingbackup.vault.seal import HEADER_SIZE, TAG_SIZE


def test_a_full_pack_and_the_largest_index_fit() -> None:
    assert CAPACITY <= LARGEST_OBJECT
    # An index ends with the pack that brings it to its most records: the worst is a last pack of nothing
    # but chunks of one byte, after one pack for each record.
    last = (CAPACITY - HEADER_SIZE) // (1 + TAG_SIZE + RECORD.size)
    packs, records = MAX_RECORDS, MAX_RECORDS + last
    per_pack = index._PACK.size + index._SECRETS.size
    largest = PLAIN_START + packs * per_pack + records * index._CHUNK.size + TAG_SIZE
    assert largest <= LARGEST_OBJECT
