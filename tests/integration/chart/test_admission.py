"""Nobody can make, borrow or change a worker but who is meant to, and nobody else's pods are touched.

People have the cluster's own roles edit and admin in one organisation's namespace.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import yaml

from tests import chart
from tests.cluster import Cluster
from tests.integration.chart.shapes import (
    Object,
    account,
    job,
    owner,
    pod,
    pod_spec,
    workload,
)
from weddingbackup.resources.broker import AUDIENCE
from weddingbackup.resources.names import LABEL_OWNER, LABEL_POLICY, LABEL_TASK, WORKER_ACCOUNT

pytestmark = pytest.mark.integration

PEOPLE = ("editor", "administrator")
_MANAGER = "system:kube-controller-manager"
"""All controllers' one name in some clusters; here it is given all rights, as it has them there."""
_ACCOUNTS = "system:serviceaccount:kube-system:service-account-controller"
_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Town:
    """A cluster with the policies: the operator's namespace, and one organisation's."""

    cluster: Cluster
    home: str
    shop: str

    @property
    def operator(self) -> str:
        return f"system:serviceaccount:{self.home}:{self.home}-operator"

    @property
    def keeper(self) -> str:
        return f"{self.home}-worker"

    def run(self, who: str | None, *arguments: str, body: Object | None = None) -> str:
        """What kubectl says to somebody (None: an administrator) in the shop, errors included."""
        text = None if body is None else json.dumps(body)
        somebody = [*([f"--as={who}"] if who else []), f"--namespace={self.shop}"]
        somebody += ["--as-group=system:masters"] if who == _MANAGER else []
        return self.cluster.kubectl(*arguments, *somebody, input=text, check=False)

    def create(self, who: str, body: Object, *options: str) -> str:
        return self.run(who, "create", *options, "-f", "-", body=body)

    def try_create(self, who: str, body: Object) -> str:
        return self.create(who, body, "--dry-run=server")

    def patch(self, who: str, what: str, patch: Object) -> str:
        dry = ("--dry-run=server", "--type=merge", "-p", json.dumps(patch))
        return self.run(who, "patch", what, *dry)

    def refused(self, answer: str, policy: str) -> bool:
        return f"'{self.home}-{self.home}-{policy}' with binding" in answer and "denied" in answer


@pytest.fixture(scope="module")
def town(cluster: Cluster) -> Iterator[Town]:
    """The policies and the accounts' rights; people with the cluster's own roles."""
    name = f"test-{secrets.token_hex(6)}"
    town = Town(cluster, name, f"{name}-shop")
    for namespace in (town.home, town.shop):
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, f"{name}=")
        # Made here, for the pods: the namespace's own appears a moment later.
        cluster.kubectl("create", "serviceaccount", "someone", "--namespace", namespace)
    for who, role in zip(PEOPLE, ("edit", "admin"), strict=True):
        bind = ("create", "rolebinding", role, f"--clusterrole={role}", f"--user={who}")
        cluster.kubectl(*bind, "--namespace", town.shop)
    # Before the policies: without it Kubernetes itself refuses its pods.
    cluster.kubectl("create", "serviceaccount", WORKER_ACCOUNT, "--namespace", town.shop)
    rendered = chart.template("--set=crds.install=false", release=name, namespace=name)
    rights = [
        body
        for body in chart.objects(rendered)
        if "Role" in body["kind"] and not body["metadata"]["name"].endswith(("-view", "-edit"))
    ]
    policies = chart.admission(name, release=name, namespace=name)
    manifest = yaml.safe_dump_all([*rights, *policies])
    cluster.kubectl("apply", "-f", "-", input=manifest)
    _wait_for_policies(town)
    yield town
    # The policies are still there: what they keep apart can be deleted under them.
    for namespace in (town.shop, town.home):
        cluster.kubectl("delete", "namespace", namespace, "--timeout=120s")
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", input=manifest)


def _wait_for_policies(town: Town) -> None:
    """The API server takes a new policy up a moment after it was written."""
    deadline = time.monotonic() + _WAIT_SECONDS
    attempts: dict[str, Callable[[], str]] = {
        "worker-pods": lambda: town.try_create("editor", pod("forged", WORKER_ACCOUNT)),
        "worker-jobs": lambda: town.try_create("editor", job("forged", WORKER_ACCOUNT)),
        "worker-accounts": lambda: town.try_create("editor", account(WORKER_ACCOUNT)),
        "worker-tokens": lambda: town.run("editor", "create", "token", WORKER_ACCOUNT),
        "operators-jobs": lambda: town.try_create(town.operator, job("forged", "someone")),
        "operators-accounts": lambda: town.try_create(town.operator, account("forged")),
    }
    for policy, attempt in attempts.items():
        while not town.refused(answer := attempt(), policy):
            assert time.monotonic() < deadline, answer
            time.sleep(0.5)


TASK = {LABEL_TASK: "backup"}


@pytest.fixture(scope="module")
def worker(town: Town) -> str:
    """A worker's pod, made as all are: the operator makes its Job, and resumes it."""
    body = job("backup", WORKER_ACCOUNT, labels=TASK, inner=TASK, suspend=True)
    assert "created" in (answer := town.create(town.operator, body)), answer
    resume = ("--type=merge", "-p", '{"spec": {"suspend": false}}')
    assert "patched" in (answer := town.run(town.operator, "patch", "job/backup", *resume)), answer
    return pod_of(town, "batch.kubernetes.io/job-name=backup")


@pytest.fixture(scope="module")
def ordinary(town: Town) -> str:
    """A pod and a Job of the organisation's own, which are no worker's."""
    for body in (pod("shop"), job("tidy", suspend=True)):
        assert "created" in (answer := town.create("editor", body)), answer
    return "pod/shop"


def made_or_refused(town: Town, name: str) -> str:
    """A workload's first pod, or why it has none, as events say."""
    deadline = time.monotonic() + _WAIT_SECONDS
    failed = ("get", "events", "--field-selector=reason=FailedCreate")
    row = "-o=jsonpath={range .items[*]}{.involvedObject.name}: {.message}{'\\n'}{end}"
    pods = ("get", "pods", "-l", f"app={name}", "-o", "name")
    while True:
        said = [line for line in town.run(None, *failed, row).splitlines() if line.startswith(name)]
        said += town.run(None, *pods).split()
        if said:
            return said[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def pod_of(town: Town, selector: str) -> str:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (names := town.run(None, "get", "pods", "-l", selector, "-o", "name").split()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return names[0]


FORGED_PODS = {
    "account": pod("p", WORKER_ACCOUNT),
    "label": pod("p", labels=TASK),
    "both": pod("p", WORKER_ACCOUNT, labels=TASK),
    "owner": pod("p", WORKER_ACCOUNT, labels=TASK, ownerReferences=owner("Job")),
    "empty label": pod("p", labels={LABEL_TASK: ""}),
    "old field": {
        **pod("p"),
        "spec": {
            **{key: value for key, value in pod_spec("").items() if key != "serviceAccountName"},
            "serviceAccount": WORKER_ACCOUNT,
        },
    },
}
FORGED_JOBS = {
    "account": job("j", WORKER_ACCOUNT),
    "label": job("j", labels=TASK),
    "pods' label": job("j", inner=TASK),
    "suspended": job("j", WORKER_ACCOUNT, suspend=True),
}


@pytest.mark.parametrize("who", PEOPLE)
class TestPeople:
    @pytest.mark.parametrize("forged", FORGED_PODS.values(), ids=FORGED_PODS)
    def test_make_no_worker_pod(self, town: Town, who: str, forged: Object) -> None:
        answer = town.try_create(who, forged)
        assert town.refused(answer, "worker-pods"), answer

    @pytest.mark.parametrize("forged", FORGED_JOBS.values(), ids=FORGED_JOBS)
    def test_make_no_worker_job(self, town: Town, who: str, forged: Object) -> None:
        answer = town.try_create(who, forged)
        assert town.refused(answer, "worker-jobs"), answer

    @pytest.mark.parametrize(
        "patch",
        [
            {"metadata": {"labels": {LABEL_TASK: None}}},
            {"metadata": {"labels": {LABEL_TASK: "restore"}}},
            {"metadata": {"labels": {LABEL_POLICY: "another"}}},
            {"metadata": {"labels": {LABEL_OWNER: "another"}}},
            {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "another"}}},
            {"metadata": {"labels": {"controller-uid": None}}},
            {"metadata": {"ownerReferences": None}},
            {"metadata": {"ownerReferences": owner("Job")}},
            {"spec": {"containers": [{"name": "c", "image": "example.invalid/mine"}]}},
            {"spec": {"activeDeadlineSeconds": 1}},
        ],
        ids=json.dumps,
    )
    def test_change_no_worker_pod(self, town: Town, worker: str, who: str, patch: Object) -> None:
        answer = town.patch(who, worker, patch)
        assert town.refused(answer, "worker-pods"), answer

    @pytest.mark.parametrize(
        "patch",
        [
            {"spec": {"suspend": True}},
            {"spec": {"parallelism": 2}},
            {"metadata": {"labels": {LABEL_TASK: None}}},
            {"metadata": {"ownerReferences": owner("BackupJob", "backup.wedsync.io/v1alpha1")}},
            {"metadata": {"annotations": {"note": "mine"}}},
        ],
        ids=json.dumps,
    )
    def test_change_no_worker_job(self, town: Town, worker: str, who: str, patch: Object) -> None:
        assert worker
        answer = town.patch(who, "job/backup", patch)
        assert town.refused(answer, "worker-jobs"), answer

    def test_make_no_worker_of_what_they_have(self, town: Town, ordinary: str, who: str) -> None:
        label: Object = {"metadata": {"labels": TASK}}
        assert town.refused(town.patch(who, ordinary, label), "worker-pods")
        assert town.refused(town.patch(who, "job/tidy", label), "worker-jobs")
        inner: Object = {"spec": {"template": label}}
        assert town.refused(town.patch(who, "job/tidy", inner), "worker-jobs")

    def test_have_no_token_of_a_worker(self, town: Town, worker: str, who: str) -> None:
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={worker.partition('/')[2]}")
        for options in ((), (f"--audience={AUDIENCE}",), (f"--audience={AUDIENCE}", *bound)):
            answer = town.run(who, "create", "token", WORKER_ACCOUNT, *options)
            assert town.refused(answer, "worker-tokens"), answer

    def test_make_and_change_no_worker_account(self, town: Town, worker: str, who: str) -> None:
        assert worker
        answer = town.try_create(who, account(WORKER_ACCOUNT))
        assert town.refused(answer, "worker-accounts"), answer
        patch: Object = {"automountServiceAccountToken": True}
        answer = town.patch(who, f"serviceaccount/{WORKER_ACCOUNT}", patch)
        assert town.refused(answer, "worker-accounts"), answer

    def test_keep_all_that_is_theirs(self, town: Town, ordinary: str, who: str) -> None:
        for body in (
            pod("p"),
            pod("p", labels={LABEL_POLICY: "mine"}),
            pod("p", ownerReferences=owner("ReplicaSet", "apps/v1")),
            job("j"),
            account("mine"),
            workload("ReplicaSet", "someone"),
        ):
            answer = town.try_create(who, body)
            assert "created (server dry run)" in answer, answer
        label: Object = {"metadata": {"labels": {"tier": "1"}, "ownerReferences": owner("Job")}}
        image: Object = {"spec": {"containers": [{"name": "c", "image": "example.invalid/new"}]}}
        changed = ((ordinary, label), (ordinary, image), ("job/tidy", {"spec": {"suspend": False}}))
        for what, patch in changed:
            answer = town.patch(who, what, patch)
            assert "patched" in answer, answer
        assert "." in town.run(who, "create", "token", "someone")

    def test_may_delete_workers_and_annotate_their_pods(
        self, town: Town, worker: str, who: str
    ) -> None:
        for what in (worker, "job/backup"):
            answer = town.run(who, "delete", what, "--dry-run=server")
            assert "deleted" in answer, answer
        answer = town.patch(who, worker, {"metadata": {"annotations": {"note": "theirs"}}})
        assert "patched" in answer, answer


class TestControllers:
    """What people cannot do themselves they cannot have done by the cluster's controllers."""

    @pytest.mark.parametrize("kind", ["ReplicaSet", "Deployment", "StatefulSet", "DaemonSet"])
    @pytest.mark.parametrize(
        ("account_name", "labels"),
        [(WORKER_ACCOUNT, {}), ("someone", TASK)],
        ids=["account", "label"],
    )
    def test_a_workload_makes_no_worker(
        self, town: Town, kind: str, account_name: str, labels: Object
    ) -> None:
        body = workload(kind, account_name, labels)
        assert "created" in town.create("editor", body)
        said = made_or_refused(town, body["metadata"]["name"])
        town.run("editor", "delete", kind, body["metadata"]["name"])
        assert town.refused(said, "worker-pods"), said

    @pytest.mark.parametrize(
        "kind", [("ReplicaSet", "apps/v1"), ("Job", "apps/v1"), ("CronJob", "batch/v1")]
    )
    def test_where_all_controllers_have_one_name_the_owner_tells(
        self, town: Town, kind: tuple[str, str]
    ) -> None:
        forged = pod("p", WORKER_ACCOUNT, ownerReferences=owner(*kind))
        answer = town.try_create(_MANAGER, forged)
        assert town.refused(answer, "worker-pods"), answer
        made = pod("p", WORKER_ACCOUNT, ownerReferences=owner("Job"))
        assert "created" in town.try_create(_MANAGER, made)

    @pytest.mark.parametrize(
        "who", ["system:serviceaccount:kube-system:cronjob-controller", _MANAGER]
    )
    def test_a_cron_job_makes_no_worker(self, town: Town, who: str) -> None:
        answer = town.try_create(who, job("j", WORKER_ACCOUNT))
        assert town.refused(answer, "worker-jobs"), answer
        assert "created" in town.try_create(who, job("j"))

    @pytest.mark.parametrize("who", [_ACCOUNTS, _MANAGER])
    def test_make_no_workers_account(self, town: Town, who: str) -> None:
        """The one that gives each namespace its `default` account gives none the workers'."""
        answer = town.try_create(who, account(WORKER_ACCOUNT))
        assert town.refused(answer, "worker-accounts"), answer
        assert "created" in town.try_create(who, account("another"))

    def test_change_the_workers_account(self, town: Town) -> None:
        note: Object = {"metadata": {"annotations": {"note": "kept in order"}}}
        answer = town.patch(_MANAGER, f"serviceaccount/{WORKER_ACCOUNT}", note)
        assert "patched" in answer, answer

    def test_have_no_token_of_a_worker(self, town: Town) -> None:
        """They may ask for any account's, to work under it."""
        for options in ((), (f"--audience={AUDIENCE}",)):
            answer = town.run(_MANAGER, "create", "token", WORKER_ACCOUNT, *options)
            assert town.refused(answer, "worker-tokens"), answer
        assert "." in town.run(_MANAGER, "create", "token", "someone")

    @pytest.mark.parametrize("way", ["background", "foreground", "orphan"])
    def test_a_workers_job_comes_and_goes(self, town: Town, worker: str, way: str) -> None:
        assert worker
        name = f"copy-{way}"
        body = job(name, WORKER_ACCOUNT, labels=TASK, inner=TASK)
        assert "created" in town.create(town.operator, body)
        made = pod_of(town, f"batch.kubernetes.io/job-name={name}")
        delete = ("delete", f"job/{name}", f"--cascade={way}", "--wait", "--timeout=60s")
        answer = town.run("editor", *delete)
        assert "timed out" not in answer, answer
        if way == "orphan":
            answer = town.run("editor", "delete", made, "--timeout=60s")
        answer = town.run(None, "wait", "--for=delete", made, "--timeout=60s")
        assert "timed out" not in answer, answer


class TestOperator:
    """It makes workers in all namespaces, and nothing else."""

    def test_makes_jobs_of_workers_alone(self, town: Town, worker: str) -> None:
        assert worker
        token = job("j", WORKER_ACCOUNT)
        token["spec"]["template"]["spec"]["automountServiceAccountToken"] = True
        for body in (job("j", "someone"), job("j", town.keeper), token):
            answer = town.try_create(town.operator, body)
            assert town.refused(answer, "operators-jobs"), answer
        assert "created" in town.try_create(town.operator, job("j", WORKER_ACCOUNT))

    def test_makes_keepers_at_home(self, town: Town) -> None:
        body = job("j", town.keeper, labels=TASK, inner=TASK)
        body["metadata"]["namespace"] = town.home
        dry = ("create", f"--as={town.operator}", "--dry-run=server", "-f", "-")
        assert "created" in town.cluster.kubectl(*dry, input=json.dumps(body))

    def test_makes_its_workers_account_and_no_other(self, town: Town) -> None:
        answer = town.try_create(town.operator, account(WORKER_ACCOUNT))
        assert "already exists" in answer, answer
        answer = town.try_create(town.operator, account("mighty"))
        assert town.refused(answer, "operators-accounts"), answer


def test_nobody_adds_a_container_to_a_worker(town: Town, worker: str, ordinary: str) -> None:
    shell = ("--image=example.invalid/shell", "--profile=general", "--attach=false", "--target=c")
    answer = town.run(None, "debug", worker, *shell)
    assert town.refused(answer, "worker-shells"), answer
    answer = town.run(None, "debug", ordinary, *shell)
    assert "Error" not in answer, answer


def test_only_nodes_get_workers_tokens(town: Town, worker: str) -> None:
    assert worker
    answer = town.run(None, "create", "token", WORKER_ACCOUNT)
    assert town.refused(answer, "worker-tokens"), answer
    # Whoever is no node by name is spared what further the API server asks of nodes.
    node = ("--as-group=system:masters", "--as-group=system:nodes")
    answer = town.run("someone", "create", "token", WORKER_ACCOUNT, *node)
    assert answer.count(".") == 2, answer


def test_the_policies_have_no_type_errors(town: Town) -> None:
    found = json.loads(town.cluster.kubectl("get", "validatingadmissionpolicies", "-o", "json"))
    mine = [body for body in found["items"] if body["metadata"]["name"].startswith(town.home)]
    assert len(mine) == 7
    for body in mine:
        assert not body.get("status", {}).get("typeChecking", {}).get("expressionWarnings")
