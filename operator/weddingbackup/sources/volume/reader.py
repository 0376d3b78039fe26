"""One regular file of a volume, open for reading; it knows if the file held still."""

import os
import time
from collections.abc import Callable

import msgspec

from weddingbackup.sources.volume import attributes, segments
from weddingbackup.vault.entries import Entry, SourceChangedError

# A kernel stamps changes with a clock that moves 100 to 1000 times a second: a second change within
# one tick does not show. Reading starts once the last change is older than that.
_TICK_NS = 20_000_000

# Some file systems keep whole or even seconds only. A file that changed this recently is recorded
# as "never take this for unchanged".
RECENT_NS = 2_000_000_000

_READ_AHEAD_FROM = 1024 * 1024


class FileReader:
    """Reads a file's data, its holes left out, up to the size that it had when opened.

    Args:
        fd: the open file, the reader's from now on.
        name: its name in its directory.
        device: gives the vault's number of a `st_dev`.
        clock: nanoseconds since the epoch.
        sleep: seconds.
    """

    def __init__(
        self,
        fd: int,
        name: bytes,
        *,
        device: Callable[[int], int],
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fd = fd
        self._status = status = os.fstat(fd)
        if 0 <= (age := clock() - status.st_ctime_ns) < _TICK_NS:
            sleep((_TICK_NS - age) / 1e9)
            self._status = status = os.fstat(fd)
        self._recent = status.st_ctime_ns > clock() - RECENT_NS
        sparse = status.st_blocks * 512 < status.st_size
        holes = segments.find(fd, status.st_size) if sparse else ()
        self._entry = msgspec.structs.replace(
            attributes.entry(name, status, device=device(status.st_dev)),
            xattrs=attributes.xattrs_of(fd),
            segments=holes,
        )
        self._segments = list(holes or ((0, status.st_size),))
        self._segment = 0
        self._within = 0
        self._delivered = 0
        if status.st_size >= _READ_AHEAD_FROM:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer as far as one read goes; 0 at the end."""
        while self._segment < len(self._segments):
            offset, length = self._segments[self._segment]
            if left := min(length - self._within, len(buffer)):
                count = os.preadv(self._fd, [buffer[:left]], offset + self._within)
                if not count:  # cut shorter meanwhile
                    self._segment = len(self._segments)
                self._within += count
                self._delivered += count
                return count
            self._segment += 1
            self._within = 0
        return 0

    def finish(self) -> Entry:
        """Give the entry of what was read.

        Raises:
            SourceChangedError: the file changed meanwhile; its entry fits the bytes delivered.
        """
        before, after = self._status, os.fstat(self._fd)
        entry = self._entry
        if self._delivered < entry.stored_size:
            if entry.segments:
                kept = segments.clip(entry.segments, self._delivered)
                entry = msgspec.structs.replace(entry, segments=kept)
            else:
                entry = msgspec.structs.replace(entry, size=self._delivered)
        elif same(before, after):
            return msgspec.structs.replace(entry, ctime_ns=0) if self._recent else entry
        raise SourceChangedError(msgspec.structs.replace(entry, ctime_ns=0))

    def close(self) -> None:
        """Release the file; safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def same(before: os.stat_result, after: os.stat_result) -> bool:
    """Say whether a file's data and metadata held still between the two looks at it."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
