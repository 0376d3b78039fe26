"""Warnings by the hundred thousand, told in a few lines: counted by kind, with some examples."""

from threading import Lock

from weddingbackup.vault.entries import shown

_EXAMPLES = 3


class Tally:
    """Counts what went less than perfectly. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, path: bytes) -> None:
        """Count `kind`, a sentence without its full stop, for the thing at `path`."""
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            examples = self._examples.setdefault(kind, [])
            if len(examples) < _EXAMPLES:
                examples.append(shown(path))

    def lines(self) -> list[str]:
        """Give one line a kind, in the order in which the kinds came up."""
        with self._lock:
            return [
                f"{kind}: {count:,} ({'for example ' if count > _EXAMPLES else ''}"
                f"{', '.join(self._examples[kind])})"
                for kind, count in self._counts.items()
            ]
