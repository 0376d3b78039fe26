"""How the command line writes sizes, times, modes, tables and progress for people."""

import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread

import click

from weddingbackup.vault import entries
from weddingbackup.vault.entries import Entry, EntryType
from weddingbackup.vault.progress import Progress

_STEP = 1024
_REDRAW_SECONDS = 0.2
_FORMATS = {
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.FILE: stat.S_IFREG,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
    EntryType.CHAR_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
}


def size(count: float) -> str:
    """Bytes in IEC units: 17 B, 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TiB"


def moment(time: datetime) -> str:
    """A time in UTC, RFC 3339, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def long_line(path: bytes, entry: Entry) -> str:
    """One entry in the manner of `ls -l`."""
    mode = stat.filemode(_FORMATS[entry.type] | entry.mode)
    time = datetime.fromtimestamp(entry.mtime_ns // 1_000_000_000, UTC)
    target = f" -> {entries.shown(entry.target)}" if entry.type is EntryType.SYMLINK else ""
    owner = f"{entry.uid:>5} {entry.gid:>5}"
    return f"{mode} {owner} {entry.size:>12} {moment(time)} {entries.shown(path)}{target}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below their head, in columns as wide as they have to be."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show progress as one line on standard error while the block runs; not where nobody looks."""
    if not sys.stderr.isatty():
        yield
        return
    ended = Event()
    thread = Thread(target=_redraw, args=(progress, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        click.echo("\r\x1b[K", nl=False, err=True)


def _redraw(progress: Progress, ended: Event) -> None:
    while not ended.wait(_REDRAW_SECONDS):
        click.echo(f"\r\x1b[K{progress_line(progress)}", nl=False, err=True)


def progress_line(progress: Progress) -> str:
    """How far it is: 12.0 MiB of 48.0 MiB (25 %), 3 files."""
    done, total = progress.bytes_done, progress.bytes_total
    share = f" of {size(total)} ({min(100, 100 * done // total)} %)" if total else ""
    return f"{size(done)}{share}, {progress.files} files"
