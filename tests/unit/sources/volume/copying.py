"""A trivial engine: carries a tree from a source to a target through memory, without recursion."""

from weddingbackup.sources.volume import VolumeSource, VolumeTarget
from weddingbackup.sources.volume.names import join
from weddingbackup.vault.entries import SMALL, Entry, EntryType, Reader


def read_all(reader: Reader) -> tuple[Entry, bytes]:
    data = bytearray()
    block = memoryview(bytearray(65_536))
    try:
        while count := reader.readinto(block):
            data += block[:count]
        return reader.finish(), bytes(data)
    finally:
        reader.close()


def write_stored(target: VolumeTarget, path: bytes, entry: Entry, data: bytes) -> None:
    """Write a file's stored bytes in small pieces, last piece first."""
    writer = target.file(path, entry)
    try:
        pieces = []
        start = 0
        for offset, length in entry.segments or ((0, entry.size),):
            for begin in range(0, length, 40_000):
                end = min(begin + 40_000, length)
                pieces.append((offset + begin, data[start + begin : start + end]))
            start += length
        for offset, piece in reversed(pieces):
            writer.write(offset, piece)
        writer.commit()
    finally:
        writer.abort()


def copy(source: VolumeSource, target: VolumeTarget, *, small: bool = False) -> None:
    """Copy all; with `small` by the roads for small files."""
    finished = [(b"", source.root())]
    target.directory(*finished[0])
    seen: dict[tuple[int, int], bytes] = {}
    links: list[tuple[bytes, bytes]] = []
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        files: list[Entry] = []
        for entry in source.children(directory):
            path = join(directory, entry.name)
            if entry.type is EntryType.DIRECTORY:
                target.directory(path, entry)
                finished.append((path, entry))
                waiting.append(path)
            elif entry.links > 1 and (
                (first := seen.setdefault((entry.device, entry.inode), path)) != path
            ):
                links.append((path, first))
            elif entry.type is EntryType.FILE:
                files.append(entry)
            else:
                target.other(path, entry)
        _copy_files(source, target, directory, files, small=small)
    for path, first in links:
        target.link(path, first)
    for path, entry in reversed(finished):
        target.finish_directory(path, entry)


def _copy_files(
    source: VolumeSource,
    target: VolumeTarget,
    directory: bytes,
    files: list[Entry],
    *,
    small: bool,
) -> None:
    fit = [entry for entry in files if small and entry.stored_size < SMALL]
    for listed in files:
        if listed not in fit:
            path = join(directory, listed.name)
            write_stored(target, path, *read_all(source.open(path, listed)))
    for answer in source.read_small(directory, fit):
        assert isinstance(answer, tuple), answer
        entry, data = answer
        path = join(directory, entry.name)
        if entry.segments:
            write_stored(target, path, entry, data)
        else:
            target.small_file(path, entry, data)
