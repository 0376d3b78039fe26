"""A trivial engine: carries a tree from a source to a target through memory, without recursion."""

from weddingbackup.sources.volume import VolumeSource, VolumeTarget
from weddingbackup.vault.entries import Entry, EntryType, Reader


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
    top = source.root()
    target.directory(b"", top)
    finished = [(b"", top)]
    waiting = [b""]
    links: dict[tuple[int, int], bytes] = {}
    later: list[tuple[bytes, bytes]] = []
    while waiting:
        directory = waiting.pop()
        entries = source.children(directory)
        files = []
        for entry in entries:
            path = directory + b"/" + entry.name if directory else entry.name
            if entry.type is EntryType.DIRECTORY:
                target.directory(path, entry)
                finished.append((path, entry))
                waiting.append(path)
            elif entry.links > 1 and (entry.device, entry.inode) in links:
                later.append((path, links[entry.device, entry.inode]))
            else:
                links[entry.device, entry.inode] = path
                if entry.type is not EntryType.FILE:
                    target.other(path, entry)
                else:
                    files.append((path, entry))
        if small:
            answers = source.read_small(directory, [entry for _, entry in files])
        else:
            answers = [read_all(source.open(path, entry)) for path, entry in files]
        for (path, _), answer in zip(files, answers, strict=True):
            assert isinstance(answer, tuple), answer
            entry, data = answer
            if small and not entry.segments:
                target.small_file(path, entry, data)
            else:
                write_stored(target, path, entry, data)
    for path, existing in later:
        target.link(path, existing)
    for path, entry in reversed(finished):
        target.finish_directory(path, entry)
