"""Which way an attempt ended: the one table from an error to a code, an exit code and a message.

REFUSED ends the Job at once, since trying again cannot help; FAILED lets Kubernetes try again.
"""

import errno
from dataclasses import dataclass

from weddingbackup.log import redact
from weddingbackup.resources.broker import Refusal, RefusalCode
from weddingbackup.resources.reports import ErrorReport, ExitCode
from weddingbackup.sources.errors import SourceError, SourceUnavailableError, TargetError
from weddingbackup.stores.errors import (
    ArchivedError,
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.vault import errors as vault


class RefusedError(Exception):
    """The pod or its task is not as it has to be; the message says what to put right.

    Attributes:
        code: one CamelCase word for the report.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BrokerError(Exception):
    """The broker refused, or stayed away.

    Attributes:
        refusal: why, and for whom it was asked in vain.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended that did not do its task.

    Attributes:
        expected: False for an error that nobody foresaw: its trace belongs in the log.
    """

    code: str
    exit_code: ExitCode
    message: str
    expected: bool = True

    @property
    def report(self) -> ErrorReport:
        """What the report says of it."""
        return ErrorReport(code=self.code, message=self.message)


INTERRUPTED = Ending(
    "Interrupted",
    ExitCode.FAILED,
    "the worker was told to stop before it was done; what it stored is kept and used by the next one",
)

# The first line that fits counts, so what is special stands before what is general.
_TABLE: tuple[tuple[type[Exception], str, ExitCode], ...] = (
    (TargetError, "TargetRefused", ExitCode.REFUSED),
    (SourceError, "SourceRefused", ExitCode.REFUSED),
    (SourceUnavailableError, "SourceUnavailable", ExitCode.FAILED),
    (ArchivedError, "Archived", ExitCode.REFUSED),
    (DeniedError, "LocationDenied", ExitCode.REFUSED),
    (MissingError, "ObjectMissing", ExitCode.REFUSED),
    (ExistsError, "NameTaken", ExitCode.REFUSED),
    (UnsupportedError, "LocationUnsupported", ExitCode.REFUSED),
    (CorruptError, "ObjectDamaged", ExitCode.FAILED),
    (TransientError, "LocationUnavailable", ExitCode.FAILED),
    (StoreError, "LocationFailed", ExitCode.FAILED),
    (vault.WrongKeyError, "WrongKey", ExitCode.REFUSED),
    (vault.RefusedError, "Refused", ExitCode.REFUSED),
    (vault.QuorumError, "QuorumUnreachable", ExitCode.FAILED),
    # Good bytes may be at a location that does not answer now.
    (vault.RestoreIncompleteError, "Incomplete", ExitCode.FAILED),
    (vault.VaultDamageError, "Damaged", ExitCode.FAILED),
    (vault.VaultError, "VaultFailed", ExitCode.FAILED),
)

# What the broker says of a job as a whole; any other code is its own reason, and refused.
_BROKER = {
    RefusalCode.TRANSIENT: ("BrokerUnavailable", ExitCode.FAILED),
    RefusalCode.CORRUPT: ("ObjectDamaged", ExitCode.FAILED),
    # A token that was not renewed in time, or an answer of a broker that has just come up.
    RefusalCode.UNKNOWN_WORKER: ("UnknownWorker", ExitCode.FAILED),
    RefusalCode.DENIED: ("BrokerDenied", ExitCode.REFUSED),
    RefusalCode.SOURCE_FAILED: ("SourceRefused", ExitCode.REFUSED),
    RefusalCode.SOURCE_UNAVAILABLE: ("SourceUnavailable", ExitCode.FAILED),
}

_SYSTEM = {
    errno.ENOSPC: ("VolumeFull", "the volume is full; make room or choose a larger claim"),
    errno.EDQUOT: ("VolumeFull", "the volume's quota is used up; raise it or make room"),
    errno.EROFS: ("VolumeReadOnly", "the volume is read-only; choose one that can be written"),
}


def ending(error: Exception) -> Ending:
    """What an error means for the attempt that met it."""
    message = redact(str(error))
    if isinstance(error, RefusedError):
        return Ending(error.code, ExitCode.REFUSED, message)
    if isinstance(error, BrokerError):
        said = error.refusal.code
        code, exit_code = _BROKER.get(said, (str(said), ExitCode.REFUSED))
        return Ending(code, exit_code, message)
    if isinstance(error, vault.RestoreIncompleteError) and error.archived is not None:
        # No retry of minutes helps: what is archived is away for hours, and somebody has to ask.
        return Ending("Archived", ExitCode.REFUSED, message)
    for kind, code, exit_code in _TABLE:
        if isinstance(error, kind):
            return Ending(code, exit_code, message)
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        code, advice = _SYSTEM[error.errno]
        return Ending(code, ExitCode.REFUSED, f"{message}: {advice}")
    return Ending(
        "Unexpected",
        ExitCode.FAILED,
        # Its text may quote what it stumbled over, and a report is read by many.
        f"an unexpected error ({type(error).__name__}) ended the attempt; the pod's log has the details",
        expected=False,
    )
