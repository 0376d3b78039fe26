"""What can go wrong with a vault, by what helps against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from weddingbackup.vault.entries import shown

if TYPE_CHECKING:
    from weddingbackup.stores.errors import ArchivedError
    from weddingbackup.vault.results import RestoreResult

UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoders raise for bytes that are none of theirs, or that are nested without end."""


class VaultError(Exception):
    """Something about a vault failed; the message is for people."""


class VaultDamageError(VaultError):
    """Stored bytes are not what was stored: another copy may be good.

    Attributes:
        object: name of the object that is damaged.
    """

    def __init__(self, name: str, problem: str) -> None:
        """Say of which object what is wrong."""
        super().__init__(f"{name} is damaged: {problem}")
        self.object = name


class WrongKeyError(VaultError):
    """The kit's keys are not those that sealed this vault."""


class RefusedError(VaultError):
    """Trying again cannot help: another vault's location, a newer format, no such point."""


class QuorumError(VaultError):
    """Too few locations took everything. What they took is kept, and used by the next try."""


class RestoreIncompleteError(VaultError):
    """Some files could not be brought back; all others were. `result.failed` names them.

    Attributes:
        archived: why one of them could not, where it is archived: asking again helps once it is back.
    """

    archived: ArchivedError | None = None

    def __init__(self, result: RestoreResult, archived: ArchivedError | None = None) -> None:
        """Take the whole result."""
        path, problem = result.failed[0]
        more = f", and {len(result.failed) - 1} more" if len(result.failed) > 1 else ""
        super().__init__(f"could not bring back {shown(path)}: {problem}{more}")
        self.result = result
        self.archived = archived
