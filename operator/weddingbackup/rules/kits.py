"""Which vaults could be opened with the cluster gone: what the records of exported kits come to.

A kit is announced on its vault's Secret before it is written, and confirmed when it lies on a disk. So
one that was announced may exist (erasure has to name it), and only one that was confirmed covers anything.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from weddingbackup.resources import names
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.resources.words import EARLIEST
from weddingbackup.rules.conditions import Verdict
from weddingbackup.rules.times import rfc3339

_PREFIX = f"recovery-kit.{names.GROUP}/"
_NOBODY = "0" * 16


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether a kit is known to hold all keys that a vault uses now.

    Attributes:
        since: from when on; None where it does not, or where there is no telling.
        reason: one CamelCase word; message: for people.
    """

    covered: bool
    since: datetime | None
    reason: str
    message: str


def annotation(record: KitRecord) -> tuple[str, str]:
    """(key, value) of the annotation that tells of one kit and one person."""
    who = hashlib.sha256(record.by.encode()).hexdigest()[:8]
    return f"{_PREFIX}{record.kit}.{who}", record.to_json()


def recorded(annotations: Mapping[str, str]) -> list[KitRecord]:
    """All kits that a Secret's annotations tell of, the oldest first.

    One whose text was damaged is still told of, as somebody's, with keys that nobody knows.
    """
    found = [
        _read(key.removeprefix(_PREFIX), text)
        for key, text in annotations.items()
        if key.startswith(_PREFIX)
    ]
    return sorted(found, key=lambda record: (record.announced_at, record.kit, record.by))


def _read(key: str, text: str) -> KitRecord:
    try:
        return KitRecord.model_validate_json(text)
    except ValidationError:
        kit = key.partition(".")[0]
        unknown = {"by": "unknown", "announced_at": EARLIEST}
        try:
            return KitRecord.model_validate({"kit": kit, **unknown})
        except ValidationError:
            return KitRecord.model_validate({"kit": _NOBODY, **unknown})


def coverage(records: Iterable[KitRecord], keys: Mapping[str, str]) -> Coverage:
    """Whether one of these kits holds all `keys` (fingerprints by class) that a vault has now."""
    written = [record for record in records if record.written_at is not None]
    good = [r for r in written if keys and keys.items() <= r.keys.items()]
    if good:
        first = min(good, key=_written)
        newest = max(good, key=_written)
        message = f"Kit {newest.kit} was exported by {newest.by} at {rfc3339(_written(newest))}."
        return Coverage(True, _written(first), "Exported", message)
    if written:
        newest = max(written, key=_written)
        differing = sorted(name for name, mark in keys.items() if newest.keys.get(name) != mark)
        return Coverage(
            False,
            None,
            "KeysChanged",
            f"Kit {newest.kit} of {rfc3339(_written(newest))} lacks the present keys of "
            f"{', '.join(differing)}.",
        )
    return Coverage(False, None, "NeverExported", "Nobody has a recovery kit of this vault.")


def exported(
    records: Iterable[KitRecord], keys: Mapping[str, str], *, namespace: str, policy: str
) -> Verdict:
    """The condition `KitExported` of a policy.

    It speaks of what happens when the cluster is lost. `Protected` does not look at it: whether the copies
    are good is another question, and one kit in a drawer must not hide what the other says.
    """
    found = coverage(records, keys)
    message = found.message
    if not found.covered:
        message = (
            f"{message} Should this cluster be lost, nobody could open its copies. Run: "
            f"weddingbackup recovery-kit export --namespace {namespace} --policy {policy} --output kits"
        )
    return Verdict("KitExported", found.covered, found.reason, message)


def remaining(records: Sequence[KitRecord]) -> str | None:
    """What an erasure cannot reach: a sentence that names the kits that may still be; None where there are none."""
    if not records:
        return None
    those = ", ".join(f"{record.kit} ({_title(record)})" for record in records)
    return (
        f"The vault's keys are also in recovery kits that were taken out: {those}. Destroy these files and "
        "their copies: until then, whoever has one can read what is left of the vault anywhere."
    )


def _title(record: KitRecord) -> str:
    if record.written_at is None:
        return f"{record.by}, begun at {rfc3339(record.announced_at)}, perhaps never written"
    return f"{record.by}, {rfc3339(record.written_at)}"


def _written(record: KitRecord) -> datetime:
    assert record.written_at is not None
    return record.written_at
