import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.kube import jobs
from weddingbackup.kube.client import BACKUPS
from weddingbackup.kube.jobs import AT_HOME, Owner, Platform, Shape, Work
from weddingbackup.resources import broker, names, tasks
from weddingbackup.resources.common import Privilege, Provider

PLATFORM = Platform(namespace="home", image="image:1", service_account="worker")
OWNER = Owner(BACKUPS, "vendor", "one", "u-1")
TASK = tasks.EraseTask(
    vault=tasks.VaultRef(id="v", prefix="x"),
    locations=[
        tasks.LocationAccess(name="london", provider=Provider.S3, bucket="b", region="eu-west-2")
    ],
)
dns_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)


def build(shape: Shape | None = None, work: Work = Work.BACKUP, **more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "platform": PLATFORM,
        "shape": shape or Shape(),
        "mounts": [
            jobs.connection_mount("planning", "db", "uri"),
            jobs.claim_mount("photos", "claim", read_only=True),
        ],
        "labels": {names.LABEL_POLICY: "wedding"},
        "owner": OWNER,
        **more,
    }
    return jobs.worker_job("bj-one-12345678", work, TASK, **arguments)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    [container] = pod_of(job)["containers"]
    found: dict[str, Any] = container
    return found


@given(dns_names, dns_names, st.uuids())
def test_names_are_the_parents_alone_and_short_enough(one: str, two: str, uid: object) -> None:
    name = jobs.job_name("cp", one, two, uid=str(uid))
    assert name == jobs.job_name("cp", one, two, uid=str(uid))
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


def test_names_of_different_parents_differ() -> None:
    made = {
        jobs.job_name("cp", "a", "b", uid="1"),
        jobs.job_name("cp", "a", "b", uid="2"),
        jobs.job_name("cp", "a-b", uid="1"),
        jobs.job_name("cp", "a" * 60, "b", uid="1"),
        jobs.job_name("cp", "a" * 60, "c", uid="1"),
    }
    assert len(made) == 5


def test_the_task_reaches_the_pod_and_no_secret_does() -> None:
    variables = {each["name"]: each["value"] for each in container_of(build())["env"]}
    assert tasks.EraseTask.model_validate(json.loads(variables[tasks.VARIABLE])) == TASK
    assert all("valueFrom" not in each for each in container_of(build())["env"])


def test_files_are_where_workers_look_for_them() -> None:
    job = build()
    volumes = {volume["name"]: volume for volume in pod_of(job)["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container_of(job)["volumeMounts"]}
    assert set(mounts) == {
        "/scratch",
        "/var/run/secrets/weddingbackup",
        "/etc/weddingbackup/sources/planning",
        "/data/photos",
    }
    assert all(mount["name"] in volumes for mount in mounts.values())
    claim = volumes[mounts["/data/photos"]["name"]]["persistentVolumeClaim"]
    assert claim == {"claimName": "claim", "readOnly": True}
    assert mounts["/data/photos"]["readOnly"] is True


@pytest.mark.parametrize("privilege", Privilege)
def test_no_worker_gets_more_than_its_level_allows(privilege: Privilege) -> None:
    job = build(Shape(privilege=privilege))
    security = container_of(job)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    assert pod_of(job)["automountServiceAccountToken"] is False
    assert pod_of(job)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    root = privilege is Privilege.ROOT
    assert ("add" in security["capabilities"]) is root
    assert (pod_of(job)["securityContext"]["runAsUser"] == 0) is root


def test_a_policys_user_and_group_are_taken() -> None:
    shape = Shape(run_as_user=1000, run_as_group=2000, fs_group=3000)
    security = pod_of(build(shape))["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (
        1000,
        2000,
        3000,
    )
    assert security["runAsNonRoot"] is True


def test_a_refusal_is_final_and_a_disruption_is_no_failure() -> None:
    final, ignored = build()["spec"]["podFailurePolicy"]["rules"]
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == [3]
    assert ignored["action"] == "Ignore"
    assert build()["spec"]["podReplacementPolicy"] == "Failed"


def test_the_same_parent_gives_the_same_job() -> None:
    assert build() == build()


def test_only_work_that_may_be_done_again_is_cleaned_away_before_its_owner() -> None:
    def kept(work: Work) -> bool:
        job = jobs.worker_job(
            "x-12345678",
            work,
            TASK,
            platform=PLATFORM,
            shape=Shape(),
            mounts=[],
            labels={},
            owner=OWNER,
        )
        return "ttlSecondsAfterFinished" not in job["spec"]

    # A restore whose Job is gone would run again, over what was written since.
    assert {work for work in Work if kept(work)} == {Work.RESTORE, Work.ERASE}


@pytest.mark.parametrize("work", Work)
def test_credentials_are_never_beside_an_organisations_people(work: Work) -> None:
    job = build(work=work, mounts=[])
    pod = pod_of(job)
    paths = {mount["mountPath"] for mount in container_of(job)["volumeMounts"]}
    if work in AT_HOME:
        assert (job["metadata"]["namespace"], pod["serviceAccountName"]) == ("home", "worker")
        assert paths == {"/scratch"}
        assert "ownerReferences" not in job["metadata"]
    else:
        assert job["metadata"]["namespace"] == "vendor"
        assert pod["serviceAccountName"] == names.WORKER_ACCOUNT
        assert paths == {"/scratch", "/var/run/secrets/weddingbackup"}
    assert jobs.is_owned_by(job, "u-1")
    assert not jobs.is_owned_by(job, "u-2")
    assert jobs.owner_of(job, "home") == OWNER


def test_a_token_opens_the_broker_alone_and_not_for_long() -> None:
    [volume] = [each for each in pod_of(build())["volumes"] if "projected" in each]
    [source] = volume["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "audience": broker.AUDIENCE,
        "expirationSeconds": 600,
        "path": "token",
    }


def test_an_owner_told_by_labels_is_believed_at_home_alone() -> None:
    job = build(work=Work.COPY, mounts=[])
    job["metadata"]["namespace"] = "vendor"
    assert jobs.owner_of(job, "home") is None
    stranger = {"metadata": {"name": "x", "namespace": "home", "labels": {}}}
    assert jobs.owner_of(stranger, "home") is None


def test_credentials_are_where_workers_look_for_them() -> None:
    mounts = [
        jobs.location_mount("london", "credentials", None),
        jobs.location_mount("paris", "credentials", "authorities"),
    ]
    job = build(work=Work.COPY, mounts=mounts)
    paths = {mount["mountPath"] for mount in container_of(job)["volumeMounts"]}
    assert paths == {
        "/scratch",
        *(f"/etc/weddingbackup/locations/{x}" for x in ("london", "paris")),
    }


def test_limits_and_deadline_are_the_policys() -> None:
    shape = replace(Shape(), resources={"limits": {"memory": "2Gi"}}, deadline_seconds=90)
    job = build(shape)
    assert container_of(job)["resources"] == {"limits": {"memory": "2Gi"}}
    assert job["spec"]["activeDeadlineSeconds"] == 90
