"""What a job may ask for: everything of its own vault's grammar, and nothing else, however it is written."""

import hashlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.broker import allow
from weddingbackup.broker.scope import Purpose, RefusedError, Scope
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import Put, RefusalCode
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import ObjectRef, VaultRef
from weddingbackup.stores import names as stores
from weddingbackup.vault.kit import Kit

KIT = Kit.found(random=random.Random(4).randbytes)
OWNER = ObjectRef(namespace="bella", name="one", uid="5f3c-uid")
DIGEST = hashlib.sha256(b"a pack").hexdigest()
OTHER = hashlib.sha256(b"another").hexdigest()
DAY = "snapshots/2026/12/05/"
MARK = f"marks/20261205t120000z-{DIGEST}"
KEY = next(name for name in KIT.objects if name.startswith("keys/timeline-"))

LONDON = BackupLocation.model_validate(
    {
        "metadata": {"name": "london"},
        "spec": {
            "provider": "S3",
            "region": "eu-west-2",
            "bucket": "weddings",
            "credentialsSecretRef": {"name": "london"},
        },
    }
)
BACKUP = Scope(
    purpose=Purpose.BACKUP,
    namespace="bella",
    labels={},
    pod="one-x7k2p",
    pod_uid="pod-uid",
    owner=OWNER,
    job_uid="job",
    policy="wedding",
    vault=VaultRef(id=KIT.vault_id, prefix=KIT.prefix),
    kit=KIT,
    classes=frozenset({DataClass.TIMELINE}),
    planned=frozenset({"london"}),
    locations={"london": LONDON},
    quorum=1,
    sources={"planning": DataClass.TIMELINE},
)
RESTORE = replace(BACKUP, purpose=Purpose.RESTORE)


def a_put(name: str, sha256: str = DIGEST) -> Put:
    return Put(location="london", name=name, size=6, sha256=sha256)


def refusal(error: pytest.ExceptionInfo[RefusedError]) -> RefusalCode:
    return error.value.refusal.code


@pytest.mark.parametrize("folder", ["packs", "index"])
@pytest.mark.parametrize("suffix", ["", ".r1", ".r9"])
def test_a_backup_stores_data_under_its_own_hash(folder: str, suffix: str) -> None:
    allow.put(BACKUP, a_put(f"{folder}/{DIGEST}{suffix}"))


@pytest.mark.parametrize("name", list(KIT.objects))
def test_a_backup_founds_a_location_with_the_kits_own_bytes(name: str) -> None:
    allow.put(BACKUP, a_put(name, hashlib.sha256(KIT.objects[name]).hexdigest()))


@pytest.mark.parametrize(
    "name",
    [
        f"packs/{OTHER}",  # other bytes than the name says
        f"index/{OTHER}.r1",
        "format",  # not the kit's bytes
        KEY,
        "keys/timeline-00-" + DIGEST,
        f"{DAY}{OWNER.uid}-{DIGEST}",  # manifests are the broker's to store
        f"{DAY}{OWNER.uid}-{DIGEST}.r1",
        f"packs/{DIGEST}.r0",
        f"packs/{DIGEST}.r10",
        f"packs/{DIGEST}/x",
        f"packs/{DIGEST}\n",
        f"packs/{DIGEST.upper()}",
        f"/packs/{DIGEST}",
        f"./packs/{DIGEST}",
        f"packs//{DIGEST}",
        f"packs/../packs/{DIGEST}",
        f"../another-vault/packs/{DIGEST}",
        f"packs%2f{DIGEST}",
        f"packs/%2e%2e/{DIGEST}",
        f"packs\\{DIGEST}",
        f"packs/{DIGEST}?versionId=1",
        f"packs/{DIGEST}\x00",
        f"journal/{DIGEST}",
        MARK,  # what is to go is the operator's to say
        f"{MARK}.r1",
        "fences/00000001",
        DIGEST,
        "packs/",
    ],
)
def test_a_backup_stores_nothing_else(name: str) -> None:
    with pytest.raises(RefusedError) as error:
        allow.put(BACKUP, a_put(name))
    assert refusal(error) is RefusalCode.NOT_YOURS


@pytest.mark.parametrize("name", [f"packs/{DIGEST}", f"index/{DIGEST}", "format", KEY])
def test_a_restore_stores_nothing(name: str) -> None:
    founding = KIT.objects.get(name)
    digest = DIGEST if founding is None else hashlib.sha256(founding).hexdigest()
    with pytest.raises(RefusedError):
        allow.put(RESTORE, a_put(name, digest))


def test_a_manifest_is_this_jobs_own() -> None:
    assert allow.manifest(BACKUP, f"{DAY}{OWNER.uid}-{DIGEST}") == DIGEST


@pytest.mark.parametrize(
    "name",
    [
        f"{DAY}another-uid-{DIGEST}",
        f"{DAY}{OWNER.uid}-x-{DIGEST}",
        f"{DAY}{OWNER.uid}-{DIGEST}.r1",
        f"{DAY}../{OWNER.uid}-{DIGEST}",
        f"snapshots/{OWNER.uid}-{DIGEST}",
        f"packs/{DIGEST}",
        f"{DAY}{OWNER.uid}-{DIGEST}\n",
    ],
)
def test_no_other_name_is_a_manifest_of_this_job(name: str) -> None:
    with pytest.raises(RefusedError):
        allow.manifest(BACKUP, name)


def test_a_restore_has_no_manifest() -> None:
    with pytest.raises(RefusedError):
        allow.manifest(RESTORE, f"{DAY}{OWNER.uid}-{DIGEST}")


@pytest.mark.parametrize(
    "name",
    [f"packs/{DIGEST}", f"index/{DIGEST}.r3", "format", KEY, MARK, f"{DAY}any-job-{DIGEST}.r1"],
)
def test_objects_of_the_vault_are_read(name: str) -> None:
    allow.get(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "packs",
        f"packs/{DIGEST}x",
        "jobs/one",
        f"journal/{DIGEST}",
        f"{MARK}.r1",
        MARK.upper(),
        f"marks/{DIGEST}",
        "fences/00000001",
        DAY,
        f"{DAY}one",
        "format/x",
    ],
)
def test_nothing_else_is_read(name: str) -> None:
    with pytest.raises(RefusedError):
        allow.get(name)


@given(
    st.text(max_size=80)
    | st.from_regex(r"(\.\./|/|%2e|packs/|keys/|snapshots/){1,5}[0-9a-f]{0,64}", fullmatch=True)
)
def test_whatever_passes_leads_out_of_no_prefix(name: str) -> None:
    try:
        allow.get(name)
    except RefusedError:
        return
    assert stores.is_name(name)
    assert ".." not in name.split("/")


@pytest.mark.parametrize(
    "prefix", ["packs/", "packs/0a", "index/", "keys/", "format", "marks/", DAY]
)
def test_the_vault_is_listed_by_its_folders(prefix: str) -> None:
    allow.listing(prefix)


@pytest.mark.parametrize(
    "prefix", ["", "/", "p", "../", "packs/../", "packs//", "jobs/", "%70acks/", "fences/"]
)
def test_nothing_else_is_listed(prefix: str) -> None:
    with pytest.raises(RefusedError):
        allow.listing(prefix)


def test_a_location_is_one_of_the_jobs_own() -> None:
    assert allow.location(BACKUP, "london") is LONDON
    for name in ("paris", "LONDON", "london/", ""):
        with pytest.raises(RefusedError) as error:
            allow.location(BACKUP, name)
        assert refusal(error) is RefusalCode.NOT_YOURS


def test_keys_are_of_the_jobs_classes_and_the_vaults_own() -> None:
    given_out = allow.keys(BACKUP)
    assert {key.class_name for key in given_out} == {"Vault", "Timeline"}
    secrets = {bytes(key.secret) for key in given_out} | {bytes(key.chunk_key) for key in given_out}
    assert not secrets & set(KIT.wrapping_keys.values())


def test_a_scope_shows_no_key() -> None:
    shown = f"{BACKUP} {BACKUP!r}"
    for key in KIT.wrapping_keys.values():
        assert repr(key) not in shown
        assert key.hex() not in shown
