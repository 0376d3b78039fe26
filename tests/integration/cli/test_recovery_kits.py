"""`recovery-kit` against a real API server, and the commands of docs/disaster-recovery.md that need one."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster as TestCluster
from tests.integration.cli.program import Program
from tests.integration.cli.test_disaster_recovery import FENCES
from weddingbackup.kube import registry
from weddingbackup.kube.client import SECRETS, Cluster, connect
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules import kits
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration

COMMANDS = [text for language, text in FENCES if language == "bash"]
POLICY = "w-2026-1205-017"


@pytest.fixture
def elsewhere(cluster: TestCluster) -> Iterator[str]:
    """Where the operator runs in the new cluster, for which a namespace stands in."""
    name = f"test-{secrets.token_hex(6)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def program(crds: TestCluster, directory: Path, home: str) -> Program:
    settings = {"KUBECONFIG": str(crds.kubeconfig), "WEDDINGBACKUP_NAMESPACE": home}
    return Program(directory, settings)


def found_vault(crds: TestCluster, home: str, policy: str = POLICY) -> Kit:
    async def work() -> Kit:
        async with connect(str(crds.kubeconfig)) as cluster:
            return (await registry.adopt(cluster, home, namespace=home, policy=policy)).kit

    return asyncio.run(work())


def secret_of(crds: TestCluster, home: str, kit: Kit) -> dict[str, object]:
    selector = f"backup.wedsync.io/vault={kit.vault_id}"
    [found] = json.loads(crds.kubectl("get", "secrets", "-n", home, "-l", selector, "-o", "json"))[
        "items"
    ]
    return dict(found)


def kit_files(directory: Path) -> list[Path]:
    return [*directory.glob("*.json"), *directory.glob(".kit-*")]


def records(crds: TestCluster, home: str, kit: Kit) -> list[KitRecord]:
    secret: dict[str, dict[str, dict[str, str]]] = secret_of(crds, home, kit)  # type: ignore[assignment]
    return kits.recorded(secret["metadata"]["annotations"])


def test_the_pages_commands_with_a_cluster(
    crds: TestCluster, namespace: str, elsewhere: str, tmp_path: Path
) -> None:
    kit = found_vault(crds, namespace)
    here = program(crds, tmp_path, namespace)
    export, look, bring = (command.replace("bella-photography", namespace) for command in COMMANDS)
    before = here.run("recovery-kit", "status")
    assert (before.returncode, "NO" in before.stdout) == (1, True)

    done = here.shell(export)
    assert done.returncode == 0, done
    [file] = (tmp_path / "kits").glob("*.json")
    assert file.name == f"{namespace}.{POLICY}.{kit.id}.json"
    assert file.read_bytes() == kit.to_json()
    assert file.stat().st_mode & 0o777 == 0o600
    [record] = records(crds, namespace, kit)
    assert (record.kit, record.keys) == (kit.id, kit.fingerprints())
    assert record.by not in {"", "unknown"}
    assert record.written_at is not None

    done = here.shell(look)
    assert done.returncode == 0, done
    assert f"kit {kit.id} of vault {kit.vault_id}" in done.stdout

    (tmp_path / "kit.json").write_bytes(file.read_bytes())
    there = program(crds, tmp_path, elsewhere)
    done = there.shell(bring)
    assert done.returncode == 0, done
    assert found_vault_at(crds, elsewhere, namespace) == kit
    [brought] = records(crds, elsewhere, kit)
    assert brought.written_at is not None
    assert there.run("recovery-kit", "status").returncode == 0
    again = there.shell(bring)
    assert (again.returncode, "registered already" in again.stderr) == (1, True)


def found_vault_at(crds: TestCluster, home: str, namespace: str) -> Kit:
    async def work() -> Kit:
        async with connect(str(crds.kubeconfig)) as cluster:
            found = await registry.adopt(cluster, home, namespace=namespace, policy=POLICY)
            assert found.founded.year == 1  # of any age: its bytes are older than its Secret
            return found.kit

    return asyncio.run(work())


def test_exporting_again_changes_nothing_but_the_time(
    crds: TestCluster, namespace: str, tmp_path: Path
) -> None:
    kit = found_vault(crds, namespace)
    here = program(crds, tmp_path, namespace)
    one = ("recovery-kit", "export", "--namespace", namespace, "--policy", POLICY)
    for _ in range(2):
        done = here.run(*one, "--output", "kits")
        assert done.returncode == 0, done
    assert len(records(crds, namespace, kit)) == 1
    # A file of that name with other bytes is left alone, and the failure told.
    [file] = (tmp_path / "kits").glob("*.json")
    file.write_text("another's")
    done = here.run(*one, "--output", "kits")
    assert (done.returncode, file.read_text()) == (1, "another's")
    assert not list((tmp_path / "kits").glob(".kit-*"))
    sheet = tmp_path / "kits" / "locations.yaml"
    sheet.write_text("- name: x\n  credentials: {accessKeyId: mine}\n")
    done = here.run(*one, "--output", "kits")
    assert (done.returncode, "left alone" in done.stderr) == (1, True)
    assert "mine" in sheet.read_text()


def test_a_file_that_cannot_be_written_leaves_an_announcement_that_covers_nothing(
    crds: TestCluster, namespace: str, tmp_path: Path
) -> None:
    kit = found_vault(crds, namespace)
    here = program(crds, tmp_path, namespace)
    (tmp_path / "kits").mkdir()
    (tmp_path / "kits" / f"{namespace}.{POLICY}.{kit.id}.json").mkdir()
    done = here.run("recovery-kit", "export", "--all", "--output", "kits")
    assert done.returncode == 1
    [record] = records(crds, namespace, kit)
    assert record.written_at is None
    assert here.run("recovery-kit", "status").returncode == 1


def test_who_may_not_record_it_gets_no_kit(
    crds: TestCluster, namespace: str, tmp_path: Path
) -> None:
    found_vault(crds, namespace)
    crds.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    rights = ("--verb=get,list", "--resource=secrets", "-n", namespace)
    crds.kubectl("create", "role", "reader", *rights)
    who = f"--serviceaccount={namespace}:reader"
    crds.kubectl("create", "rolebinding", "reader", "--role=reader", who, "-n", namespace)
    token = crds.kubectl("create", "token", "reader", "-n", namespace).strip()
    settings = json.loads(Path(crds.kubeconfig).read_text())
    settings["users"][0]["user"] = {"token": token}
    (tmp_path / "reader").write_text(json.dumps(settings))
    here = program(crds, tmp_path, namespace)
    done = here.run(
        *("recovery-kit", "export", "--all", "--output", "kits", "--kubeconfig", "reader")
    )
    assert (done.returncode, "administrator of namespace" in done.stderr) == (1, True), done
    assert not list((tmp_path / "kits").glob("*"))


async def test_a_vault_that_is_erased_in_the_middle_leaves_no_file(
    crds: TestCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weddingbackup.controller import kits as export  # noqa: PLC0415  beside `rules.kits`

    async with connect(str(crds.kubeconfig)) as cluster:
        await registry.adopt(cluster, namespace, namespace=namespace, policy=POLICY)
        asked = registry.record

        async def record(cluster: Cluster, home: str, secret: str, told: KitRecord) -> bool:
            if told.written_at is not None:
                assert kit_files(tmp_path)
                await cluster.delete(SECRETS, secret, home)
            return await asked(cluster, home, secret, told)

        monkeypatch.setattr(registry, "record", record)
        [done] = await export.export(cluster, namespace, tmp_path, policy=None)
    assert (done.file, done.problem) == (None, "its vault was erased meanwhile")
    assert not kit_files(tmp_path)
