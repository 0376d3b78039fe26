"""Where a sparse file holds data: pairs of (offset, length) in bytes, ascending, apart."""

import errno
import os
from itertools import pairwise

Segments = tuple[tuple[int, int], ...]

# An entry carries its segments, so a file of a million tiny holes must not make a giant of it.
LIMIT = 4096

# One hole and nothing else; `()` says dense.
ALL_HOLE: Segments = ((0, 0),)


def find(fd: int, size: int) -> Segments:
    """Ask the file system for the data of the open file's first `size` bytes; `()` when dense.

    A file system that cannot tell says that all is data (or EINVAL), which is dense too.
    """
    found: list[tuple[int, int]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            return ()
        if start >= size:
            break
        found.append((start, end - start))
        position = end
        if len(found) == 2 * LIMIT:
            found = coarsen(found, LIMIT)
    if found == [(0, size)]:
        return ()
    return tuple(coarsen(found, LIMIT)) or (ALL_HOLE if size else ())


def coarsen(segments: list[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Fill the smallest holes until at most `limit` segments are left."""
    surplus = len(segments) - limit
    if surplus <= 0:
        return segments
    holes = [after[0] - sum(before) for before, after in pairwise(segments)]
    filled = set(sorted(range(len(holes)), key=holes.__getitem__)[:surplus])
    result = [segments[0]]
    for index, (offset, length) in enumerate(segments[1:]):
        if index in filled:
            start = result[-1][0]
            result[-1] = (start, offset + length - start)
        else:
            result.append((offset, length))
    return result


def clip(segments: Segments, length: int) -> Segments:
    """Keep the first `length` bytes of the segments' data."""
    kept: list[tuple[int, int]] = []
    for offset, size in segments:
        if length <= 0:
            break
        kept.append((offset, min(size, length)))
        length -= size
    return tuple(kept) or ALL_HOLE
