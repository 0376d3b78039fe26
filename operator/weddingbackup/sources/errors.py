"""How a source or a target fails, told apart by what helps: a person, or another try.

What happens to one file while it is read (changed, vanished) belongs to the vault's contract with
its sources and stands in `weddingbackup.vault.entries`.
"""


class SourceError(Exception):
    """Refused: trying again cannot help; the message says what a person has to do."""


class TargetError(SourceError):
    """Refused while putting data back: volume full or read-only, a name that cannot be kept."""


class SourceUnavailableError(Exception):
    """The source or the target does not answer for now; trying again may help."""
