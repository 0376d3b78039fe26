"""`python -m tests.benchmarks.lookup N…`: what N full indexes take in memory, and how fast they answer.

For vaults that are too large to be made here: an index speaks of 50,000 chunks, about 50 GiB. Prints
JSON lines: bytes a chunk, microseconds of CPU a chunk for the table that is made as it is needed, and
those to find a chunk, and to learn that there is none.
"""

import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

from weddingbackup.resources.words import DataClass
from weddingbackup.vault.finder import Finder
from weddingbackup.vault.index import MAX_RECORDS, Index, encode_index, open_index
from weddingbackup.vault.keyring import SALT_SIZE
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.pack import RECORD, PackFacts
from weddingbackup.vault.seal import Kind

_CHUNKS_A_PACK = 20
_CALLS = 20_000
_ALL_PARTS = [number.to_bytes(2, "big") + bytes(30) for number in range(1 << 16)]


def full_index(random_: random.Random) -> tuple[Index, bytes]:
    """Give an index, as it is after it was read, and the id of one of its chunks."""
    keyring = Kit.found().keyring()
    packs = []
    for _ in range(MAX_RECORDS // _CHUNKS_A_PACK):
        ids = [random_.randbytes(32) for _ in range(_CHUNKS_A_PACK)]
        header, _ = keyring.new_seal(Kind.DATA, DataClass.PORTFOLIO, random_.randbytes(SALT_SIZE))
        records = b"".join(RECORD.pack(one, 100, 1000, 1000, 0) for one in ids)
        packs.append(PackFacts(header, random_.randbytes(32), 20 << 20, records))
    salt = random_.randbytes(SALT_SIZE)
    name, data = encode_index(keyring, Kind.DATA, DataClass.PORTFOLIO, packs, salt)
    return open_index(keyring, name, data), ids[0]


def microseconds(find: Callable[[bytes], object], ids: Sequence[bytes]) -> float:
    """Say how much CPU one call takes."""
    start = time.process_time()
    for one in ids:
        find(one)
    return round((time.process_time() - start) / len(ids) * 1e6, 1)


def main(arguments: Sequence[str]) -> int:
    """Measure so many indexes."""
    random_ = random.Random(1)
    for count in map(int, arguments):
        tracemalloc.start()
        made = [full_index(random_) for _ in range(count)]
        held, _ = tracemalloc.get_traced_memory()
        find = Finder([index for index, _ in made]).find
        for one in _ALL_PARTS:
            find(one)
        table = tracemalloc.get_traced_memory()[0] - held
        tracemalloc.stop()
        find = Finder([index for index, _ in made]).find
        spent = microseconds(find, _ALL_PARTS) - microseconds(find, _ALL_PARTS)
        there = [random_.choice(made)[1] for _ in range(_CALLS)]
        found = {
            "indexes": count,
            "chunks": count * MAX_RECORDS,
            "bytes_per_chunk": round(held / count / MAX_RECORDS, 1),
            "table_bytes_per_chunk": round(table / count / MAX_RECORDS, 1),
            "table_us_per_chunk": round(spent * len(_ALL_PARTS) / count / MAX_RECORDS, 2),
            "find_us": microseconds(find, there),
            "miss_us": microseconds(find, [random_.randbytes(32) for _ in range(_CALLS)]),
        }
        print(json.dumps(found), flush=True)
        del made, find
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
