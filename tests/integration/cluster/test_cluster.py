"""The test cluster does what tests lean on, and leaves nothing when it is taken down."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from tests import cluster as clusters
from tests.cluster import Cluster
from tests.cluster.images import HELPER, write_helper
from tests.cluster.traces import left_behind, traces

pytestmark = pytest.mark.integration

NAME = "integration"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBECONFIG", raising=False)  # a cluster that was given is nobody's to remake
        clusters.down(NAME)
        before = traces(NAME)
        cluster = clusters.up(NAME, nodes=2)
        helper = tmp_path_factory.mktemp("image") / "helper.tar"
        write_helper(helper)
        cluster.load_image(helper)
        yield cluster
        clusters.down(NAME)
        assert not left_behind(NAME, before, cluster.host_address)
        assert clusters.running(NAME) is None


@pytest.fixture
def server(cluster: Cluster) -> Iterator[str]:
    """The address of a web server on this machine, as pods see it."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from this machine\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((cluster.host_address, 0), Hello) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://{cluster.host_address}:{server.server_port}/"
        server.shutdown()


def test_a_restricted_pod_writes_a_volume_and_reaches_names_and_this_machine(
    cluster: Cluster, server: str
) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "restricted",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "restricted"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    script = (
        "set -e; id -u; echo written > /data/file; cat /data/file;"
        f"nslookup kubernetes.default.svc.cluster.local; wget -q -O - {server}"
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "probe", "namespace": "restricted"},
        "spec": {"backoffLimit": 0, "template": {"spec": _pod(script, claim="data")}},
    }
    objects = {"apiVersion": "v1", "kind": "List", "items": [namespace, claim, job]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(objects))
    inside = ("-n", "restricted")
    cluster.kubectl(*inside, "wait", "--for=condition=Complete", "--timeout=60s", "job/probe")
    said = cluster.kubectl(*inside, "logs", "job/probe")
    assert said.splitlines()[:2] == ["65532", "written"]
    assert "hello from this machine" in said
    events = cluster.kubectl(*inside, "get", "events", "-o", "name")
    assert events


def test_pod_security_refuses_what_a_namespace_forbids(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "strict")
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", "strict", label)
    root = ("run", "root", f"--image={HELPER}", "--namespace=strict", "--", "id")
    assert "violates PodSecurity" in cluster.kubectl(*root, check=False)


def test_a_node_comes_back_after_a_power_cut(cluster: Cluster) -> None:
    node = cluster.nodes[-1]
    cluster.power_cut(node)
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    cluster.power_on(node)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "afterwards", "namespace": "default"},
        "spec": _pod("id -u") | {"nodeName": node},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("wait", succeeded, "--timeout=60s", "pod/afterwards")


def test_a_cluster_that_runs_is_found_again(cluster: Cluster) -> None:
    again = clusters.up(NAME, nodes=2)
    assert again.kubeconfig == cluster.kubeconfig
    assert again.host_address == cluster.host_address


def _pod(script: str, *, claim: str | None = None) -> dict[str, object]:
    """A pod's spec as the restricted Pod Security standard asks for it."""
    container = {
        "name": "shell",
        "image": HELPER,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}] if claim else [],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    return {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [volume] if claim else [],
    }
