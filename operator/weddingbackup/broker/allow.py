"""What of a vault a job may ask for. Pure: names and digests in, nothing or a refusal out."""

import hashlib
import re

from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import DataKey, Put, RefusalCode
from weddingbackup.stores import names as stores
from weddingbackup.vault import names
from weddingbackup.vault.marks import MARK, MARKS
from weddingbackup.vault.names import VAULT_CLASS

_DATA = re.compile(r"(?:packs|index)/([0-9a-f]{64})(?:\.r[1-9])?")
_FOUNDING = re.compile(r"format|keys/[a-z]+-[0-9a-f]{32}-[0-9a-f]{64}(?:\.r[1-9])?")
_FOLDERS = (names.FORMAT, names.KEYS, names.PACKS, names.INDEXES, names.SNAPSHOTS, MARKS)


def location(scope: Scope, name: str) -> BackupLocation:
    """One of the job's locations.

    Raises:
        RefusedError: it is none of them.
    """
    found = scope.locations.get(name)
    if found is None:
        raise RefusedError(RefusalCode.NOT_YOURS, f"{name} is no location of this job")
    return found


def put(scope: Scope, wanted: Put) -> None:
    """Let pass what a backup adds to its vault: sealed data under its own hash, and what founds it.

    Raises:
        RefusedError: anything else. A manifest is the broker's to store, once it has looked.
    """
    _only_backups(scope)
    if match := _DATA.fullmatch(wanted.name):
        if match[1] != wanted.sha256:
            raise RefusedError(
                RefusalCode.NOT_YOURS,
                f"{wanted.name} is to hold bytes with the SHA-256 in its name",
            )
        return
    founding = scope.kit.objects.get(names.base_name(wanted.name))
    if founding is None or hashlib.sha256(founding).hexdigest() != wanted.sha256:
        raise RefusedError(RefusalCode.NOT_YOURS, f"{wanted.name} is not for this job to write")


def manifest(scope: Scope, name: str) -> str:
    """The SHA-256 (hex) in the name of this job's manifest.

    Raises:
        RefusedError: it is no manifest's name, or another job's.
    """
    _only_backups(scope)
    digest = names.digest_of(name)
    if digest is None or names.snapshot_job(name) != scope.owner.uid:
        raise RefusedError(RefusalCode.NOT_YOURS, f"{name} is no manifest of this job")
    return digest.hex()


def get(name: str) -> None:
    """Let pass names that a vault's objects can have.

    Raises:
        RefusedError: it is none.
    """
    known = (
        _DATA.fullmatch(name)
        or _FOUNDING.fullmatch(name)
        or MARK.fullmatch(name)
        or names.snapshot_job(names.base_name(name))
    )
    if not known or not stores.is_name(name):
        raise RefusedError(RefusalCode.NOT_YOURS, f"{name} is no object of a vault")


def moves_data(name: str) -> bool:
    """Whether who reads this object reads data: a pack's. All else only tells where data is."""
    return name.startswith(names.PACKS)


def listing(prefix: str) -> None:
    """Let pass what the names of a vault's objects can begin with.

    Raises:
        RefusedError: none begins so.
    """
    try:
        stores.check_prefix(prefix)
    except ValueError as error:
        raise RefusedError(RefusalCode.BAD_REQUEST, str(error)) from None
    if not prefix.startswith(_FOLDERS):
        raise RefusedError(RefusalCode.NOT_YOURS, f"no object of a vault is named {prefix}…")


def keys(scope: Scope) -> list[DataKey]:
    """The unwrapped data keys of the vault's own class and of the job's classes.

    No others, and never a wrapping key.

    Raises:
        VaultError: the kit's keys do not belong together.
    """
    keyring = scope.kit.keyring({VAULT_CLASS, *scope.classes})
    return [
        DataKey.model_construct(
            class_name=key.class_name,
            key_id=key.key_id.hex(),
            secret=key.secret,
            chunk_key=key.chunk_key,
        )
        for key in keyring.keys
    ]


def _only_backups(scope: Scope) -> None:
    if scope.purpose is not Purpose.BACKUP:
        raise RefusedError(RefusalCode.NOT_YOURS, "this job writes nothing into its vault")
