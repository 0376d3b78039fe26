"""A vendor with `edit` in one namespace and a real kubeconfig forges what only operator and broker may make.

What is refused here is refused by the API server: by the chart's roles, its admission policies, or the
kinds' own rules. What else a vendor may try is tried end to end.
"""

import json

import pytest

from tests import objects
from tests.integration.hostile.conftest import Object, Town, pod_spec, worker_job
from weddingbackup.resources.broker import AUDIENCE
from weddingbackup.resources.names import LABEL_TASK, WORKER_ACCOUNT
from weddingbackup.rules.identity import UnknownError, bearer

pytestmark = pytest.mark.integration

DRY = "--dry-run=server"
MINE = "before-the-weekend"


def forbidden(answer: str) -> bool:
    """Whether a role is missing, which is another guard than an admission policy."""
    return " is forbidden: User " in answer and " cannot " in answer


def shown(answer: str) -> Object:
    """The object in an answer, behind the warnings that kubectl prints first."""
    assert "{" in answer, answer
    found: Object = json.loads(answer[answer.index("{") :])
    return found


def pod(account: str = "vendor", **metadata: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", **metadata},
        "spec": pod_spec(account),
    }


def account_of(town: Town, name: str) -> str:
    return f"system:serviceaccount:{town.mine}:{name}"


def reviewed(town: Town, token: str, audiences: list[str] | None) -> Object:
    """What the API server says of a token."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences},
    }
    create = ("create", "-o", "json", "-f", "-")
    return shown(town.home.cluster.kubectl(*create, input=json.dumps(review)))


def owner_of_worker(town: Town) -> Object:
    get = ("get", "pod", town.worker, "-n", town.mine, "-o", "json")
    [owner] = shown(town.home.cluster.kubectl(*get))["metadata"]["ownerReferences"]
    found: Object = owner
    return found


def test_a_pod_with_the_workers_account(town: Town) -> None:
    assert town.refused_by(town.vendor.creates(pod(WORKER_ACCOUNT), DRY), "worker-pods")


def test_a_pod_with_the_workers_labels(town: Town) -> None:
    answer = town.vendor.creates(pod(labels={LABEL_TASK: "backup"}), DRY)
    assert town.refused_by(answer, "worker-pods")


def test_a_pod_that_says_a_workers_job_is_its_owner(town: Town) -> None:
    forged = pod(WORKER_ACCOUNT, ownerReferences=[owner_of_worker(town)])
    assert town.refused_by(town.vendor.creates(forged, DRY), "worker-pods")


def test_a_pod_that_the_job_controller_would_adopt(town: Town) -> None:
    """An orphan with a Job's selector is taken up by the Job controller, and so gets a true owner."""
    uid = owner_of_worker(town)["uid"]
    labels = {"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid}
    forged = pod(WORKER_ACCOUNT, labels=labels)
    assert town.refused_by(town.vendor.creates(forged, DRY), "worker-pods")


def test_a_job_with_all_that_a_workers_has(town: Town) -> None:
    forged = worker_job("forged", town.mine, town.backup)
    assert town.refused_by(town.vendor.creates(forged, DRY), "worker-jobs")


def test_a_cron_job_that_makes_workers(town: Town) -> None:
    spec = worker_job("forged", town.mine, town.backup)["spec"]
    template = {"metadata": {"labels": {LABEL_TASK: "backup"}}, "spec": spec}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "forged"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template},
    }
    assert "created" in town.vendor.creates(cron)
    answer = town.vendor.tries("create", "job", "now", "--from=cronjob/forged")
    town.vendor.tries("delete", "cronjob", "forged")
    assert town.refused_by(answer, "worker-jobs"), answer


def test_another_template_in_the_workers_job(town: Town) -> None:
    answer = town.vendor.patches("job/backup", {"spec": {"parallelism": 2}}, DRY)
    assert town.refused_by(answer, "worker-jobs")


def test_another_image_in_the_workers_pod(town: Town) -> None:
    mine = {"spec": {"containers": [{"name": "worker", "image": "example.invalid/mine"}]}}
    answer = town.vendor.patches(f"pod/{town.worker}", mine, DRY)
    assert town.refused_by(answer, "worker-pods")


def test_a_container_beside_the_worker(town: Town) -> None:
    answer = town.vendor.tries(
        *("debug", town.worker, "--image=example.invalid/shell", "--profile=general"),
        *("--attach=false", "--target=worker"),
    )
    assert town.refused_by(answer, "worker-shells") or forbidden(answer), answer


@pytest.mark.parametrize("what", ["pod", "job"])
def test_the_phase_of_a_workers_pod_and_job(town: Town, what: str) -> None:
    name = town.worker if what == "pod" else "backup"
    answer = town.vendor.patches(f"{what}/{name}", {"status": {}}, "--subresource=status", DRY)
    assert forbidden(answer) or town.refused_by(answer, "worker-jobs"), answer


@pytest.mark.parametrize("bound", [False, True])
def test_a_token_of_the_workers_account(town: Town, bound: bool) -> None:
    options = ["--bound-object-kind=Pod", f"--bound-object-name={town.worker}"] if bound else []
    create = ("create", "token", WORKER_ACCOUNT, f"--audience={AUDIENCE}", *options)
    answer = town.vendor.tries(*create)
    assert town.refused_by(answer, "worker-tokens"), answer


def test_the_workers_account_made_or_changed(town: Town) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": WORKER_ACCOUNT},
    }
    assert town.refused_by(town.vendor.creates(account, DRY), "worker-accounts")
    changed = town.vendor.patches(f"sa/{WORKER_ACCOUNT}", {"secrets": [{"name": "mine"}]}, DRY)
    assert town.refused_by(changed, "worker-accounts")


def test_a_secret_that_holds_a_token_of_the_workers_account(town: Town) -> None:
    """The old kind of token has no pod and no audience: made by a controller, and good for nothing."""
    name = "kubernetes.io/service-account.name"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old", "annotations": {name: WORKER_ACCOUNT}},
    }
    assert "created" in town.vendor.creates(secret)
    here = ("secret/old", "-n", town.mine)
    filled = "--for=jsonpath={.data.token}"
    town.home.cluster.kubectl("wait", *here, filled, "--timeout=60s")
    get = ("get", "secret", "old", "-o", "go-template={{.data.token | base64decode}}")
    token = town.vendor.tries(*get)
    ours, anybodys = (reviewed(town, token, audiences) for audiences in ([AUDIENCE], None))
    town.vendor.tries("delete", "secret", "old")
    assert not ours["status"].get("authenticated")
    assert anybodys["status"]["authenticated"]  # it is good for the Kubernetes API
    anybodys["status"]["audiences"] = [AUDIENCE]  # and were it for us as well:
    with pytest.raises(UnknownError, match="bound to no pod"):
        bearer(anybodys)


@pytest.mark.parametrize("component", ["operator", "broker", "worker"])
def test_impersonation(town: Town, component: str) -> None:
    account = f"system:serviceaccount:{town.home.namespace}:{town.home.namespace}-{component}"
    answer = town.vendor.tries("get", "--raw=/apis", f"--as={account}")
    assert "cannot impersonate" in answer


@pytest.mark.parametrize(
    "who",
    [
        "--as=system:kube-controller-manager",
        "--as=system:serviceaccount:kube-system:job-controller",
        "--as-group=system:nodes",
        "--as-group=system:serviceaccounts:kube-system",
    ],
)
def test_impersonation_of_whom_the_guards_let_pass(town: Town, who: str) -> None:
    somebody = [] if who.startswith("--as=") else [f"--as={account_of(town, 'vendor')}"]
    answer = town.vendor.tries("get", "--raw=/apis", *somebody, who)
    assert "cannot impersonate" in answer, answer


def test_impersonation_of_the_workers_account(town: Town) -> None:
    """Whoever has the role edit may speak as any account of the namespace; this one may do nothing."""
    worker = f"--as={account_of(town, WORKER_ACCOUNT)}"
    assert forbidden(town.vendor.tries("get", "pods", worker))
    assert forbidden(town.vendor.creates(pod(), DRY, worker))
    token = ("create", "token", WORKER_ACCOUNT, f"--audience={AUDIENCE}", worker)
    assert forbidden(town.vendor.tries(*token))


@pytest.mark.parametrize("what", ["wbp/w-2026-1205-017", f"bj/{MINE}", "rr/bring-it-back"])
def test_the_status_of_ones_own_objects(town: Town, what: str) -> None:
    vault = {"status": {"vault": {"id": "0" * 32, "prefix": "stolen"}}}
    assert forbidden(town.vendor.patches(what, vault, "--subresource=status", DRY))
    changed = shown(town.vendor.patches(what, vault, "-o", "json"))
    assert "vault" not in (changed.get("status") or {})


@pytest.mark.parametrize("kind", ["backup_job", "recovery_request", "policy"])
def test_a_status_that_an_object_is_born_with(town: Town, kind: str) -> None:
    body = getattr(objects, kind)("born")
    body["status"] = {"message": "forged"}
    made = shown(town.vendor.creates(body, "-o", "json"))
    town.vendor.tries("delete", made["kind"], "born", "--wait=false")
    assert "status" not in made


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"policyRef": {"name": "another"}}},
        {"spec": {"scheduledAt": "2020-01-01T00:00:00Z"}},
    ],
    ids=json.dumps,
)
def test_an_order_is_changed_when_it_is_under_way(town: Town, patch: Object) -> None:
    answer = town.vendor.patches(f"bj/{MINE}", patch, DRY)
    assert "is invalid" in answer, answer
    assert "cannot" in answer


@pytest.mark.parametrize("what", ["labels", "annotations"])
def test_labels_and_quotas_of_ones_namespace(town: Town, what: str) -> None:
    mine = {"metadata": {what: {"backup.wedsync.io/quota-jobs": "1000"}}}
    assert forbidden(town.vendor.patches(f"namespace/{town.mine}", mine, DRY))


def test_a_location_of_ones_own(town: Town) -> None:
    assert forbidden(town.vendor.creates(objects.location("mine"), DRY))
    wide = {"spec": {"allowedNamespaces": None}}
    assert forbidden(town.vendor.patches(f"bl/{town.mine}", wide, DRY))


def test_a_shared_database_of_ones_own(town: Town) -> None:
    database = {
        "apiVersion": "backup.wedsync.io/v1alpha1",
        "kind": "BackupDatabase",
        "metadata": {"name": "mine"},
        "spec": {
            "connectionSecretRef": {"name": "wedsync-db"},
            "allowedNamespaces": {},
            "tables": [{"name": "guests", "owner": {"column": "id", "namespaceLabel": "mine"}}],
        },
    }
    assert forbidden(town.vendor.creates(database, DRY))


@pytest.mark.parametrize("what", ["secrets", "pods", "jobs", "configmaps"])
@pytest.mark.parametrize("verb", ["get", "create", "delete"])
def test_what_the_operator_has_at_home(town: Town, what: str, verb: str) -> None:
    can = town.vendor.tries("auth", "can-i", verb, what, "-n", town.home.namespace)
    assert can.strip() == "no"


@pytest.mark.parametrize("what", ["wbp", "bj", "rr", "secrets", "pods", "pods/exec"])
@pytest.mark.parametrize("verb", ["get", "create", "patch", "delete"])
def test_what_another_organisation_has(town: Town, what: str, verb: str) -> None:
    resource, _, part = what.partition("/")
    sub = [f"--subresource={part}"] if part else []
    can = town.vendor.tries("auth", "can-i", verb, resource, *sub, "-n", town.theirs)
    assert can.strip() == "no"


@pytest.mark.parametrize("kind", ["role", "rolebinding"])
def test_a_right_for_the_workers_account(town: Town, kind: str) -> None:
    what = {
        "role": ("--verb=get", "--resource=secrets"),
        "rolebinding": ("--clusterrole=edit", f"--serviceaccount={town.mine}:{WORKER_ACCOUNT}"),
    }[kind]
    assert forbidden(town.vendor.tries("create", kind, "forged", *what, DRY))


@pytest.mark.parametrize(
    "kind",
    ["validatingadmissionpolicies", "validatingadmissionpolicybindings", "clusterrolebindings"],
)
def test_the_guards_themselves(town: Town, kind: str) -> None:
    for verb in ("create", "patch", "delete"):
        can = town.vendor.tries("auth", "can-i", verb, kind)
        assert can.strip().splitlines()[-1] == "no"
