"""`release-finalizers` against a real API server: afterwards everything of ours can be deleted."""

import json
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.integration.cli.program import Program
from weddingbackup.resources.names import FINALIZER

pytestmark = pytest.mark.integration


def test_our_finalizer_goes_and_others_stay(crds: Cluster, namespace: str, tmp_path: Path) -> None:
    request = {
        "apiVersion": "backup.wedsync.io/v1alpha1",
        "kind": "RecoveryRequest",
        "metadata": {
            "name": "bring-it-back",
            "namespace": namespace,
            "finalizers": [FINALIZER, "example.com/mine"],
        },
        "spec": {"policyRef": {"name": "w-1"}},
    }
    crds.kubectl("apply", "-f", "-", input=json.dumps(request))
    done = Program(tmp_path).run("release-finalizers", "--kubeconfig", crds.kubeconfig)
    assert done.returncode == 0, done
    assert "released" in done.stdout
    where = ("rr/bring-it-back", "-n", namespace)
    left = crds.kubectl("get", *where, "-o", "jsonpath={.metadata.finalizers}")
    assert json.loads(left) == ["example.com/mine"]
    crds.kubectl("patch", *where, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    crds.kubectl("delete", *where, "--timeout=30s")
