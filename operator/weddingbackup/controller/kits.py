"""Recovery kits: taken out of the cluster, told of, and brought into another one.

A person does this with their own rights, so the operator has none to hand keys out. The order of an
export makes every moment safe to be killed in:

1. The kit is announced on its vault's Secret: from now on an erasure names it. Who may not do this
   gets no file.
2. The file is written, and is on the disk.
3. It is confirmed on the Secret: from now on the vault counts as covered.

Killed after 1, there is a record of a kit that may not exist, which covers nothing. Killed after 2, one of
a kit that does, which covers nothing either: exporting again confirms it.
"""

import base64
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from weddingbackup.kube import registry
from weddingbackup.kube.client import (
    LOCATIONS,
    NAMESPACES,
    POLICIES,
    SECRETS,
    SUBJECTS,
    ApiError,
    Cluster,
    ConflictError,
    Object,
    connect,
)
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules import kits
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.kit import Kit

_AUTHORITIES = "ca.crt"
_SHEET = "locations.yaml"
_HEAD = """\
# Where the copies of all vaults lie. Credentials are never written here by the operator: fill in those of
# one location at least, and keep this file readable by you alone from then on.
"""


class KitsError(Exception):
    """Something could not be done; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of one vault's kit: the file, or why there is none."""

    namespace: str
    policy: str
    file: Path | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """One vault, and whether it could be opened with the cluster gone.

    Attributes:
        vault: its id; "" where its Secret is damaged.
        served: whether there still is a policy of it.
        founded: since when there has been something to cover.
    """

    vault: str
    namespace: str
    policy: str
    served: bool
    founded: datetime
    coverage: kits.Coverage


@asynccontextmanager
async def administrator(kubeconfig: str | None, home: str) -> AsyncIterator[Cluster]:
    """The cluster, with refusals told in words.

    Raises:
        KitsError: it cannot be reached, or the person may not do this.
    """
    try:
        async with connect(kubeconfig) as cluster:
            yield cluster
    except ApiError as error:
        if error.status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED}:
            raise KitsError(
                f"Kits hold the vaults' keys, so this needs an administrator of namespace {home}, who may get, "
                f"list, create and patch Secrets there, and read namespaces and our kinds. {error}"
            ) from None
        raise KitsError(str(error)) from None


async def export(
    cluster: Cluster,
    home: str,
    directory: Path,
    *,
    policy: tuple[str, str] | None,
) -> list[Exported]:
    """Write the kits of all vaults, or of those of one (namespace, policy); see this module.

    Raises:
        KitsError: there is no such vault, or the directory cannot be written.
    """
    secrets = [
        secret
        for secret in await registry.every(cluster, home)
        if policy is None or registry.owner(secret) == policy
    ]
    if not secrets:
        whose = f" of policy {policy[1]} in namespace {policy[0]}" if policy else ""
        raise KitsError(
            f"There is no vault{whose} in namespace {home}. Is that where the operator runs, and did it look at "
            "the policy yet?"
        )
    who = await _whoami(cluster)
    _make(directory)
    return [await _export(cluster, home, directory, secret, who) for secret in secrets]


async def _export(
    cluster: Cluster, home: str, directory: Path, secret: Object, who: str
) -> Exported:
    namespace, policy = registry.owner(secret)
    name = secret["metadata"]["name"]
    try:
        vault = registry.registered(secret)
        vault.kit.keyring()  # a kit that opens nothing is no help, and must not count as one
    except (VaultError, KeyError, ValueError) as error:
        return Exported(namespace, policy, None, f"Secret {name} is damaged: {error}")
    kit = vault.kit
    gone = Exported(namespace, policy, None, "its vault was erased meanwhile")
    told = _record(kit, who)
    known = next((r for r in vault.exported if (r.kit, r.by) == (kit.id, who)), None)
    if known is None and not await registry.record(cluster, home, name, told):
        return gone
    file = directory / f"{_safe(namespace)}.{_safe(policy)}.{kit.id}.json"
    try:
        keep(file, kit.to_json())
    except OSError as error:
        return Exported(namespace, policy, None, f"{file}: {error.strerror}")
    written = told.model_copy(update={"written_at": _now()})
    if not await registry.record(cluster, home, name, written):
        file.unlink()
        return gone
    return Exported(namespace, policy, file)


def keep(file: Path, data: bytes) -> None:
    """Have a file with these bytes on the disk, which nobody else may read.

    Its name tells its content, so one that is there has the same bytes, or is none of ours.

    Raises:
        FileExistsError: something else has that name; it is left alone.
        OSError: it cannot be written.
    """
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".kit-")  # its mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as writer:
            writer.write(data)
            writer.flush()
            os.fsync(writer.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            if file.read_bytes() != data:
                raise
            file.chmod(0o600)
    finally:
        Path(draft).unlink()
    _settle(file.parent)


async def write_sheet(cluster: Cluster, home: str, directory: Path) -> Path:
    """Write `locations.yaml`: all that is known of where copies lie, with room for the credentials.

    Raises:
        KitsError: there is one that somebody filled credentials in, which is left alone.
    """
    entries, authorities = [], {}
    for body in await cluster.list(LOCATIONS):
        location = BackupLocation.model_validate(body)
        secret = await cluster.get(SECRETS, location.spec.credentials_secret_ref.name, home)
        entry = sheet_entry(location, sorted((secret or {}).get("data") or {}))
        if location.spec.ca_secret_ref is not None:
            own = await cluster.get(SECRETS, location.spec.ca_secret_ref.name, home)
            text = ((own or {}).get("data") or {}).get(_AUTHORITIES)
            if text:
                file = directory / f"{location.metadata.name}.{_AUTHORITIES}"
                authorities[file] = base64.b64decode(text)
                entry["caFile"] = file.name
        entries.append((entry, location.spec.credentials_secret_ref.name))
    _make(directory)
    for file, certificates in authorities.items():
        file.write_bytes(certificates)
    sheet = directory / _SHEET
    if _is_filled_in(sheet):
        raise KitsError(
            f"{sheet} has credentials in it and was left alone: move it away and export again, to learn of new "
            "locations."
        )
    with sheet.open("w") as writer:
        writer.write(sheet_text(entries, home))
        writer.flush()
        os.fsync(writer.fileno())
    return sheet


def sheet_entry(location: BackupLocation, keys: Sequence[str]) -> dict[str, Any]:
    """A location as `weddingbackup vault --locations` reads it, its credentials left empty."""
    spec = location.spec
    told = {
        "name": location.metadata.name,
        "provider": spec.provider.value,
        "region": spec.region,
        "bucket": spec.bucket,
        "prefix": spec.prefix,
        "endpoint": spec.endpoint,
    }
    return {k: v for k, v in told.items() if v} | {"credentials": dict.fromkeys(keys, "")}


def sheet_text(entries: Sequence[tuple[dict[str, Any], str]], home: str) -> str:
    """`locations.yaml`, of (entry, name of the Secret with its credentials)."""
    parts = [
        f"# {entry['name']}: the credentials are those of Secret {secret} in namespace {home}\n"
        + yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
        for entry, secret in entries
    ]
    return _HEAD + "".join(parts)


async def standings(cluster: Cluster, home: str) -> list[Standing]:
    """All vaults, whoever they belonged to, in the order of their policies."""
    uids = {n["metadata"]["name"]: n["metadata"]["uid"] for n in await cluster.list(NAMESPACES)}
    policies = await cluster.list(POLICIES)
    served = {
        registry.secret_name(uids.get(p["metadata"]["namespace"], ""), p["metadata"]["name"])
        for p in policies
    }
    found = []
    for secret in await registry.every(cluster, home):
        namespace, policy = registry.owner(secret)
        created = datetime.fromisoformat(secret["metadata"]["creationTimestamp"])
        try:
            vault = registry.registered(secret)
            coverage = kits.coverage(vault.exported, vault.kit.fingerprints())
            vault_id = vault.kit.vault_id
        except VaultError as error:
            message = f"Secret {secret['metadata']['name']} is damaged: {error}"
            vault_id, coverage = "", kits.Coverage(False, None, "VaultDamaged", message)
        there = secret["metadata"]["name"] in served
        found.append(Standing(vault_id, namespace, policy, there, created, coverage))
    return sorted(found, key=lambda s: (s.namespace, s.policy, s.founded))


async def bring(cluster: Cluster, home: str, kit: Kit, *, namespace: str, policy: str) -> None:
    """Register a kit's vault as that of a policy, before the policy is applied.

    Raises:
        KitsError: the policy has a vault already.
    """
    kit.keyring()
    who = await _whoami(cluster)
    now = _now()
    record = _record(kit, who).model_copy(update={"written_at": now})
    for secret in await registry.every(cluster, home):
        with contextlib.suppress(VaultError):
            if registry.registered(secret).kit.vault_id == kit.vault_id:
                whose = "/".join(registry.owner(secret))
                raise KitsError(f"This vault is registered already, as that of policy {whose}.")
    try:
        await registry.bring(cluster, home, kit, record, namespace=namespace, policy=policy)
    except ConflictError:
        raise KitsError(
            f"Policy {policy} in namespace {namespace} has another vault already: import before the policy is "
            "applied, or under another policy's name."
        ) from None


def _record(kit: Kit, who: str) -> KitRecord:
    return KitRecord(kit=kit.id, by=who, keys=kit.fingerprints(), announced_at=_now())


async def _whoami(cluster: Cluster) -> str:
    body: Object = {
        "apiVersion": SUBJECTS.api_version,
        "kind": SUBJECTS.kind,
        "metadata": {},
    }
    found = await cluster.create(SUBJECTS, body)
    who: str = found["status"]["userInfo"].get("username") or "unknown"
    return who


def _is_filled_in(sheet: Path) -> bool:
    """Whether a file holds anything that we did not write there; one that cannot be understood may."""
    try:
        found = yaml.safe_load(sheet.read_text())
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return True
    try:
        return any(any(entry["credentials"].values()) for entry in found or ())
    except (TypeError, KeyError, AttributeError):
        return True


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KitsError(f"{directory}: {error.strerror}") from None


def _settle(directory: Path) -> None:
    """Have the directory's entries on the disk too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _safe(name: str) -> str:
    """A name from an annotation as a part of a file's: it may lead nowhere else."""
    return re.sub(r"[^a-z0-9-]", "_", name)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
