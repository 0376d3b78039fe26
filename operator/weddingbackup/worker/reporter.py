"""How a worker speaks back: a line of progress now and then, and one report at its end.

It has no right in Kubernetes: its progress goes to the broker and its log, its report into the
pod's termination message.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import structlog

from weddingbackup.resources import broker
from weddingbackup.resources.base import Model
from weddingbackup.resources.reports import LIMIT_BYTES, ProgressLine
from weddingbackup.vault.progress import Progress

_INTERVAL_SECONDS = 1.0
_TELL_SECONDS = 2.0
"""The broker writes no more often than this."""


class ProgressLines:
    """Says how far the work is, at most once a second, and only when something has changed.

    A context manager around the work. The last state is said at the end, whatever happened.
    """

    def __init__(
        self, line: Callable[[], ProgressLine], *, interval: float = _INTERVAL_SECONDS
    ) -> None:
        self._line = line
        self._interval = interval
        self._ended = Event()
        self._said: ProgressLine | None = None
        self._thread = Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._say()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self._say()

    def _say(self) -> None:
        line = self._line()
        if line != self._said:
            self._said = line
            structlog.get_logger().info(**line.dump())


@contextmanager
def telling(
    tell: Callable[[broker.Progress], None],
    progress: Progress,
    *,
    interval: float = _TELL_SECONDS,
) -> Iterator[None]:
    """Tell the broker how far the job is, in the background while the block runs.

    A failure to tell is nobody's business but the log's, and at the end nobody waits for it: the
    last state is told if the process lives long enough.
    """
    ended = Event()

    def run() -> None:
        told = broker.Progress()
        while True:
            last = ended.wait(interval)
            now = broker.Progress(
                bytes_done=progress.bytes_done,
                bytes_total=progress.bytes_total,
                files=progress.files,
                locations=progress.locations,
            )
            if now != told:
                try:
                    tell(now)
                    told = now
                except Exception as error:  # noqa: BLE001  whatever it is, the job goes on
                    structlog.get_logger().debug("not told", reason=type(error).__name__)
            if last:
                return

    Thread(target=run, name="tell", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def write_report(report: Model, path: Path) -> None:
    """Leave the report where the kubelet finds it.

    In one write and in place: the file is a mount of its own, which nothing can be renamed over.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, shorten(report))
    finally:
        os.close(descriptor)


def shorten(report: Model, limit: int = LIMIT_BYTES) -> bytes:
    """The report as JSON of at most `limit` bytes.

    The kubelet cuts what is longer, and JSON cut off says nothing. So messages, warnings and the
    list of damaged objects lose their ends. Names and numbers never do: a manifest's name that lost
    its end names nothing. The log has the whole.
    """
    whole = report.dump()
    data = b""
    for texts, length, rows in (
        (40, 800, 200),
        (10, 300, 40),
        (5, 120, 20),
        (1, 80, 10),
        (1, 40, 5),
        (0, 20, 2),
        (0, 1, 0),
    ):
        data = report.__class__.model_validate(_cut(whole, texts, length, rows)).to_json().encode()
        if len(data) <= limit:
            return data
    raise ValueError(f"a report of {len(data)} bytes cannot be shortened to {limit}")


def _cut(value: Any, texts: int, length: int, rows: int) -> Any:
    """The value with its messages, warnings and damaged objects cut to these lengths."""
    if isinstance(value, list):
        return [_cut(row, texts, length, rows) for row in value]
    if not isinstance(value, dict):
        return value
    short = {key: _cut(member, texts, length, rows) for key, member in value.items()}
    if "message" in value:
        short["message"] = _text(value["message"], length)
    if "warnings" in value:
        kept = [_text(text, length) for text in value["warnings"][:texts]]
        left = len(value["warnings"]) - len(kept)
        short["warnings"] = [*kept, _text(f"… and {left} more", length)] if left else kept
    if isinstance(value.get("damaged"), list):
        short["damaged"] = value["damaged"][:rows]
    return short


def _text(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
