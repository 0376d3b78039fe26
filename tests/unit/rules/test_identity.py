"""From a reviewed token to the status that names its Job: one wrong link, and nobody is served."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import backup
from weddingbackup.resources.broker import AUDIENCE
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.rules import identity
from weddingbackup.rules.identity import Reference, UnknownError

Object = dict[str, Any]

POD = Reference("Pod", "bella", "one-x7k2p", "pod-uid")
JOB = Reference("Job", "bella", "one", "job-uid")
BACKUP = Reference("BackupJob", "bella", "one", "uid-of-one")
REQUEST = Reference("RecoveryRequest", "bella", "back", "request-uid")

REVIEW: Object = {
    "status": {
        "authenticated": True,
        "audiences": [AUDIENCE],
        "user": {
            "username": "system:serviceaccount:bella:weddingbackup-worker",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["one-x7k2p"],
                "authentication.kubernetes.io/pod-uid": ["pod-uid"],
            },
        },
    }
}


def owned_by(kind: str, api_version: str, name: str, uid: str) -> list[Object]:
    reference = {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}
    return [{**reference, "controller": True}]


A_POD: Object = {
    "metadata": {
        "uid": "pod-uid",
        "ownerReferences": owned_by("Job", "batch/v1", "one", "job-uid"),
    },
    "spec": {"serviceAccountName": "weddingbackup-worker"},
    "status": {"phase": "Running"},
}
A_JOB: Object = {
    "metadata": {
        "uid": "job-uid",
        "ownerReferences": owned_by("BackupJob", "backup.wedsync.io/v1alpha1", "one", "uid-of-one"),
    },
    "status": {"conditions": [{"type": "Complete", "status": "False"}]},
}


def changed(body: Object, path: str, value: Any) -> Object:
    """A copy with one field set, or left away where the value is None."""
    copy = deepcopy(body)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = copy
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def refused(function: Callable[[], object]) -> None:
    with pytest.raises(UnknownError):
        function()


def test_a_workers_token_leads_to_its_object() -> None:
    pod = identity.bearer(REVIEW)
    job = identity.job_of(pod, A_POD)
    assert (pod, job, identity.owner_of(job, A_JOB)) == (POD, JOB, BACKUP)


USER = "status/user"
EXTRA = f"{USER}/extra"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", None),
        ("status/authenticated", False),
        ("status/authenticated", None),
        ("status/audiences", ["https://kubernetes.default.svc"]),
        ("status/audiences", []),
        ("status/audiences", None),
        (f"{USER}/username", "system:serviceaccount:bella:default"),
        (f"{USER}/username", "system:serviceaccount:bella:weddingbackup-worker:x"),
        (f"{USER}/username", "system:serviceaccount:bella:x:weddingbackup-worker"),
        (f"{USER}/username", "bella:weddingbackup-worker"),
        (f"{USER}/username", "kubernetes-admin"),
        (f"{USER}/username", None),
        (EXTRA, None),
        (EXTRA, {"authentication.kubernetes.io/pod-name": ["one-x7k2p"]}),
        (EXTRA, {"authentication.kubernetes.io/pod-uid": ["pod-uid"]}),
        (
            EXTRA,
            {
                "authentication.kubernetes.io/pod-name": ["one-x7k2p", "two"],
                "authentication.kubernetes.io/pod-uid": ["pod-uid"],
            },
        ),
    ],
)
def test_another_token_is_nobodys(path: str, value: Any) -> None:
    refused(lambda: identity.bearer(changed(REVIEW, path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata/uid", "a-later-pod-of-this-name"),
        ("metadata/deletionTimestamp", "2026-12-05T12:00:00Z"),
        ("status/phase", "Succeeded"),
        ("status/phase", "Failed"),
        ("status/phase", None),
        ("spec/serviceAccountName", "default"),
        ("spec/serviceAccountName", None),
        ("metadata/ownerReferences", None),
        ("metadata/ownerReferences/0/controller", False),
        ("metadata/ownerReferences/0/kind", "ReplicaSet"),
        ("metadata/ownerReferences/0/apiVersion", "forged.io/v1"),
        (
            "metadata/ownerReferences",
            2 * owned_by("Job", "batch/v1", "one", "job-uid"),
        ),
    ],
)
def test_another_pod_is_no_worker(path: str, value: Any) -> None:
    refused(lambda: identity.job_of(POD, changed(A_POD, path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata/uid", "a-later-job-of-this-name"),
        ("metadata/deletionTimestamp", "2026-12-05T12:00:00Z"),
        ("metadata/ownerReferences", None),
        ("metadata/ownerReferences/0/controller", None),
        ("metadata/ownerReferences/0/kind", "WeddingBackupPolicy"),
        ("metadata/ownerReferences/0/apiVersion", "forged.io/v1alpha1"),
        ("status/conditions", [{"type": "Complete", "status": "True"}]),
        ("status/conditions", [{"type": "Failed", "status": "True"}]),
        ("status/conditions", [{"type": "FailureTarget", "status": "True"}]),
    ],
)
def test_another_job_is_not_served(path: str, value: Any) -> None:
    refused(lambda: identity.owner_of(JOB, changed(A_JOB, path, value)))


def test_what_is_gone_is_not_served() -> None:
    refused(lambda: identity.job_of(POD, None))
    refused(lambda: identity.owner_of(JOB, None))


RUNNING: Object = {"phase": "Running", "job": {"name": "one", "uid": "job-uid"}}


def test_a_running_backup_serves_the_job_that_its_status_names() -> None:
    identity.backup_under_way(BACKUP, JOB, backup(status=RUNNING))


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Running"},
        {**RUNNING, "job": {"name": "one", "uid": "forged-job"}},
        {**RUNNING, "job": {"name": "one"}},
        {
            **RUNNING,
            "conditions": [
                {
                    "type": "Worked",
                    "status": "True",
                    "reason": "WorkerEnded",
                    "lastTransitionTime": "2026-12-05T12:00:00Z",
                }
            ],
        },
        *({**RUNNING, "phase": p} for p in ("Pending", "Completed", "Failed", "Cancelled")),
    ],
)
def test_another_backup_does_not(status: Object) -> None:
    refused(lambda: identity.backup_under_way(BACKUP, JOB, backup(status=status)))


def test_a_cancelled_or_later_backup_does_not() -> None:
    refused(lambda: identity.backup_under_way(BACKUP, JOB, backup(status=RUNNING, cancel=True)))
    later = Reference("BackupJob", "bella", "one", "uid-of-the-one-before")
    refused(lambda: identity.backup_under_way(later, JOB, backup(status=RUNNING)))


def test_a_job_without_uid_is_none_of_a_backup_that_has_no_job_yet() -> None:
    nameless = Reference("Job", "bella", "one", "")
    status = {**RUNNING, "job": {"name": "one", "uid": ""}}
    refused(lambda: identity.backup_under_way(BACKUP, nameless, backup(status=status)))


def request(*rows: Object, phase: str = "Recovering", cancel: bool = False) -> RecoveryRequest:
    return RecoveryRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "bella", "uid": "request-uid"},
            "spec": {"policyRef": {"name": "wedding"}, "cancel": cancel},
            "status": {"phase": phase, "sources": list(rows)},
        }
    )


def row(name: str, uid: str | None, phase: str = "Running") -> Object:
    return {"name": name, "dataClass": "Timeline", "jobUid": uid, "phase": phase}


def test_a_recovery_serves_each_job_for_its_own_source() -> None:
    found = identity.recovery_under_way(
        REQUEST, JOB, request(row("guests", "another"), row("planning", "job-uid"))
    )
    assert found.name == "planning"


@pytest.mark.parametrize(
    "found",
    [
        request(),
        request(row("planning", None)),
        request(row("planning", "forged-job")),
        request(row("planning", "job-uid", "Completed")),
        request(row("planning", "job-uid", "Failed")),
        request(row("planning", "job-uid"), row("guests", "job-uid")),
        request(row("planning", "job-uid"), cancel=True),
        *(
            request(row("planning", "job-uid"), phase=phase)
            for phase in ("Planning", "Completed", "PartiallyFailed", "Failed", "Cancelled")
        ),
    ],
)
def test_another_recovery_serves_nobody(found: RecoveryRequest) -> None:
    refused(lambda: identity.recovery_under_way(REQUEST, JOB, found))


def test_a_later_request_of_the_name_serves_nobody() -> None:
    before = Reference("RecoveryRequest", "bella", "back", "uid-of-the-one-before")
    refused(lambda: identity.recovery_under_way(before, JOB, request(row("planning", "job-uid"))))


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4))
def test_labels_and_annotations_count_for_nothing(told: dict[str, str]) -> None:
    for body, step, link in ((A_POD, identity.job_of, POD), (A_JOB, identity.owner_of, JOB)):
        decorated = changed(body, "metadata/labels", told)
        decorated = changed(decorated, "metadata/annotations", told)
        assert step(link, decorated) == step(link, body)
