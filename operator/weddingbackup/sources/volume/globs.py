"""Which files a policy means: include and exclude patterns, as people know them from .gitignore.

`*` and `?` stay within one name, `**` spans any number of directories. A pattern without a slash
(or with one only at its end) means that name anywhere; a pattern with a slash is anchored at the
top. What lies below a directory that matches belongs to it. Exclude wins over include.
"""

import fnmatch
import os
import re
from collections.abc import Sequence

Pattern = list[re.Pattern[str] | None]  # one a name; None stands for `**`


def _compile(glob: str) -> Pattern:
    stripped = glob.strip("/")
    names = stripped.split("/") if stripped else []
    if "/" not in glob.rstrip("/"):
        names = ["**", *names]
    return [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]


def _advance(pattern: Pattern, states: set[int], name: str) -> set[int]:
    """Move through the pattern by one name of the path; a state is a position in the pattern."""
    moved = set()
    for state in _open(pattern, states):
        if state == len(pattern):
            moved.add(state)  # below a match
        elif (part := pattern[state]) is None:
            moved.add(state)
        elif part.match(name):
            moved.add(state + 1)
    return moved


def _open(pattern: Pattern, states: set[int]) -> set[int]:
    """Add the states that `**`, which may stand for nothing, lets in."""
    result = set(states)
    for state in sorted(states):
        position = state
        while position < len(pattern) and pattern[position] is None:
            position += 1
            result.add(position)
    return result


class Selection:
    """The files that the patterns select; without a pattern: all."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_compile(glob) for glob in include]
        self._exclude = [_compile(glob) for glob in exclude]
        self.everything = not (include or exclude)

    def takes(self, path: bytes, *, directory: bool) -> bool:
        """Say whether the path is selected; a directory also when it may hold what is."""
        names = os.fsdecode(path).split("/")
        if any(self._matched(pattern, names) for pattern in self._exclude):
            return False
        if not self._include:
            return True
        return any(
            self._matched(pattern, names) or (directory and bool(_follow(pattern, names)))
            for pattern in self._include
        )

    @staticmethod
    def _matched(pattern: Pattern, names: list[str]) -> bool:
        return len(pattern) in _open(pattern, _follow(pattern, names))


def _follow(pattern: Pattern, names: list[str]) -> set[int]:
    states = {0}
    for name in names:
        states = _advance(pattern, states, name)
    return states
