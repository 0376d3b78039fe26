import errno

import pytest

from weddingbackup.resources.reports import ExitCode
from weddingbackup.sources.errors import SourceError, SourceUnavailableError, TargetError
from weddingbackup.stores import errors as stores
from weddingbackup.vault import errors as vault
from weddingbackup.vault.results import RestoreResult
from weddingbackup.worker.errors import RefusedError, ending

REFUSED, FAILED = ExitCode.REFUSED, ExitCode.FAILED


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (RefusedError("BadTask", "no"), "BadTask", REFUSED),
        (SourceError("no such table"), "SourceRefused", REFUSED),
        (TargetError("full"), "TargetRefused", REFUSED),
        (SourceUnavailableError("later"), "SourceUnavailable", FAILED),
        (stores.DeniedError("no", location="l"), "LocationDenied", REFUSED),
        (stores.ArchivedError("no", location="l"), "Archived", REFUSED),
        (stores.MissingError("no", location="l"), "ObjectMissing", REFUSED),
        (stores.ExistsError("no", location="l"), "NameTaken", REFUSED),
        (stores.UnsupportedError("no", location="l"), "LocationUnsupported", REFUSED),
        (stores.CorruptError("no", location="l"), "ObjectDamaged", FAILED),
        (stores.TransientError("no", location="l"), "LocationUnavailable", FAILED),
        (vault.WrongKeyError("no"), "WrongKey", REFUSED),
        (vault.RefusedError("no"), "Refused", REFUSED),
        (vault.QuorumError("no"), "QuorumUnreachable", FAILED),
        (vault.VaultDamageError("packs/1", "no"), "Damaged", FAILED),
        (
            vault.RestoreIncompleteError(RestoreResult(failed=[(b"a", "gone")])),
            "Incomplete",
            FAILED,
        ),
        (
            vault.RestoreIncompleteError(
                RestoreResult(failed=[(b"a", "archived")]),
                stores.ArchivedError("archived", location="l"),
            ),
            "Archived",
            REFUSED,
        ),
        (OSError(errno.ENOSPC, "No space"), "VolumeFull", REFUSED),
        (OSError(errno.EDQUOT, "Quota"), "VolumeFull", REFUSED),
        (OSError(errno.EROFS, "Read-only"), "VolumeReadOnly", REFUSED),
    ],
)
def test_an_error_that_was_foreseen_is_told_in_its_own_words(
    error: Exception, code: str, exit_code: ExitCode
) -> None:
    end = ending(error)
    assert (end.code, end.exit_code, end.expected) == (code, exit_code, True)
    assert str(error) in end.message


def test_every_error_of_the_rooms_below_has_a_line() -> None:
    kinds = [
        kind
        for module in (stores, vault)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        error = kind.__new__(kind)
        Exception.__init__(error, "words")
        assert ending(error).expected, kind


def test_an_error_that_nobody_foresaw_is_not_quoted() -> None:
    end = ending(KeyError("postgresql://me:hunter2@db/"))
    assert (end.exit_code, end.expected) == (FAILED, False)
    assert "hunter2" not in end.message
    assert "KeyError" in end.message


def test_a_password_in_a_message_is_taken_out() -> None:
    end = ending(SourceError("postgresql://me:hunter2@db/x does not answer"))
    assert "hunter2" not in end.message
    assert "@db" not in end.message or "***" in end.message


def test_a_report_says_code_and_message() -> None:
    assert ending(RefusedError("BadTask", "no task")).report.dump() == {
        "code": "BadTask",
        "message": "no task",
    }
