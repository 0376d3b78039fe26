"""The image starts as the workers' pods are laid out: nobody's user, nothing writable."""

import json

import pytest

from tests.cluster import Cluster, image

pytestmark = pytest.mark.integration


def test_the_program_starts_in_a_restricted_pod(cluster: Cluster, namespace: str) -> None:
    cluster.load_image(image.build())
    level = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, level)
    container = {
        "name": "program",
        "image": image.NAME,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--help"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "program", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            # No user is named: the image's own must do for `runAsNonRoot`.
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    inside = ("-n", namespace)
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl(*inside, "wait", succeeded, "--timeout=60s", "pod/program")
    assert "Usage: weddingbackup" in cluster.kubectl(*inside, "logs", "program")
