"""Counters that a job's threads add to and its reporter reads."""

from __future__ import annotations

import threading
from collections import Counter


class Progress:
    """How far a backup or a restore is; all methods may be called from any thread."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._lock = threading.Lock()
        self._locations: Counter[str] = Counter()
        self.bytes_total: int | None = None
        self.bytes_done = 0
        self.files = 0

    def add(self, *, files: int = 0, size: int = 0) -> None:
        """Count files and bytes of the protected data."""
        with self._lock:
            self.files += files
            self.bytes_done += size

    def moved(self, location: str, size: int) -> None:
        """Count sealed bytes sent to, or read from, a location."""
        with self._lock:
            self._locations[location] += size

    @property
    def locations(self) -> dict[str, int]:
        """Sealed bytes a location, so far."""
        with self._lock:
            return dict(self._locations)
