"""Cuts a large file by its content (FastCDC), so that an insertion moves no other cut.

The seed is the vault's own: where the cuts fall says nothing to who has no keys. Sizes and seed
decide what deduplicates; the cut points of the pinned library are test vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyfastcdc import FastCDC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KIB = 1024
MIN_SIZE = 256 * KIB
AVERAGE_SIZE = 1024 * KIB
MAX_SIZE = 4096 * KIB
_WINDOW = 2 * MAX_SIZE
_KEPT = 4
"""Windows that are used again: as many as a reader fills while the chunks of others are sealed."""


class Chunker:
    """Cuts streams; used by one thread."""

    def __init__(self, seed: int) -> None:
        """Take the vault's seed, 63 bits."""
        self._cdc = FastCDC(avg_size=AVERAGE_SIZE, min_size=MIN_SIZE, max_size=MAX_SIZE, seed=seed)
        self._windows: list[bytearray] = []

    def cut(self, readinto: Callable[[memoryview], int], expected: int) -> Iterator[memoryview]:
        """Cut a stream into chunks; each stays valid as long as it is held.

        Args:
            readinto: fills the buffer from its start, gives the bytes read, 0 at the end.
            expected: bytes that will probably come; it only decides the size of the buffer.
        """
        rest: bytes | memoryview = b""
        ended = False
        while not ended:
            window = memoryview(self._window())[: len(rest) + max(expected, 0) + 1]
            window[: len(rest)] = rest
            filled = len(rest)
            while filled < len(window) and (count := readinto(window[filled:])):
                filled += count
                expected -= count
            ended = filled < len(window)
            if not ended and len(window) < _WINDOW:
                expected, rest = _WINDOW, window  # it grew: go on with a full window
                continue
            rest = window[:filled]
            for size in [chunk.length for chunk in self._cdc.cut_buf(rest)]:
                if size == len(rest) and not ended:
                    break  # the window's end cut it, not the content
                yield rest[:size]
                rest = rest[size:]

    def _window(self) -> bytearray:
        """Give memory that no chunk lies in any more: fresh pages cost as much as reading."""
        for window in self._windows:
            if _is_free(window):
                return window
        window = bytearray(_WINDOW)
        if len(self._windows) < _KEPT:
            self._windows.append(window)
        return window


def _is_free(window: bytearray) -> bool:
    """Tell by what Python promises: a bytearray that a memoryview looks into keeps its size."""
    try:
        window.pop()
    except BufferError:
        return False
    window.append(0)
    return True
