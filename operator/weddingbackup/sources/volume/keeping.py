"""Gives restored files their owner, attributes, mode and times, and counts what cannot be kept.

The order is the kernel's: a new owner clears the setuid bits and file capabilities, an access list
rewrites the mode's group bits, and all of it touches the times.
"""

import errno
import os
import stat
from pathlib import Path

from weddingbackup.sources.volume import attributes
from weddingbackup.sources.volume.tally import Tally
from weddingbackup.vault.entries import Entry, EntryType

_NEEDS_ROOT = "(it takes the worker's privilege Root)"
_USER = f"Owner not kept {_NEEDS_ROOT}"
_GROUP = f"Group not kept {_NEEDS_ROOT}"
_SPECIAL = "Set-user-id or set-group-id bit dropped, since the owner or group could not be kept"
_FOREIGN = "Mode and times not kept, since it belongs to somebody else"
_XATTR = "Extended attribute {}.* not kept"

_DENIED = frozenset({errno.EPERM, errno.EACCES})
# EINVAL: the user does not exist in this user namespace.
_NOT_TO_BE_OWNED = _DENIED | {errno.EINVAL, errno.ENOTSUP}
# Not known to this file system, too large for it, or not ours to set.
_NOT_TO_BE_SET = _NOT_TO_BE_OWNED | {errno.ERANGE, errno.E2BIG, errno.ENOSPC, errno.ENODATA}


class Keeper:
    """Sets metadata as far as rights allow. Thread-safe.

    A file is given as an open handle, or as a path whose last name is not followed
    (`attributes.beneath`) for what cannot be opened: links, fifos, sockets, devices.

    Args:
        tally: takes what was not kept.
        privileged: give files to other users and groups.
    """

    def __init__(self, tally: Tally, *, privileged: bool) -> None:
        self._tally = tally
        self._privileged = privileged
        self._groups = frozenset({os.getegid(), *os.getgroups()})

    def keep(
        self, file: int | bytes, path: bytes, entry: Entry, *, owner: tuple[int, int], clean: bool
    ) -> None:
        """Give a file the entry's metadata.

        Args:
            file: handle or path.
            path: the entry's path, for warnings.
            entry: what it should become.
            owner: the user and group that it has now.
            clean: it has no extended attributes now.
        """
        mode = entry.mode
        if owner != (entry.uid, entry.gid):
            mode = self._own(file, path, entry, owner)
        if entry.xattrs or not clean:
            self._set_xattrs(file, path, entry.xattrs, clean=clean)
        times = (entry.mtime_ns, entry.mtime_ns)
        try:
            if isinstance(file, int):
                os.fchmod(file, mode)
                os.utime(file, ns=times)
            else:
                if entry.type is not EntryType.SYMLINK:
                    _chmod_node(file, mode)
                os.utime(file, ns=times, follow_symlinks=False)
        except PermissionError:  # a directory that was there before
            self._tally.add(_FOREIGN, path)

    def may_adopt(self, owner: tuple[int, int], entry: Entry) -> bool:
        """Say whether a file that is there may become the entry's, by who it belongs to.

        Whoever owned it may have it open still, and write to it through a memory map, which does
        not clear a set-user-id bit.
        """
        if entry.mode & (stat.S_ISUID | stat.S_ISGID):
            return False
        if self._privileged:
            return owner == (entry.uid, entry.gid)
        return owner[0] == os.geteuid() and owner[1] in {entry.gid, *self._groups}

    def _own(self, file: int | bytes, path: bytes, entry: Entry, owner: tuple[int, int]) -> int:
        """Change the owner as far as allowed; gives the mode that is then safe to set."""
        follow = isinstance(file, int)
        user = entry.uid == owner[0]
        group = entry.gid == owner[1]
        if self._privileged:
            user = group = _allowed(file, entry.uid, entry.gid, follow=follow)
        elif not group and entry.gid in self._groups:
            group = _allowed(file, -1, entry.gid, follow=follow)
        if not user:
            self._tally.add(_USER, path)
        if not group:
            self._tally.add(_GROUP, path)
        mode = entry.mode
        if entry.type is EntryType.FILE:
            # A program that ran as its owner must not come back running as someone else.
            mode &= ~((0 if user else stat.S_ISUID) | (0 if group else stat.S_ISGID))
            if mode != entry.mode:
                self._tally.add(_SPECIAL, path)
        return mode

    def _set_xattrs(
        self, file: int | bytes, path: bytes, wanted: attributes.Xattrs, *, clean: bool
    ) -> None:
        follow = isinstance(file, int)
        present = () if clean else attributes.xattrs_of(file)
        for name in dict(present).keys() - dict(wanted).keys():
            try:
                os.removexattr(file, name, follow_symlinks=follow)
            except OSError as error:
                self._not_kept(error, name, path)
        for name, value in wanted:
            try:
                os.setxattr(file, name, value, follow_symlinks=follow)
            except OSError as error:
                self._not_kept(error, name, path)

    def _not_kept(self, error: OSError, name: bytes, path: bytes) -> None:
        if error.errno not in _NOT_TO_BE_SET:
            raise error
        namespace = name.partition(b".")[0].decode("ascii", "replace")
        self._tally.add(_XATTR.format(namespace), path)


def _allowed(file: int | bytes, uid: int, gid: int, *, follow: bool) -> bool:
    try:
        os.chown(file, uid, gid, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_OWNED:
            raise
        return False
    return True


def chmod_by_path_handle(fd: int, mode: int) -> None:
    """Set the mode of what an O_PATH handle stands for, where fchmod(2) refuses to."""
    Path(f"/proc/self/fd/{fd}").chmod(mode)


def _chmod_node(file: bytes, mode: int) -> None:
    """Set the mode of a fifo, socket or device without opening it or following a link."""
    fd = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):  # planted there since
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        chmod_by_path_handle(fd, mode)
    finally:
        os.close(fd)
