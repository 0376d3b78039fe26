"""Files on a mounted volume: how they are read for a backup, and how they are put back.

Everything below the top goes by directory handles and single names, never by a path string, and no
symbolic link is ever followed: the volume belongs to an application that may plant anything in it,
while the worker may run as root. It is also what lets a tree be deeper than the kernel's longest
path.
"""

from weddingbackup.sources.volume.source import VolumeSource
from weddingbackup.sources.volume.target import VolumeTarget

__all__ = ["VolumeSource", "VolumeTarget"]
