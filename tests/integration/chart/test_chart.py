"""The Helm chart: what it makes of its values, what it refuses, and what is generated from it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import chart
from tests.tools import binary
from weddingbackup.broker import rows
from weddingbackup.resources import schema

# Not a unit test: it needs Helm, which is built from its sources where that has not been done.
pytestmark = pytest.mark.integration

Object = dict[str, Any]


def rendered(*options: str) -> dict[tuple[str, str], Object]:
    """The chart's objects by kind and name."""
    documents = chart.objects(chart.template(*options))
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.fixture(scope="module")
def default() -> dict[tuple[str, str], Object]:
    return rendered()


def pods(objects: dict[tuple[str, str], Object]) -> list[Object]:
    return [
        document["spec"]["template"]["spec"]
        for document in objects.values()
        if document["kind"] in {"Deployment", "Job"}
    ]


def test_lint() -> None:
    lint = [str(binary("helm")), "lint", "--strict", str(chart.CHART)]
    subprocess.run(lint, check=True, capture_output=True)


class TestPods:
    def test_they_keep_to_the_restricted_level(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        assert len(pods(default)) == 3
        for pod in pods(default):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]

    def test_one_operator_at_a_time(self, default: dict[tuple[str, str], Object]) -> None:
        spec = default["Deployment", "wedding-backup-operator"]["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"] == {"type": "Recreate"}
        selector = spec["selector"]["matchLabels"]
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()

    def test_the_selector_leaves_the_release_job_out(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        selector = default["Deployment", "wedding-backup-operator"]["spec"]["selector"]
        job = default["Job", "wedding-backup-release"]["spec"]["template"]["metadata"]["labels"]
        assert not selector["matchLabels"].items() <= job.items()

    def test_the_operator_is_told_what_its_workers_are(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        (pod,) = (pod for pod in pods(default) if pod["containers"][0]["name"] == "operator")
        (container,) = pod["containers"]
        told = {entry["name"]: entry.get("value") for entry in container["env"]}
        worker = told["WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT"]
        assert told["WEDDINGBACKUP_IMAGE"] == container["image"]
        assert default["ServiceAccount", str(worker)]["automountServiceAccountToken"] is False
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["ports"] == [{"name": "health", "containerPort": 8080}]

    def test_settings_arrive(self) -> None:
        values = {
            "image": {"repository": "r.example/wbo", "tag": "v9", "pullPolicy": "Always"},
            "imagePullSecrets": [{"name": "pull"}],
            "logLevel": "DEBUG",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "podAnnotations": {"note": "n"},
            "podLabels": {"team": "t"},
        }
        objects = rendered(
            *(f"--set-json={key}={json.dumps(value)}" for key, value in values.items())
        )
        for part in ("operator", "broker"):
            template = objects["Deployment", f"wedding-backup-{part}"]["spec"]["template"]
            pod = template["spec"]
            (container,) = pod["containers"]
            assert container["image"] == "r.example/wbo:v9"
            assert container["imagePullPolicy"] == "Always"
            assert {"name": "WEDDINGBACKUP_LOG_LEVEL", "value": "DEBUG"} in container["env"]
            for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
                assert pod[name] == values[name]
            assert template["metadata"]["annotations"] == {"note": "n"}
            assert template["metadata"]["labels"]["team"] == "t"
        for account in ("operator", "broker", "worker", "release"):
            pulls = objects["ServiceAccount", f"wedding-backup-{account}"]["imagePullSecrets"]
            assert pulls == [{"name": "pull"}]


class TestBroker:
    def test_workers_find_it_where_the_operator_says(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        told = environment(default)
        service = default["Service", "wedding-backup-broker"]
        place = service["metadata"]
        assert (
            told["WEDDINGBACKUP_BROKER_URL"] == f"https://{place['name']}.{place['namespace']}.svc"
        )
        assert [port["port"] for port in service["spec"]["ports"]] == [443]
        spec = default["Deployment", "wedding-backup-broker"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        selector = default["Deployment", "wedding-backup-operator"]["spec"]["selector"]
        assert not selector["matchLabels"].items() <= labels.items()

    def test_it_serves_the_certificate_that_the_operator_makes(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        told = environment(default)
        pod = default["Deployment", "wedding-backup-broker"]["spec"]["template"]["spec"]
        (secret,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)
        assert secret["secretName"] == told["WEDDINGBACKUP_BROKER_TLS_SECRET"]
        assert told["WEDDINGBACKUP_BROKER_CA_SECRET"] not in yaml.safe_dump(pod)
        (container,) = pod["containers"]
        assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"

    def test_it_has_room_for_the_rows_that_it_takes(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        pod = default["Deployment", "wedding-backup-broker"]["spec"]["template"]["spec"]
        (room,) = (volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
        # As they come, and unpacked.
        assert room["sizeLimit"] == f"{2 * rows._AT_ONCE * rows._LARGEST >> 30}Gi"

    def test_one_at_a_time_is_taken_away(self, default: dict[tuple[str, str], Object]) -> None:
        spec = default["Deployment", "wedding-backup-broker"]["spec"]
        budget = default["PodDisruptionBudget", "wedding-backup-broker"]["spec"]
        assert spec["replicas"] == 2
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == spec["selector"]
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert all(rule["labelSelector"] == spec["selector"] for rule in spread)


class TestSettings:
    def test_quotas_reach_the_operator(self) -> None:
        options = ("--set=quotas.jobs=3", "--set=quotas.bytes=500Gi", "--set=quotas.locations=5")
        told = environment(rendered(*options))
        limits = {
            name.removeprefix("WEDDINGBACKUP_QUOTA_"): value
            for name, value in told.items()
            if "QUOTA" in name
        }
        assert limits == {"JOBS": "3", "BYTES": "500Gi", "LOCATIONS": "5"}
        assert {v for name, v in environment(rendered()).items() if "QUOTA" in name} == {""}

    def test_network_policies_can_be_left_out(self, default: dict[tuple[str, str], Object]) -> None:
        assert environment(default)["WEDDINGBACKUP_NETWORK_POLICIES"] == "true"
        objects = rendered("--set=networkPolicies.enabled=false")
        assert environment(objects)["WEDDINGBACKUP_NETWORK_POLICIES"] == "false"
        assert not [name for kind, name in objects if kind == "NetworkPolicy"]

    def test_who_is_ours_reaches_no_clouds_metadata(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        policy = default["NetworkPolicy", "wedding-backup-egress"]["spec"]
        assert (policy["podSelector"], policy["policyTypes"]) == ({}, ["Egress"])
        shut = {
            network
            for peer in policy["egress"][0]["to"]
            for network in peer.get("ipBlock", {}).get("except", [])
        }
        assert shut == {
            "169.254.0.0/16",  # AWS, Azure, Google
            "168.63.129.16/32",  # Azure's wire server
            "100.100.100.200/32",  # Alibaba
            "fe80::/10",
            "fd00:ec2::/32",  # AWS
            "fd20:ce::254/128",  # Google
        }

    def test_admission_can_be_left_to_others(self) -> None:
        objects = rendered("--set=admission.install=false")
        assert not [name for kind, name in objects if kind.startswith("Validating")]

    def test_who_makes_pods_is_told_to_the_policies(self) -> None:
        text = chart.template('--set-json=admission.jobControllers=["system:jobs"]')
        assert text.count('request.userInfo.username in ["system:jobs"]') == 3
        assert "job-controller" not in text


def environment(objects: dict[tuple[str, str], Object]) -> dict[str, str]:
    """What the operator is told."""
    spec = objects["Deployment", "wedding-backup-operator"]["spec"]["template"]["spec"]
    return {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}


class TestRights:
    def test_nobody_gets_everything(self, default: dict[tuple[str, str], Object]) -> None:
        for (kind, _), document in default.items():
            if kind in {"Role", "ClusterRole"}:
                assert "*" not in yaml.safe_dump(document["rules"])

    def test_secrets_are_reached_in_the_own_namespace_only_and_logs_nowhere(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        for (kind, _), document in default.items():
            if kind in {"Role", "ClusterRole"}:
                for rule in document["rules"]:
                    assert not {"pods/log", "pods/exec"} & set(rule["resources"])
                    assert kind == "Role" or "secrets" not in rule["resources"]

    def test_workers_have_none(self, default: dict[tuple[str, str], Object]) -> None:
        subjects = [
            subject["name"]
            for (kind, _), document in default.items()
            if kind in {"RoleBinding", "ClusterRoleBinding"}
            for subject in document["subjects"]
        ]
        assert set(subjects) == {
            f"wedding-backup-{who}" for who in ("operator", "broker", "release")
        }

    def test_people_never_write_a_status(self, default: dict[tuple[str, str], Object]) -> None:
        for (_, name), document in default.items():
            if name in {"wedding-backup-wedding-backup-view", "wedding-backup-wedding-backup-edit"}:
                assert "/status" not in yaml.safe_dump(document["rules"])

    def test_aggregation_can_be_left_out(self) -> None:
        objects = rendered("--set=rbac.aggregate=false")
        assert not [name for kind, name in objects if name.endswith(("-view", "-edit"))]


class TestKinds:
    def test_they_are_those_of_the_models(self, default: dict[tuple[str, str], Object]) -> None:
        for kind in schema.KINDS:
            plain = schema.crd(kind)
            document = default["CustomResourceDefinition", plain["metadata"]["name"]]
            assert document["spec"] == plain["spec"]
            assert document["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_they_go_with_the_chart_only_if_asked_to(self) -> None:
        objects = rendered("--set=crds.keep=false")
        kinds = [body for (kind, _), body in objects.items() if kind == "CustomResourceDefinition"]
        assert len(kinds) == len(schema.KINDS)
        assert not any("annotations" in body["metadata"] for body in kinds)

    def test_they_can_be_left_out(self) -> None:
        assert not [kind for kind, _ in rendered("--set=crds.install=false") if "Custom" in kind]

    def test_artifact_hub_lists_them(self) -> None:
        meta = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
        listed = yaml.safe_load(meta["annotations"]["artifacthub.io/crds"])
        names = {(entry["kind"], entry["name"]) for entry in listed}
        assert names == {
            (kind.definition.kind, schema.crd(kind)["metadata"]["name"]) for kind in schema.KINDS
        }


class TestRelease:
    def test_it_runs_before_all_else_is_deleted(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        mine = [body for (_, name), body in default.items() if name.endswith("-release")]
        assert len(mine) == 6
        for body in mine:
            assert body["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
        weights = {
            body["kind"]: body["metadata"]["annotations"].get("helm.sh/hook-weight", "0")
            for body in mine
        }
        assert weights.pop("Job") == "0"
        assert set(weights.values()) == {"-1"}

    def test_it_may_stop_this_operator_and_no_other(
        self, default: dict[tuple[str, str], Object]
    ) -> None:
        (container,) = default["Job", "wedding-backup-release"]["spec"]["template"]["spec"][
            "containers"
        ]
        assert container["args"] == ["release-finalizers"]
        assert {
            "name": "WEDDINGBACKUP_DEPLOYMENT",
            "value": "wedding-backup-operator",
        } in container["env"]
        for rule in default["Role", "wedding-backup-release"]["rules"]:
            assert rule["apiGroups"] != ["apps"] or rule["resourceNames"] == [
                "wedding-backup-operator"
            ]

    def test_it_can_be_left_out(self) -> None:
        assert "pre-delete" not in chart.template("--set=finalizers.release=false")


class TestValues:
    @pytest.mark.parametrize(
        ("option", "words"),
        [
            ("--set=imag.tag=v1", "'imag'"),
            ("--set=image.pullPolicy=Sometimes", "image/pullPolicy"),
            ("--set=logLevel=LOUD", "logLevel"),
            ("--set=crds.install=yes", "crds/install"),
            ("--set=image.repository=", "image/repository"),
            ("--set=replicas=2", "'replicas'"),
            ("--set=broker.replicas=0", "broker/replicas"),
            ("--set=quotas.jobs=0", "quotas/jobs"),
            ("--set=quotas.bytes=much", "quotas/bytes"),
            ("--set-json=admission.jobControllers=[]", "admission/jobControllers"),
            ("--set=admission.operators={it's me}", "admission/operators"),
        ],
    )
    def test_slips_are_refused(self, option: str, words: str) -> None:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            chart.template(option)
        assert words in refused.value.stderr

    def test_each_is_described(self) -> None:
        table = chart.README.read_text().split("## Values")[1]
        values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
        for name in values:
            assert re.search(rf"^\| `{name}[.`]", table, re.MULTILINE), name

    def test_two_releases_do_not_meet(self) -> None:
        first = rendered()
        other = {
            (body["kind"], body["metadata"]["name"])
            for body in chart.objects(chart.template("--set=crds.install=false", release="another"))
        }
        assert not first.keys() & other


def test_committed_is_generated() -> None:
    for path, text in chart.render().items():
        assert path.read_text() == text, "run `make manifests` and commit"


def test_the_plain_installation_is_whole() -> None:
    documents = chart.objects(chart.INSTALL.read_text())
    assert documents[0]["kind"] == "Namespace"
    enforced = documents[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    specs = [body["spec"] for body in documents if body["kind"] == "CustomResourceDefinition"]
    assert sorted(map(repr, specs)) == sorted(
        repr(schema.crd(kind)["spec"]) for kind in schema.KINDS
    )
    assert not [body for body in documents if "helm" in yaml.safe_dump(body["metadata"]).lower()]


def test_the_chart_has_the_projects_version() -> None:
    meta = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    project = tomllib.loads(Path(chart.PROJECT / "pyproject.toml").read_text())["project"]
    assert meta["version"] == meta["appVersion"] == project["version"]
