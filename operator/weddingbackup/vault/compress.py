"""zstd where it pays: photographs and other compressed data are stored as they are."""

from __future__ import annotations

import threading

import zstandard

from weddingbackup.vault.errors import VaultDamageError
from weddingbackup.vault.pack import MAX_CHUNK

_LEVEL = 1  # higher levels cost more time than their bytes cost to send
_SAMPLE = 32 * 1024
_PAYS_PERCENT = 97


class _Codecs(threading.local):
    """zstd contexts are costly to make and belong to one thread."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


def compress(data: bytes | memoryview) -> bytes | None:
    """Compress a chunk; None where it does not pay. A sample decides before the whole is tried."""
    if len(data) > 4 * _SAMPLE:
        middle = len(data) // 2
        sample = memoryview(data)[middle : middle + _SAMPLE]
        if not _pays(len(_codecs.compressor.compress(sample)), _SAMPLE):
            return None
    packed = _codecs.compressor.compress(data)
    return packed if _pays(len(packed), len(data)) else None


def decompress(name: str, data: bytes, size: int) -> bytes:
    """Bring a chunk of the pack `name` back to its `size`.

    Raises:
        VaultDamageError: it does not give this many bytes.
    """
    try:
        # A frame says its size, and the decompressor would believe it whatever we allow.
        if size > MAX_CHUNK or zstandard.frame_content_size(data) > size:
            raise VaultDamageError(name, "a chunk decompresses to more than recorded")
        raw = _codecs.decompressor.decompress(data, max_output_size=size)
    except zstandard.ZstdError as error:
        raise VaultDamageError(name, f"a chunk cannot be decompressed ({error})") from None
    if len(raw) != size:
        raise VaultDamageError(name, "a chunk decompresses to another size than recorded")
    return raw


def _pays(packed: int, size: int) -> bool:
    return packed * 100 < size * _PAYS_PERCENT
