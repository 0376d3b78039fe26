"""A file's metadata, from the kernel's `stat` and extended attributes to an `Entry`.

Left out on purpose: `security.selinux` (a label belongs to the node and the pod that set it, and
would lock the next pod out) and inode flags such as immutable (no portable way to read them).
"""

import errno
import os
import stat

from weddingbackup.vault.entries import Entry, EntryType

Xattrs = tuple[tuple[bytes, bytes], ...]

_LEFT_OUT = frozenset({"security.selinux"})
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})

_TYPES = {
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFCHR: EntryType.CHAR_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
}


def entry(
    name: bytes, status: os.stat_result, *, device: int, target: bytes = b"", xattrs: Xattrs = ()
) -> Entry:
    """Give the entry of what `status` tells; `device` is the vault's number, not `st_dev`."""
    mode = status.st_mode
    kind = _TYPES[stat.S_IFMT(mode)]
    return Entry(
        name,
        kind,
        status.st_size if kind is EntryType.FILE else 0,
        stat.S_IMODE(mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        device,
        1 if kind is EntryType.DIRECTORY else status.st_nlink,
        target,
        status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0,
        xattrs,
    )


def beneath(directory: int, name: bytes) -> bytes:
    """Name something in an open directory for the calls that take no directory handle.

    The kernel resolves the handle's link and then one name, which is not followed further where
    the call is told so.
    """
    return b"/proc/self/fd/%d/%s" % (directory, name)


def xattrs_of(file: int | bytes) -> Xattrs:
    """Read all extended attributes, sorted by name; a path's last name is not followed."""
    follow = isinstance(file, int)  # a handle has nothing left to follow
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise
    if not names:
        return ()
    found = []
    for name in names:
        if name in _LEFT_OUT:
            continue
        try:
            value = os.getxattr(file, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENODATA:  # removed since it was listed
                continue
            raise
        found.append((os.fsencode(name), value))
    return tuple(sorted(found))
