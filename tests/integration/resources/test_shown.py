"""What people see of our kinds: tables, explanations, names, and a status that is stored as written."""

from typing import Any

import pytest

from tests import objects
from tests.cluster import Cluster
from tests.integration.resources.conftest import ApiServer
from weddingbackup.resources import schema

pytestmark = pytest.mark.integration

MOMENT = "2026-11-23T20:00:00Z"
LATER = "2099-01-01T03:30:00Z"


def condition(kind: str, status: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "observedGeneration": 1,
        "lastTransitionTime": MOMENT,
        "reason": "ForTheTest",
        "message": "As the test says.",
    }


def row(api: ApiServer, kind: str) -> dict[str, str]:
    """The one row of `kubectl get`, by column; cells of a test have no spaces."""
    head, line = api.cluster.kubectl("get", kind, "--namespace", api.namespace).splitlines()
    return dict(zip(head.split(), line.split(), strict=True))


def test_a_policys_row_says_whether_the_wedding_is_protected(own_api: ApiServer) -> None:
    policy = objects.policy()
    own_api.create(policy)
    own_api.write_status(
        policy,
        {
            "phase": "Active",
            "observedGeneration": 1,
            "conditions": [condition("Ready", "True"), condition("Protected", "True")],
            "copies": "5/5",
            "newestPoint": {"time": MOMENT, "backupJob": "b", "manifest": "snapshots/m"},
            "nextBackupTime": LATER,
        },
    )
    shown = row(own_api, "wbp")
    assert shown.pop("NEWEST") not in {"", "<invalid>"}
    assert shown.pop("AGE")
    assert shown == {
        "NAME": "w-2026-1205-017",
        "WEDDING": "w-2026-1205-017",
        "DATE": "2026-12-05",
        "PROTECTED": "True",
        "COPIES": "5/5",
        "NEXT": LATER,
    }


def test_a_jobs_row_says_how_far_it_is(own_api: ApiServer) -> None:
    job = objects.backup_job()
    own_api.create(job)
    own_api.write_status(
        job,
        {
            "phase": "Running",
            "progress": {"bytesDone": 42, "bytesTotal": 100, "percent": 42},
            "committedCopies": "3/5",
            "startedAt": MOMENT,
        },
    )
    shown = row(own_api, "bj")
    assert (shown["POLICY"], shown["REASON"]) == ("w-2026-1205-017", "Manual")
    assert (shown["PHASE"], shown["PROGRESS(%)"], shown["COPIES"]) == ("Running", "42", "3/5")


def test_a_requests_row_says_what_was_recovered_and_how_fast(own_api: ApiServer) -> None:
    request = objects.recovery_request(urgency="Critical")
    own_api.create(request)
    own_api.write_status(
        request,
        {
            "phase": "Completed",
            "recoveredTo": MOMENT,
            "elapsedSeconds": 21.5,
            "objectiveSeconds": 60,
            "locationsUsed": 4,
        },
    )
    shown = row(own_api, "rr")
    assert (shown["PHASE"], shown["RECOVERED-TO"]) == ("Completed", MOMENT)
    assert (shown["ELAPSED(S)"], shown["OBJECTIVE(S)"], shown["FROM"]) == ("21.5", "60", "4")


def test_kubectl_waits_for_our_conditions(own_api: ApiServer) -> None:
    job = objects.backup_job()
    own_api.create(job)
    own_api.write_status(job, {"conditions": [condition("Ready", "True")]})
    name = job["metadata"]["name"]
    own_api.cluster.kubectl(
        *("wait", f"bj/{name}", "--for=condition=Ready", "--namespace", own_api.namespace),
        "--timeout=10s",
    )


def test_a_status_gets_no_defaults(own_api: ApiServer) -> None:
    job = objects.backup_job()
    own_api.create(job)
    rows = [{"name": "london-s3", "phase": "Uploading"}]
    assert own_api.write_status(job, {"locations": rows})["status"] == {"locations": rows}


def test_a_status_cannot_be_given_with_the_object(own_api: ApiServer) -> None:
    created = own_api.create(objects.backup_job() | {"status": {"phase": "Completed"}})
    assert "status" not in created


def test_a_wrong_phase_is_refused(own_api: ApiServer) -> None:
    job = objects.backup_job()
    own_api.create(job)
    with pytest.raises(Exception, match="supported values"):
        own_api.write_status(job, {"phase": "Done"})


def test_our_kinds_are_found_by_category_and_short_name(crds: Cluster) -> None:
    listed = crds.kubectl("api-resources", "--categories=weddings", "--no-headers")
    found = {line.split()[1]: line.split()[0] for line in listed.splitlines()}
    assert found == {kind.definition.short: kind.definition.plural for kind in schema.KINDS}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("wbp.spec.sources.dataClass", "Timeline, Guests, Contracts"),
        ("wbp.spec.redundancy.quorum", "must have confirmed every byte"),
        ("rr.spec.pointInTime", "not later than this moment"),
        ("bl.spec.credentialsSecretRef", "accessKeyId, secretAccessKey"),
        ("bj.status.locations.phase", "it is caught up later"),
    ],
)
def test_kubectl_explains_in_plain_words(crds: Cluster, field: str, words: str) -> None:
    assert words in " ".join(crds.kubectl("explain", field).split())


def test_jobs_are_selected_by_their_policy(own_api: ApiServer) -> None:
    own_api.create(objects.backup_job("one"))
    own_api.create(objects.backup_job("two", policyRef={"name": "another"}))
    selector = ("--field-selector", "spec.policyRef.name=another", "-o", "name")
    found = own_api.cluster.kubectl("get", "bj", "--namespace", own_api.namespace, *selector)
    assert found.split() == ["backupjob.backup.wedsync.io/two"]
