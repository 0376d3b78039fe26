"""Runs a function in a forked child: as a user without rights, or with mounts of its own."""

import ctypes
import os
import sys
import traceback
from collections.abc import Callable

NOBODY = 65_534
_CLONE_NEWNS = 0x0002_0000
_CLONE_NEWUSER = 0x1000_0000


def drop_rights() -> None:
    """Become nobody for good, when root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def own_mounts() -> None:
    """Mount and unmount without anyone else noticing; ends with the process."""
    flags = _CLONE_NEWNS
    user, group = os.geteuid(), os.getegid()
    if user:
        flags |= _CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(flags) == 0, os.strerror(ctypes.get_errno())
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {user} 1"),
            ("gid_map", f"0 {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(text)
    private = 1 << 18 | 1 << 14  # MS_PRIVATE | MS_REC
    assert libc.mount(None, b"/", None, private, None) == 0, os.strerror(ctypes.get_errno())


def in_child(prepare: Callable[[], None], function: Callable[[], None]) -> None:
    """Run both in a child; fails with the child's traceback."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        text = ""
        try:
            prepare()
            function()
        except BaseException:  # noqa: BLE001  a child must not return into pytest
            text = traceback.format_exc()
        finally:
            sys.stdout.flush()
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write(text)
            os._exit(1 if text else 0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text or f"the child ended with wait status {status}"
