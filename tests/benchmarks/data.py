"""The data that the benchmarks protect: the same bytes on every machine, from a seed."""

import filecmp
import multiprocessing
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MIB = 1024 * 1024
_OLD = 1_700_000_000  # seconds since the epoch: no file was changed just now
_ALPHABET = "etaoinshrdlucmfwypvbgk"


def apart(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in a process of its own.

    Linux counts a process's peak memory from that of the one that started it, so who measures
    programs has to stay small itself.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments, **options).result()


class _Bytes:
    """A stream of bytes that do not compress, and one of text that does, about three to one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        words = [
            "".join(self._random.choices(_ALPHABET, k=self._random.randint(2, 10)))
            for _ in range(5000)
        ]
        self._phrases = [
            " ".join(self._random.choices(words, k=3)).encode() for _ in range(100_000)
        ]

    def photo(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def text(self, size: int) -> bytes:
        text = bytearray()
        while len(text) < size:
            text += b" ".join(self._random.choices(self._phrases, k=1 + size // 24)) + b".\n"
        return bytes(text[:size])


def large_files(top: Path, mebibytes: int, seed: int = 1) -> None:
    """Three quarters like photographs of 8 MiB, one quarter text in files of 4 MiB."""
    source = _Bytes(seed)
    top.mkdir()
    for number in range(mebibytes * 3 // 4 // 8):
        _write(top / f"photo-{number:03}.jpg", source.photo(8 * MIB))
    for number in range(mebibytes // 4 // 4):
        _write(top / f"text-{number:03}.txt", source.text(4 * MIB))


def original(work: Path, *, short: bool) -> Path:
    """Make the large files that most cases are about, 1 GiB or, in short, 64 MiB; gives their top."""
    top = work / "data"
    apart(large_files, top, 64 if short else 1024)
    return top


def small_files(top: Path, count: int, seed: int = 2) -> None:
    """Files of 0.2 to 8 kB, a thousand a directory, every fourth text."""
    source = _Bytes(seed)
    sizes = random.Random(seed)
    top.mkdir()
    for number in range(count):
        directory = top / f"{number // 1000:03}"
        directory.mkdir(exist_ok=True)
        size = sizes.randint(200, 8000)
        text = number % 4 == 3
        path = directory / f"{number % 1000:03}.{'txt' if text else 'bin'}"
        _write(path, source.text(size) if text else source.photo(size))


def directories(top: Path, count: int, seed: int = 3) -> None:
    """Directories with one file of 200 bytes each, a thousand in one: a data chunk and a page each."""
    source = _Bytes(seed)
    top.mkdir()
    for number in range(count):
        directory = top / f"{number // 1000:03}" / f"{number % 1000:03}"
        directory.mkdir(parents=True)
        _write(directory / "file.bin", source.photo(200))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (_OLD, _OLD))


def total(top: Path) -> int:
    """Give the bytes of all files."""
    return sum(path.stat().st_size for path in top.rglob("*") if path.is_file())


def require_same(before: Path, after: Path, who: str) -> None:
    """Make sure that a restored tree is the original.

    Raises:
        AssertionError: it is not; the message says where.
    """
    if problems := apart(differences, before, after):
        text = "\n".join(problems[:20])
        raise AssertionError(f"{who} brought back something else:\n{text}")


def differences(before: Path, after: Path) -> list[str]:
    """Say what a restored tree lacks: names, bytes, modes and times of files are compared."""
    wanted = {path.relative_to(before) for path in before.rglob("*")}
    found = {path.relative_to(after) for path in after.rglob("*")}
    problems = [f"{path}: only in one of them" for path in sorted(wanted ^ found)]
    for path in sorted(wanted & found):
        one, other = (before / path).stat(), (after / path).stat()
        if one.st_mode != other.st_mode:
            problems.append(f"{path}: mode")
        elif (before / path).is_file():
            if one.st_mtime_ns != other.st_mtime_ns:
                problems.append(f"{path}: time")
            elif not filecmp.cmp(before / path, after / path, shallow=False):
                problems.append(f"{path}: bytes")
    filecmp.clear_cache()
    return problems
